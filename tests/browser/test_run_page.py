"""The page of a run in a browser: both themes, any width, without JavaScript, for everyone, and alive."""

from __future__ import annotations

import threading
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from django_hookflow import WorkflowContext, workflow
from django_hookflow.models import WorkflowRun
from django_hookflow.testing import Hookflow
from tests.browser import stories
from tests.browser.axe import find_barriers
from tests.browser.conftest import NARROW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Page

    from tests.browser.conftest import Opened

    Open = Callable[..., Opened]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def kit() -> Iterator[Hookflow]:
    with Hookflow() as hookflow:
        yield hookflow


def address(run: WorkflowRun, query: str = "") -> str:
    return f"/admin/django_hookflow/workflowrun/{run.pk}/change/{query}"


def colour(page: Page, selector: str, name: str) -> str:
    return str(page.eval_on_selector(selector, f"e => getComputedStyle(e).getPropertyValue('{name}')"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("story", ["completed", "failed", "sleeping", "rewound", "lost"])
def test_the_page_has_no_barrier(browser_page: Open, kit: Hookflow, story: str, scheme: str) -> None:
    run = getattr(stories, story)(kit)
    page = browser_page(color_scheme=scheme, bypass_csp=True).go(address(run))  # for axe, which adds styles of its own
    for details in page.query_selector_all("#hookflow-run details:not([open])"):
        details.evaluate("e => { e.open = true }")

    assert find_barriers(page) == []


def test_bars_have_room_also_beside_the_sidebar(browser_page: Open, kit: Hookflow) -> None:
    page = browser_page(viewport={"width": 800, "height": 900}).go(address(stories.failed(kit)))

    assert page.locator("#nav-sidebar").is_visible()
    bar = page.locator(".hookflow-bar").nth(1).bounding_box()
    assert bar is not None
    assert bar["width"] > 400
    words = [box for word in page.locator(".hookflow-ruler text:visible").all() if (box := word.bounding_box())]
    words.sort(key=lambda box: box["x"])
    assert all(left["x"] + left["width"] <= right["x"] for left, right in pairwise(words))


def test_the_theme_that_was_chosen_in_the_admin_wins_over_the_system(browser_page: Open, kit: Hookflow) -> None:
    page = browser_page(color_scheme="dark").go(address(stories.completed(kit)))
    dark = colour(page, ".hookflow-fill-running", "fill")

    page.evaluate("document.documentElement.dataset.theme = 'light'")

    assert colour(page, ".hookflow-fill-running", "fill") != dark


@pytest.mark.parametrize("story", ["completed", "failed", "sleeping"])
def test_a_narrow_page_is_not_wider_than_the_screen(browser_page: Open, kit: Hookflow, story: str) -> None:
    page = browser_page(viewport=NARROW).go(address(getattr(stories, story)(kit)))

    assert page.evaluate("document.documentElement.scrollWidth") == NARROW["width"]
    bar, name = page.locator(".hookflow-bar").nth(1), page.locator(".hookflow-name").nth(1)
    above, below = name.bounding_box(), bar.bounding_box()
    assert above is not None
    assert below is not None
    assert above["y"] + above["height"] <= below["y"] + 1
    assert below["width"] > 300


def test_bars_stand_under_their_ruler(browser_page: Open, kit: Hookflow) -> None:
    page = browser_page().go(address(stories.completed(kit)))

    widths = [
        page.locator(s).first.bounding_box() for s in (".hookflow-ruler svg", ".hookflow-bar", ".hookflow-grid svg")
    ]
    assert len({(round(box["x"]), round(box["width"])) for box in widths if box}) == 1


def test_everything_is_there_without_javascript(browser_page: Open, kit: Hookflow) -> None:
    page = browser_page(java_script_enabled=False).go(address(stories.failed(kit)))

    assert page.locator("#hookflow-live").is_hidden()
    page.locator("summary", has_text="Traceback").click()
    assert page.locator(".hookflow-traceback").is_visible()
    page.get_by_role("link", name="‹ earlier", exact=True).click()
    assert "As of event #16 of 17" in page.inner_text("#hookflow-head")
    page.get_by_label("As of event").fill("4")
    page.get_by_role("button", name="Show").click()
    assert "As of event #4 of 17" in page.inner_text("#hookflow-head")
    page.get_by_role("link", name="now »").click()
    page.get_by_role("textbox", name="Step").fill("charge")
    page.get_by_role("button", name="Filter").click()
    assert page.locator(".hookflow-event").count() == 8
    page.get_by_role("button", name="Check").click()
    assert "The hash chain verifies: 17 events" in page.inner_text("#integrity")
    assert "as_of" not in page.url


def test_the_page_is_walked_through_with_the_keyboard(browser_page: Open, kit: Hookflow) -> None:
    page = browser_page().go(address(stories.failed(kit)))
    page.locator("#hookflow-head a").first.focus()

    seen = ["hookflow-head"]
    while seen[-1] != "events" and len(seen) < 150:
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.closest('[data-region], #integrity')?.id || ''"))
    order = list(dict.fromkeys(place for place in seen if place))

    expected = ["hookflow-head", "hookflow-failure", "waterfall", "steps", "values", "integrity", "events"]
    assert [place for place in order if place in expected] == expected
    page.locator("#e8 summary").focus()
    page.keyboard.press("Enter")
    assert page.locator("#e8 pre").first.is_visible()


def test_a_link_to_an_event_shows_it(browser_page: Open, kit: Hookflow) -> None:
    page = browser_page().go(address(stories.failed(kit), "?seq=8#e8"))

    assert page.locator("#e8 pre").first.is_visible()
    assert "insufficient funds" in page.inner_text("#e8")
    box = page.locator("#e8").bounding_box()
    assert box is not None
    assert 0 <= box["y"] < 1000


ENTERED, MAY_GO = threading.Event(), threading.Event()


def wait_for_the_word() -> str:
    ENTERED.set()
    assert MAY_GO.wait(30)
    return "heard"


@workflow(workflow_id="tests.browser.live")
def live(ctx: WorkflowContext) -> Any:
    ctx.step.run("begin", str, "begun")
    ctx.step.run("listen", wait_for_the_word)
    ctx.step.run("end", str, "ended")
    return "all of it"


@pytest.fixture
def under_way(kit: Hookflow) -> Iterator[tuple[WorkflowRun, Callable[[], None]]]:
    """A run whose turn is in its second step, in another thread, and what has it go on to its end."""
    ENTERED.clear()
    MAY_GO.clear()
    run_id = live.trigger({})
    turn = threading.Thread(target=deliver, args=(kit, run_id))
    turn.start()
    assert ENTERED.wait(30)

    def go_on() -> None:
        MAY_GO.set()
        turn.join(30)
        assert not turn.is_alive()

    yield WorkflowRun.objects.get(run_id=run_id), go_on
    MAY_GO.set()
    turn.join(30)


def deliver(kit: Hookflow, run_id: str) -> None:
    from django.db import connections

    try:
        kit.deliver(run_id)
    finally:
        connections.close_all()


UnderWay = tuple[WorkflowRun, "Callable[[], None]"]


def test_a_running_run_is_followed_to_its_end(browser_page: Open, under_way: UnderWay) -> None:
    run, go_on = under_way
    page = browser_page().go(address(run))
    assert "Running" in page.inner_text("#hookflow-head")
    page.locator("#e3 summary").click()
    page.locator("#e2 summary").focus()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    go_on()
    page.wait_for_selector(".hookflow-status.hookflow-completed")

    page.wait_for_selector("#waterfall >> text=listen")
    assert page.locator("#steps tbody tr").count() == 3
    assert "run.completed" in page.inner_text("#events")
    assert page.locator("#e3 pre").first.is_visible(), "what was open is still open"
    assert page.evaluate("document.activeElement.closest('details').dataset.key") == "e2"
    assert page.inner_text("#hookflow-live-status").startswith("Completed in ")
    assert page.input_value("#hookflow-as-of") == page.get_attribute("#hookflow-as-of", "max") == "6"
    assert page.get_attribute("#hookflow-run", "data-live") == "no"
    assert all("fragment=1" in url for url in asked)


#: Counts in the page itself, at the moment of asking: events of a browser arrive here when they like.
COUNT = """() => {
    const real = window.fetch;
    window.asked = 0;
    window.fetch = (...of) => { window.asked += 1; return real(...of); };
}"""


def asked_for(page: Page) -> int:
    """How many updates the page has asked for since it began to COUNT."""
    return int(page.evaluate("window.asked"))


def test_it_asks_for_nothing_while_updates_are_off_and_remembers_that(browser_page: Open, under_way: UnderWay) -> None:
    run, go_on = under_way
    opened = browser_page()
    opened.page.clock.install()
    page = opened.go(address(run))
    switch = page.get_by_role("switch", name="Live updates")
    assert switch.is_checked()
    switch.uncheck()
    page.reload()
    assert not switch.is_checked()
    page.evaluate(COUNT)
    go_on()
    page.clock.run_for(600_000)
    assert asked_for(page) == 0

    switch.check()
    page.clock.resume()

    page.wait_for_selector(".hookflow-status.hookflow-completed")


HIDE = """(hidden) => {
    Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
    document.dispatchEvent(new Event("visibilitychange"));
}"""


def test_it_asks_for_nothing_while_nobody_sees_it_or_once_it_has_ended(browser_page: Open, under_way: UnderWay) -> None:
    run, go_on = under_way
    opened = browser_page()
    opened.page.clock.install()
    page = opened.go(address(run))
    page.evaluate(COUNT)
    page.evaluate(HIDE, True)
    go_on()
    page.clock.run_for(600_000)
    assert asked_for(page) == 0

    page.evaluate(HIDE, False)
    page.clock.resume()
    page.wait_for_selector(".hookflow-status.hookflow-completed")
    so_far = asked_for(page)
    assert so_far > 0
    page.clock.run_for(600_000)

    assert asked_for(page) == so_far


def test_it_goes_on_asking_after_errors(browser_page: Open, under_way: UnderWay) -> None:
    run, go_on = under_way
    opened = browser_page()
    page = opened.go(address(run))
    refused: list[str] = []

    def refuse_once(route: Any) -> None:
        if not refused:
            refused.append(route.request.url)
            route.fulfill(status=503, body="down")
        else:
            route.continue_()

    page.route("**/*fragment=1*", refuse_once)
    go_on()

    page.wait_for_selector(".hookflow-status.hookflow-completed", timeout=30_000)

    assert len(refused) == 1
    opened.troubles[:] = [trouble for trouble in opened.troubles if "503" not in trouble]


def test_nothing_moves_for_those_who_asked_for_less_motion(browser_page: Open, under_way: UnderWay) -> None:
    run, _ = under_way

    calm = browser_page(reduced_motion="reduce").go(address(run))
    lively = browser_page(reduced_motion="no-preference").go(address(run))

    assert colour(calm, ".hookflow-open", "animation-name") == "none"
    assert colour(lively, ".hookflow-open", "animation-name") == "hookflow-breathe"
