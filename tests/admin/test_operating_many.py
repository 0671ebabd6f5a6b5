"""Acting on many runs from the list: on a selection, or on all that its filters match, in batches, with a result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.admin import site
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import RequestFactory

from benchmarks.listing import VIEWS, fill
from django_hookflow.admin import WorkflowRunAdmin
from django_hookflow.admin.operating import many as operating_many
from django_hookflow.admin.operating.many import BulkProgress, RunAct
from django_hookflow.admin.operating.operations import OPERATIONS
from django_hookflow.models import DeadLetterEntry, WorkflowEvent, WorkflowRun
from tests.admin.conftest import DEAD_LETTERS, RUNS, count_queries
from tests.admin.history import complete, fail, start
from tests.admin.page import Element, parse

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from django.test import Client

pytestmark = pytest.mark.django_db


def make(count: int, status: str = "pending") -> list[UUID]:
    runs = [start(f"{status}-{number:03}") for number in range(count)]
    for run in runs:
        if status == "completed":
            complete(run)
        elif status == "failed":
            fail(run)
    return runs


def ask(client: Client, action: str, runs: list[Any], *, across: bool = False, url: str = RUNS) -> Element:
    """What the list's own form sends when the action is chosen; the page that asks for a reason."""
    chosen = {"action": action, "_selected_action": [str(run) for run in runs], "index": "0"}
    return parse(client.post(url, {**chosen, "select_across": "1" if across else "0"}))


def send(client: Client, page: Element, **given: str) -> Element:
    """Sends the page's form as a browser would, with ``given`` filled in."""
    form = page.one("div", id="content-main").one("form", method="post")
    fields: dict[str, Any] = {}
    for element in form.all("input"):
        fields.setdefault(element.attributes["name"], []).append(element.attributes.get("value", ""))
    pressed = form.all("button")[0].attributes
    if "name" in pressed:
        fields[pressed["name"]] = [pressed["value"]]
    return parse(
        client.post(
            form.attributes["action"], {**fields, **({"reason": "flood"} if "reason" not in fields else {}), **given}
        )
    )


def counts(page: Element) -> list[int]:
    """Done, so already, refused."""
    return [int(row[1]) for row in page.one("table", **{"class": "hookflow-counts"}).rows()]


def refusals(page: Element) -> dict[str, str]:
    tables = page.all("table", **{"class": "hookflow-refusals"})
    return {row[0]: row[1] for row in tables[0].rows()} if tables else {}


def statuses() -> dict[str, str]:
    return dict(WorkflowRun.objects.values_list("run_id", "status"))


def test_the_selected_runs_and_no_others(superuser: Client) -> None:
    runs = make(3)

    page = ask(superuser, "cancel_selected", runs[:2])
    assert "Each run ends before its next step." in page.text
    assert [button.text for button in page.one("div", id="content-main").all("button")] == [
        "Cancel 2 runs",
        "Cancel all 3 runs that match the list",
    ]
    assert page.one("a", **{"class": "hookflow-button hookflow-leave"}).text == "Keep them"
    assert set(statuses().values()) == {"pending"}
    result = send(superuser, page)

    assert counts(result) == [2, 0, 0]
    assert "Done: 2 cancelled." in result.text
    assert sorted(statuses().values()) == ["cancelled", "cancelled", "pending"]
    events = WorkflowEvent.objects.filter(type="run.cancelled")
    assert {(event.actor, event.payload["reason"]) for event in events} == {("root", "flood")}
    entries = LogEntry.objects.all()
    assert {entry.object_id for entry in entries} == {str(run) for run in runs[:2]}
    assert {entry.get_change_message() for entry in entries} == {"Cancel: flood"}


