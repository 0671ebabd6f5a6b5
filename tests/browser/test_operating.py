"""Acting on runs in a real browser: every operation by mouse and by keyboard, many runs at once, with and without scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from django_hookflow import Retry, WorkflowContext, workflow
from django_hookflow.admin.operating import many as operating_many
from django_hookflow.models import WorkflowEvent, WorkflowRun
from tests.browser.conftest import NARROW

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

    from django_hookflow.testing import Hookflow
    from tests.browser.conftest import Opened

pytestmark = pytest.mark.django_db(transaction=True)

RUNS = "/admin/django_hookflow/workflowrun/"
is_broken = False


def charge() -> str:
    if is_broken:
        raise ValueError("the bank refuses")
    return "paid"


@workflow(workflow_id="tests.browser.operated")
def operated(ctx: WorkflowContext) -> str:
    ctx.step.run("validate", str, "ok")
    ctx.step.sleep("wait", seconds=3600)
    ctx.step.options(retry=Retry(max_attempts=1), on_doubt="ask").run("charge", charge)
    return "done"


def asleep(hookflow: Hookflow, run_id: str = "order-1") -> WorkflowRun:
    operated.trigger(run_id=run_id)
    hookflow.deliver(run_id)
    return WorkflowRun.objects.get(run_id=run_id)


def make(hookflow: Hookflow, status: str) -> WorkflowRun:
    global is_broken
    run = asleep(hookflow)
    if status == "paused":
        run.pause()
    elif status == "failed":
        is_broken = True
        hookflow.drive(run.run_id)
        is_broken = False
    elif status == "in_doubt":
        hookflow.crash("charge")
        hookflow.drive(run.run_id)
    run.refresh_from_db()
    assert run.status == status
    return run


#: Each operation, how the run stands before, and the event and the status that come of it.
CASES = [
    ("cancel", "running", "run.cancelled", "cancelled"),
    ("pause", "running", "run.paused", "paused"),
    ("wake", "running", "run.woken", "running"),
    ("rewind", "running", "run.rewound", "running"),
    ("rebuild", "running", "run.rebuilt", "running"),
    ("resume", "paused", "run.resumed", "running"),
    ("replay", "failed", "run.replayed", "running"),
    ("restart", "failed", "run.restarted", "failed"),
    ("resolve", "in_doubt", "step.resolved", "running"),
]


def by_mouse(page: Page, name: str) -> None:
    page.locator(f'a[href$="/operate/{name}/"]').click()
    page.wait_for_url(f"**/operate/{name}/")
    if name == "resolve":
        page.get_by_label("What the step returned, as JSON").fill('"paid"')
    elif name == "rewind":
        page.get_by_label("Run again from step").select_option("wait")
    page.get_by_label("Reason").fill("because")
    page.locator(".hookflow-do").click()


def by_keyboard(page: Page, name: str) -> None:
    tab_to(page, f'a[href$="/operate/{name}/"]')
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/operate/{name}/")
    first = {"rewind": "step", "resolve": "result"}.get(name, "reason")
    assert page.evaluate("document.activeElement.name") == first
    if name == "resolve":
        page.keyboard.type('"paid"')
    elif name == "rewind":
        page.keyboard.press("ArrowDown")  # to the first of them: none is chosen in advance
    if first != "reason":
        page.keyboard.press("Tab")
    page.keyboard.type("because")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")


def tab_to(page: Page, selector: str) -> None:
    for _ in range(200):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"{selector} cannot be reached with the Tab key")


@pytest.mark.parametrize("act", [by_mouse, by_keyboard])
@pytest.mark.parametrize(("name", "before", "event", "after"), CASES, ids=[case[0] for case in CASES])
def test_every_operation(
    hookflow: Hookflow,
    browser_page: Callable[..., Opened],
    act: Callable[[Page, str], None],
    name: str,
    before: str,
    event: str,
    after: str,
) -> None:
    run = make(hookflow, before)
    page = browser_page().go(f"{RUNS}{run.pk}/change/")

    act(page, name)
    page.wait_for_url(f"**/{run.pk}/change/")

    assert page.locator(".messagelist .success").count() == 1
    run.refresh_from_db()
    assert run.status == after
    done = run.events.get(type=event)
    assert (done.actor, done.payload["reason"]) == ("root", "because")
    if name == "rewind":
        assert done.step_id == ("wait" if act is by_mouse else "validate")
    if name == "resolve":
        assert run.step_executions.get(step_id="charge").result == "paid"


@pytest.mark.parametrize("options", [{}, {"java_script_enabled": False}], ids=["scripts", "no scripts"])
def test_all_that_match_in_several_requests(
    hookflow: Hookflow, browser_page: Callable[..., Opened], monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    monkeypatch.setattr(operating_many, "BATCH", 2)
    monkeypatch.setattr(operating_many, "ROWS_A_REQUEST", 2)
    for number in range(5):
        asleep(hookflow, f"order-{number}")
    page = browser_page(**options).go(RUNS)

    page.locator("input.action-select").first.check()
    page.locator("select[name=action]").first.select_option("cancel_selected")
    page.locator("button[name=index]").first.click()
    page.get_by_label("Reason").fill("flood")
    page.get_by_role("button", name="Cancel all 5 runs that match the list").click()
    if options:
        for _ in range(2):
            page.get_by_role("button", name="Continue").click()
    page.get_by_text("Done: 5 cancelled.").wait_for()

    assert page.locator(".hookflow-counts td").all_inner_texts() == ["5", "0", "0"]
    assert WorkflowEvent.objects.filter(type="run.cancelled", actor="root").count() == 5


def test_stopping_before_the_rest(
    hookflow: Hookflow, browser_page: Callable[..., Opened], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operating_many, "BATCH", 2)
    monkeypatch.setattr(operating_many, "ROWS_A_REQUEST", 2)
    for number in range(5):
        asleep(hookflow, f"order-{number}")
    opened = browser_page()
    opened.page.add_init_script("window.setTimeout = () => 0")  # the rest waits for the person, however slow
    page = opened.go(RUNS)

    page.locator("input.action-select").first.check()
    page.locator("select[name=action]").first.select_option("pause_selected")
    page.locator("button[name=index]").first.click()
    page.get_by_label("Reason").fill("look")
    page.get_by_role("button", name="Pause all 5 runs that match the list").click()
    page.get_by_text("2 of 5 runs (40 %)").wait_for()
    page.get_by_role("link", name="Stop here").click()
    page.wait_for_url(f"**{RUNS}")

    assert WorkflowRun.objects.filter(status="paused").count() == 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_readable_and_fits(hookflow: Hookflow, browser_page: Callable[..., Opened], scheme: str) -> None:
    run = make(hookflow, "in_doubt")
    page = browser_page(viewport=NARROW, color_scheme=scheme).go(f"{RUNS}{run.pk}/operate/resolve/")

    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    for selector in (
        ".hookflow-what-happens",
        ".hookflow-field .help",
        ".hookflow-subject dt",
        ".hookflow-field label",
    ):
        assert contrast(page, selector) >= 4.5, selector


def contrast(page: Page, selector: str) -> float:
    """Of a text against what is painted behind it, as WCAG computes it."""
    return float(
        page.evaluate(
            """selector => {
                const parse = (text) => text.match(/[\\d.]+/g).map(Number);
                const luminance = ([r, g, b]) => {
                    const [x, y, z] = [r, g, b].map((c) => c / 255).map(
                        (c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
                    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
                };
                const element = document.querySelector(selector);
                let behind = element;
                while (behind && (parse(getComputedStyle(behind).backgroundColor)[3] ?? 1) === 0) {
                    behind = behind.parentElement;
                }
                const back = behind ? parse(getComputedStyle(behind).backgroundColor) : [255, 255, 255];
                const [low, high] = [parse(getComputedStyle(element).color), back].map(luminance).sort((a, b) => a - b);
                return (high + 0.05) / (low + 0.05);
            }""",
            selector,
        )
    )