def test_all_that_match_in_several_requests(superuser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operating_many, "BATCH", 2)
    monkeypatch.setattr(operating_many, "ROWS_A_REQUEST", 4)
    runs = make(11)
    make(3, "completed")
    others = [start(f"other-{number}", "shop.refund") for number in range(2)]

    page = ask(superuser, "cancel_selected", runs[:1], across=True, url=f"{RUNS}?workflow=shop.process")
    late = start("late")
    seen = []
    result = send(superuser, page)
    while result.all("form", id="hookflow-continue"):
        seen.append(counts(result))
        result = send(superuser, result)

    assert seen == [[1, 0, 3], [5, 0, 3], [9, 0, 3]]
    assert "Done: 11 cancelled, 3 refused." in result.text
    assert counts(result) == [11, 0, 3]
    assert set(refusals(result)) == {"completed-000", "completed-001", "completed-002"}
    assert set(refusals(result).values()) == {"There is nothing to cancel: it is completed."}
    untouched = WorkflowRun.objects.filter(pk__in=[*others, late]).values_list("status", flat=True)
    assert list(untouched) == ["pending"] * 3
    assert LogEntry.objects.count() == 11


def test_the_filter_may_be_what_the_action_changes(superuser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are done no longer match, and none is left out for that."""
    monkeypatch.setattr(operating_many, "BATCH", 2)
    monkeypatch.setattr(operating_many, "ROWS_A_REQUEST", 2)
    runs = make(5)
    page = ask(superuser, "pause_selected", runs[:1], across=True, url=f"{RUNS}?status__exact=pending")
    result = send(superuser, page)
    while result.all("form", id="hookflow-continue"):
        result = send(superuser, result)
    assert counts(result) == [5, 0, 0]
    assert set(statuses().values()) == {"paused"}


def test_each_of_a_selection_gets_its_answer_also_if_it_matches_no_longer(superuser: Client) -> None:
    runs = make(2)
    page = ask(superuser, "pause_selected", runs, url=f"{RUNS}?status__exact=pending")
    complete(runs[0])
    result = send(superuser, page)
    assert counts(result) == [1, 0, 1]
    assert refusals(result) == {"pending-000": "Only an active run can be paused: it is completed."}


def test_a_second_click_finds_everything_done(superuser: Client) -> None:
    page = ask(superuser, "cancel_selected", make(3))
    send(superuser, page)
    assert counts(send(superuser, page)) == [0, 3, 0]
    assert WorkflowEvent.objects.filter(type="run.cancelled").count() == 3
    assert LogEntry.objects.count() == 3


@pytest.mark.usefixtures("shop_code")
def test_every_action(superuser: Client) -> None:
    failed = make(2, "failed")
    running = make(2)
    for action, runs, status in [
        ("replay_selected", failed, "running"),
        ("pause_selected", running, "paused"),
        ("resume_selected", running, "running"),
        ("cancel_selected", running, "cancelled"),
    ]:
        assert counts(send(superuser, ask(superuser, action, runs))) == [2, 0, 0], action
        assert set(WorkflowRun.objects.filter(pk__in=runs).values_list("status", flat=True)) == {status}
    assert counts(send(superuser, ask(superuser, "replay_selected", failed))) == [0, 2, 0]
    assert DeadLetterEntry.objects.filter(is_replayed=True).count() == 2


def test_sleeping_runs_are_woken(superuser: Client, hookflow: Any) -> None:
    from tests.admin.test_operating import asleep

    runs = [asleep(hookflow, f"order-{number}").pk for number in range(2)]
    assert counts(send(superuser, ask(superuser, "wake_selected", [*runs, *make(1)]))) == [2, 1, 0]
    assert hookflow.deliver("order-0").answer == "completed"


@pytest.mark.usefixtures("shop_code")
def test_a_run_that_fails_again_meanwhile_is_not_replayed_again(superuser: Client) -> None:
    (run,) = make(1, "failed")
    page = ask(superuser, "replay_selected", [run])
    assert counts(send(superuser, page)) == [1, 0, 0]
    fail(run)
    result = send(superuser, page)
    assert refusals(result) == {"failed-000": "It has failed again since you asked."}


def test_a_reason_is_asked_for(superuser: Client) -> None:
    page = send(superuser, ask(superuser, "cancel_selected", make(1)), reason=" ")
    assert "This field is required." in page.text
    assert set(statuses().values()) == {"pending"}


@pytest.mark.parametrize("reason", ["a\0b", "x" * 10_001])
def test_a_reason_that_the_log_does_not_take_is_refused_in_the_form(superuser: Client, reason: str) -> None:
    page = send(superuser, ask(superuser, "cancel_selected", make(1)), reason=reason)
    assert page.one("p", **{"class": "hookflow-field-error"}).text.startswith("reason '")
    assert set(statuses().values()) == {"pending"}


@pytest.mark.parametrize("progress", ["", "forged", "e30:1abcde:xyz"])
def test_a_forged_progress_begins_anew(superuser: Client, progress: str) -> None:
    page = send(superuser, ask(superuser, "cancel_selected", make(1)), progress=progress)
    assert "Each run ends before its next step." in page.text
    assert set(statuses().values()) == {"pending"}


def test_what_is_no_key_is_left_out(superuser: Client) -> None:
    page = ask(superuser, "cancel_selected", [*make(1), "nonsense"], across=True)
    assert counts(send(superuser, page, scope="selected")) == [1, 0, 0]


@pytest.mark.parametrize("action", ["cancel_selected", "replay_selected"])
def test_who_may_only_look_is_offered_no_action(staff: Callable[..., Client], action: str) -> None:
    (run,) = make(1, "failed")
    client = staff("view_workflowrun", "change_workflowrun", "view_deadletterentry", "change_deadletterentry")
    for url in (RUNS, DEAD_LETTERS):
        assert parse(client.get(url)).all("select", name="action") == []
        client.post(url, {"action": action, "_selected_action": [str(run)], "confirmed": "1", "reason": "x"})
    assert statuses() == {"failed-000": "failed"}


@pytest.mark.usefixtures("shop_code")
def test_dead_letters_are_replayed_in_the_same_way(staff: Callable[..., Client]) -> None:
    make(3, "failed")
    client = staff("view_deadletterentry", "operate_workflowrun")
    entries = list(DeadLetterEntry.objects.values_list("pk", flat=True))
    result = send(client, ask(client, "replay_selected", entries[:1], across=True, url=DEAD_LETTERS))
    assert counts(result) == [3, 0, 0]
    events = WorkflowEvent.objects.filter(type="run.replayed")
    assert {(event.actor, event.payload["reason"]) for event in events} == {("staff", "flood")}
    assert set(LogEntry.objects.values_list("content_type__model", flat=True)) == {"deadletterentry"}


def test_a_batch_is_all_that_is_ever_read(superuser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operating_many, "BATCH", 10)
    page = ask(superuser, "cancel_selected", make(30), across=True)
    with count_queries() as queries:
        assert counts(send(superuser, page, scope="all")) == [30, 0, 0]
    batches = [query for query in queries if query.endswith("DESC LIMIT 10")]
    assert len(batches) == 4


def test_what_a_search_finds_is_done_and_what_it_leaves_out_is_told(superuser: Client) -> None:
    runs = make(3)
    start("other")
    result = send(superuser, ask(superuser, "cancel_selected", runs[:1], across=True, url=f"{RUNS}?q=pending-"))
    assert counts(result) == [3, 0, 0]
    assert statuses()["other"] == "pending"


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_batches_of_any_list_go_by_an_index(superuser: Client) -> None:
    """Twenty thousand runs; the batch in the middle is found as quickly as the first."""
    fill(20_000)
    for view in ("all", "failed", "completed", "of one workflow", "failed, of one workflow", "sleeping", "stuck"):
        (some,) = WorkflowRun.objects.order_by("-created_at")[9_000:9_001]
        request = RequestFactory().get(RUNS, VIEWS[view])
        request.user = User.objects.get(username="root")
        many = operating_many.Many(RunAct(OPERATIONS["cancel"]), WorkflowRunAdmin(WorkflowRun, site), request)
        progress = BulkProgress(asked="", until=some.created_at.isoformat(), key=str(some.pk))
        plan = progress.rows_after(many._rows("all"))[:200].explain()
        assert "Seq Scan on django_hookflow_workflowrun" not in plan, (view, plan)
