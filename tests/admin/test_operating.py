"""Acting on one run from the admin: offered where it makes sense, event in advance, done once, and recorded."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client

from django_hookflow import Retry, WorkflowContext, workflow
from django_hookflow.admin.operating.forms import ReasonForm
from django_hookflow.models import DeadLetterEntry, WorkflowRun
from tests.admin.conftest import RUNS
from tests.admin.page import Element, parse
from tests.log.calls import session, wait_until_blocked
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from django_hookflow.testing import Hookflow

pytestmark = pytest.mark.django_db(transaction=True)

broken: set[str] = set()


@pytest.fixture(autouse=True)
def _mend() -> None:
    broken.clear()


def charge() -> str:
    if "bank" in broken:
        raise ValueError("the bank refuses")
    return "paid"


@workflow(workflow_id="tests.admin.operated")
def operated(ctx: WorkflowContext) -> str:
    ctx.step.run("validate", str, "ok")
    ctx.step.sleep("wait", seconds=5000)
    ctx.step.run("charge", charge)
    return "done"


@workflow(workflow_id="tests.admin.doubtful")
def doubtful(ctx: WorkflowContext) -> Any:
    return ctx.step.options(retry=Retry(max_attempts=2), on_doubt="ask").run("charge", charge)


def asleep(hookflow: Hookflow, run_id: str = "order-1") -> WorkflowRun:
    operated.trigger(run_id=run_id)
    hookflow.deliver(run_id)
    return get(run_id)


def failed(hookflow: Hookflow) -> WorkflowRun:
    broken.add("bank")
    return hookflow.drive(asleep(hookflow).run_id)


def in_doubt(hookflow: Hookflow) -> WorkflowRun:
    run_id = doubtful.trigger(run_id="order-1")
    hookflow.crash("charge")
    return hookflow.drive(run_id)


def get(run_id: str = "order-1") -> WorkflowRun:
    return WorkflowRun.objects.get(run_id=run_id)


def url_of(run: WorkflowRun, name: str) -> str:
    return f"{RUNS}{run.pk}/operate/{name}/"


def open_page(client: Client, run: WorkflowRun, name: str, **query: str) -> Element:
    return parse(client.get(url_of(run, name), query)).one("div", id="content-main")


def fields_of(page: Element) -> dict[str, str]:
    """What a browser would send if the form were sent as it is."""
    form = page.one("form", method="post")
    fields = {e.attributes["name"]: e.attributes.get("value", "") for e in form.all("input")}
    fields |= {e.attributes["name"]: e.raw_text.strip() for e in form.all("textarea")}
    for select in form.all("select"):
        options = select.all("option")
        chosen = [option for option in options if "selected" in option.attributes] or options
        fields[select.attributes["name"]] = chosen[0].attributes["value"]
    return fields


def operate(client: Client, run: WorkflowRun, name: str, **given: str) -> Element:
    """Opens the page, fills it in and sends it; the page it leads to."""
    fields = {**fields_of(open_page(client, run, name)), "reason": "because", **given}
    return parse(client.post(url_of(run, name), fields, follow=True))


def messages(page: Element) -> str:
    return " ".join(item.text for item in page.one("ul", **{"class": "messagelist"}).all("li"))


def last_event(hookflow: Hookflow, type_: str) -> Any:
    (event,) = [event for event in hookflow.events("order-1") if event.type == type_]
    return event


def logged() -> list[tuple[str, str]]:
    entries = LogEntry.objects.order_by("pk").select_related("user")
    return [(entry.user.get_username(), entry.get_change_message()) for entry in entries]


def offers(client: Client, run: WorkflowRun) -> dict[str, str]:
    """Why each operation is not offered; "" for those that are. As the pages say it, one by one."""
    names = ("cancel", "pause", "resume", "wake", "replay", "restart", "rewind", "resolve", "rebuild")
    answers = {}
    for name in names:
        refusals = open_page(client, run, name).all("p", **{"class": "hookflow-why-not"})
        answers[name] = refusals[0].text if refusals else ""
    return answers


@pytest.mark.parametrize(
    ("name", "type_", "status"),
    [
        ("cancel", "run.cancelled", "cancelled"),
        ("pause", "run.paused", "paused"),
        ("wake", "run.woken", "running"),
        ("rebuild", "run.rebuilt", "running"),
    ],
)
def test_a_sleeping_run(hookflow: Hookflow, superuser: Client, name: str, type_: str, status: str) -> None:
    run = asleep(hookflow)

    page = operate(superuser, run, name)

    assert "Run order-1" in [title.text for title in page.all("h1")]
    assert get().status == status
    event = last_event(hookflow, type_)
    assert (event.actor, event.payload["reason"]) == ("root", "because")
    assert [who for who, _ in logged()] == ["root"]
    assert logged()[0][1].endswith(": because")
    assert messages(page)


def test_a_paused_run_is_resumed(hookflow: Hookflow, superuser: Client) -> None:
    run = asleep(hookflow)
    run.pause()

    assert messages(operate(superuser, run, "resume")) == "The run continues."

    assert last_event(hookflow, "run.resumed").actor == "root"
    assert hookflow.drive("order-1").status == "completed"


def test_a_woken_run_goes_on_at_once(hookflow: Hookflow, superuser: Client) -> None:
    run = asleep(hookflow)
    assert "The run continues now instead of in 1 h" in open_page(superuser, run, "wake").text

    operate(superuser, run, "wake")

    assert hookflow.deliver("order-1").answer == "completed"


def test_a_failed_run_is_replayed_from_the_step_it_failed_in(hookflow: Hookflow, superuser: Client) -> None:
    run = failed(hookflow)
    assert "at step charge, where it failed" in open_page(superuser, run, "replay").text
    broken.clear()

    operate(superuser, run, "replay")

    assert hookflow.drive("order-1").status == "completed"
    assert last_event(hookflow, "run.replayed").actor == "root"
    assert DeadLetterEntry.objects.get().is_replayed


def test_a_failed_run_is_started_afresh_as_a_new_run(hookflow: Hookflow, superuser: Client) -> None:
    run = failed(hookflow)

    page = operate(superuser, run, "restart")

    new = WorkflowRun.objects.exclude(pk=run.pk).get()
    (link,) = page.one("ul", **{"class": "messagelist"}).all("a")
    assert link.attributes["href"] == f"{RUNS}{new.pk}/change/"
    assert link.text == new.run_id
    assert (new.status, get().status) == ("pending", "failed")
    assert "it has already been replayed" in offers(superuser, run)["replay"]


def test_a_run_is_rewound_to_the_chosen_step(hookflow: Hookflow, superuser: Client) -> None:
    run = hookflow.drive(asleep(hookflow).run_id)
    page = open_page(superuser, run, "rewind", step="charge")
    options = page.one("select", name="step").all("option")
    assert [option.text for option in options] == ["Choose a step", "validate", "wait", "charge"]
    assert fields_of(page)["step"] == "charge"
    assert fields_of(open_page(superuser, run, "rewind"))["step"] == ""  # nothing is done again by a slip

    operate(superuser, run, "rewind", step="wait")

    event = last_event(hookflow, "run.rewound")
    assert (event.step_id, event.actor) == ("wait", "root")
    superseded = [event.step_id for event in hookflow.events("order-1") if event.type == "step.superseded"]
    assert superseded == ["wait", "charge"]


def test_a_step_that_is_not_there_is_refused_in_the_form(hookflow: Hookflow, superuser: Client) -> None:
    run = asleep(hookflow)

    page = operate(superuser, run, "rewind", step="elsewhere")

    assert "elsewhere is not one of the available choices" in page.text
    assert not [event for event in hookflow.events("order-1") if event.type == "run.rewound"]


def test_a_doubt_is_resolved_with_a_result(hookflow: Hookflow, superuser: Client) -> None:
    run = in_doubt(hookflow)
    assert "Step charge was started, and nobody knows whether it finished." in open_page(superuser, run, "resolve").text

    operate(superuser, run, "resolve", result='{"id": "ch_1", "paid": true}')

    assert hookflow.drive("order-1").result == {"id": "ch_1", "paid": True}
    assert last_event(hookflow, "step.resolved").actor == "root"


def test_a_step_that_returned_nothing_is_resolved_with_null(hookflow: Hookflow, superuser: Client) -> None:
    run = in_doubt(hookflow)
    operate(superuser, run, "resolve", result=" null ")
    done = hookflow.drive("order-1")
    assert (done.status, done.result) == ("completed", None)


@pytest.mark.parametrize(
    ("result", "complaint"),
    [
        ("", "This field is required."),
        ("{paid: true}", "This is not JSON: Expecting property name"),
        ("NaN", "This is not JSON: NaN is not a JSON number"),
        ("[" * 100_000, "This JSON is nested too deeply."),
        ('"' + "x" * 2_000_000 + '"', "cannot be recorded"),
        ('"\\u0000"', "cannot be recorded"),
        ('"\\ud800"', "cannot be recorded"),
    ],
)
def test_a_result_that_is_none_is_refused_in_the_form(
    hookflow: Hookflow, superuser: Client, result: str, complaint: str
) -> None:
    run = in_doubt(hookflow)

    page = operate(superuser, run, "resolve", result=result)

    assert complaint in page.text
    assert get().status == "in_doubt"


def test_a_damaged_row_is_put_right_from_the_log(hookflow: Hookflow, superuser: Client) -> None:
    run = asleep(hookflow)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE django_hookflow_workflowrun SET status = 'completed'")
        cursor.execute("DELETE FROM django_hookflow_wait")

    operate(superuser, run, "rebuild")

    assert get().status == "running"
    assert get().wake_at is not None
    rebuilt = last_event(hookflow, "run.rebuilt")
    assert (rebuilt.payload, rebuilt.facts) == ({"reason": "because"}, {"repaired": 2})


def test_what_is_offered_follows_how_the_run_stands(hookflow: Hookflow, superuser: Client) -> None:
    run = asleep(hookflow)
    offered = [name for name, why_not in offers(superuser, run).items() if not why_not]
    assert offered == ["cancel", "pause", "wake", "rewind", "rebuild"]
    assert (
        offers(superuser, run)["replay"] == "Only a failed run with an open dead letter can be replayed: it is running."
    )

    run.pause()
    assert [name for name, why in offers(superuser, run).items() if not why] == [
        "cancel",
        "resume",
        "rewind",
        "rebuild",
    ]

    run.cancel()
    assert offers(superuser, run) == {
        "cancel": "There is nothing to cancel: it is cancelled.",
        "pause": "Only an active run can be paused: it is cancelled.",
        "resume": "Only a paused run, or one that no longer matches its code, can be resumed: it is cancelled.",
        "wake": "Only a run that is sleeping or waiting to retry can be woken: it is cancelled.",
        "replay": "Only a failed run with an open dead letter can be replayed: it is cancelled.",
        "restart": "Only a failed run with an open dead letter can be replayed: it is cancelled.",
        "rewind": "It cannot be rewound: it is cancelled.",
        "resolve": "There is no doubt to resolve: it is cancelled.",
        "rebuild": "",
    }


def test_failed_and_doubtful_runs_are_offered_their_way_on(hookflow: Hookflow, superuser: Client) -> None:
    why_not = offers(superuser, failed(hookflow))
    assert [name for name, why in why_not.items() if not why] == ["replay", "restart", "rewind", "rebuild"]


def test_a_doubtful_run_is_offered_to_be_resolved(hookflow: Hookflow, superuser: Client) -> None:
    why_not = offers(superuser, in_doubt(hookflow))
    assert [name for name, why in why_not.items() if not why] == ["cancel", "rewind", "resolve", "rebuild"]


@pytest.mark.parametrize("operation", ["replay", "restart"])
def test_a_run_without_code_here_is_neither_replayed_nor_started_afresh(
    hookflow: Hookflow, superuser: Client, operation: str
) -> None:
    from tests.admin.history import fail, start

    run = start("order-2", "a.workflow.of.yesterday")
    fail(run)
    page = open_page(superuser, WorkflowRun.objects.get(pk=run), operation)
    assert "This server has no code for its workflow, so it cannot be replayed here." in page.text


def test_the_page_of_the_run_shows_them(hookflow: Hookflow, superuser: Client) -> None:
    run = asleep(hookflow)
    page = parse(superuser.get(f"{RUNS}{run.pk}/change/")).one("div", id="content")
    links = {a.attributes.get("href") for a in page.all("a")}
    assert {url_of(run, name) for name in ("cancel", "pause", "wake", "rewind", "rebuild")} <= links
    assert url_of(run, "replay") not in links
    assert "Only a failed run with an open dead letter can be replayed: it is running." in page.text


def test_looking_changes_nothing(hookflow: Hookflow, superuser: Client) -> None:
    run = asleep(hookflow)
    before = [event.type for event in hookflow.events("order-1")]
    offers(superuser, run)
    assert [event.type for event in hookflow.events("order-1")] == before
    assert logged() == []


def test_help_and_errors_are_tied_to_their_fields(hookflow: Hookflow, superuser: Client) -> None:
    run = in_doubt(hookflow)

    page = operate(superuser, run, "resolve", result="{", reason="")

    for name in ("result", "reason"):
        field = page.one("textarea", name=name)
        event = [page.all(tag, id=id_) for id_ in field.attributes["aria-describedby"].split() for tag in ("p", "div")]
        texts = [element.text for found in event for element in found]
        assert field.attributes["aria-invalid"] == "true"
        assert len(texts) == 2, texts
        assert {"result": "This is not JSON", "reason": "This field is required."}[name] in texts[1]


@pytest.mark.parametrize(
    ("reason", "complaint"),
    [("a\0b", "(NUL, or half of a surrogate pair)"), ("x" * 10_001, "is longer than 10,000 characters")],
)
@pytest.mark.parametrize("name", ["cancel", "rebuild", "rewind"])
def test_a_reason_that_the_log_does_not_take_is_refused_in_the_form(
    hookflow: Hookflow, superuser: Client, name: str, reason: str, complaint: str
) -> None:
    run = asleep(hookflow)
    before = len(hookflow.events("order-1"))

    page = operate(superuser, run, name, reason=reason, **({"step": "validate"} if name == "rewind" else {}))

    (error,) = page.all("p", **{"class": "hookflow-field-error"})
    assert error.text.startswith("reason '")
    assert error.text.endswith(f"{complaint}.")
    assert len(hookflow.events("order-1")) == before


def test_a_lone_surrogate_is_no_reason() -> None:
    form = ReasonForm(None, {"reason": "a\ud800b", "seen": "1"})
    assert not form.is_valid()
    assert "half of a surrogate pair" in form.errors["reason"][0]


def test_a_reason_of_many_lines_is_recorded_as_it_is(hookflow: Hookflow, superuser: Client) -> None:
    reason = "ünï\n" + "x" * 9_000
    operate(superuser, asleep(hookflow), "cancel", reason=reason)
    assert last_event(hookflow, "run.cancelled").payload == {"reason": reason}


def test_a_name_of_a_user_that_the_log_does_not_take_is_refused(hookflow: Hookflow, superuser: Client) -> None:
    run = asleep(hookflow)
    User.objects.filter(username="root").update(username="ro\tot")

    page = operate(superuser, run, "cancel")

    assert "Nothing was done: actor 'ro\\tot' has characters that cannot be printed." in messages(page)
    assert get().status == "running"


def test_without_a_reason_nothing_is_done(hookflow: Hookflow, superuser: Client) -> None:
    run = asleep(hookflow)
    assert "This field is required." in operate(superuser, run, "cancel", reason="  ").text
    assert get().status == "running"


class TestPermissions:
    def test_it_takes_the_permission_to_operate(self, hookflow: Hookflow, staff: Callable[..., Client]) -> None:
        run = asleep(hookflow)
        client = staff("view_workflowrun", "change_workflowrun", "view_deadletterentry")
        for name in offers_all():
            assert client.get(url_of(run, name)).status_code == 403
            assert client.post(url_of(run, name), {"reason": "because", "seen": 0}).status_code == 403
        assert get().status == "running"
        page = parse(client.get(f"{RUNS}{run.pk}/change/"))
        assert not [a for a in page.all("a") if "/operate/" in a.attributes.get("href", "")]

    def test_it_is_enough_together_with_view(self, hookflow: Hookflow, staff: Callable[..., Client]) -> None:
        run = asleep(hookflow)
        client = staff("view_workflowrun", "operate_workflowrun")
        operate(client, run, "cancel")
        assert get().status == "cancelled"
        assert logged() == [("staff", "Cancel: because")]

    def test_it_is_not_enough_alone(self, hookflow: Hookflow, staff: Callable[..., Client]) -> None:
        run = asleep(hookflow)
        assert staff("operate_workflowrun").get(url_of(run, "cancel")).status_code == 403

    def test_a_stranger_is_sent_to_the_login(self, hookflow: Hookflow) -> None:
        answer = Client().post(url_of(asleep(hookflow), "cancel"), {"reason": "because"})
        assert answer.status_code == 302
        assert "/login/" in answer["Location"]

    def test_a_post_without_a_token_is_refused(self, hookflow: Hookflow, superuser: Client) -> None:
        run = asleep(hookflow)
        strict = Client(enforce_csrf_checks=True)
        strict.cookies = superuser.cookies
        assert strict.post(url_of(run, "cancel"), {"reason": "because", "seen": 1}).status_code == 403
        assert get().status == "running"

    def test_permissions_are_there_to_be_given(self) -> None:
        names = {p.codename: p.name for p in Permission.objects.filter(content_type__app_label="django_hookflow")}
        assert names["operate_workflowrun"] == "Can operate workflow runs"
        assert names["view_payload_workflowrun"] == "Can see the payloads of workflow runs"


def offers_all() -> list[str]:
    from django_hookflow.admin.operating.operations import OPERATIONS

    return list(OPERATIONS)


class TestTwice:
    @pytest.mark.parametrize("name", ["cancel", "pause", "wake", "rebuild", "rewind"])
    def test_a_second_click_does_nothing_again(self, hookflow: Hookflow, superuser: Client, name: str) -> None:
        run = asleep(hookflow)
        fields = {**fields_of(open_page(superuser, run, name, step="validate")), "reason": "because"}
        superuser.post(url_of(run, name), fields)
        before = len(hookflow.events("order-1"))

        page = parse(superuser.post(url_of(run, name), fields, follow=True))

        assert messages(page).splitlines()[0].count("Nothing was done: you did this after you opened the page") == 1
        assert len(hookflow.events("order-1")) == before
        assert len(logged()) == 1

    def test_the_log_keeps_both_clicks_on_replay(self, hookflow: Hookflow, superuser: Client) -> None:
        """Scenario 19."""
        run = failed(hookflow)
        fields = {**fields_of(open_page(superuser, run, "replay")), "reason": "because"}
        for _ in range(2):
            superuser.post(url_of(run, "replay"), fields)
        event = [event.type for event in hookflow.events("order-1") if event.type.startswith("run.replay")]
        assert event == ["run.replayed", "run.replay_repeated"]

    def test_somebody_else_was_quicker(self, hookflow: Hookflow, superuser: Client) -> None:
        run = asleep(hookflow)
        fields = {**fields_of(open_page(superuser, run, "rewind", step="validate")), "reason": "because"}
        run.rewind(to_step="validate", actor="ada")
        page = parse(superuser.post(url_of(run, "rewind"), fields, follow=True))
        assert "Nothing was done: ada did this" in messages(page)

    def test_a_page_of_before_answers_how_the_run_stands_now(self, hookflow: Hookflow, superuser: Client) -> None:
        run = asleep(hookflow)
        fields = {**fields_of(open_page(superuser, run, "pause")), "reason": "because"}
        run.cancel()
        page = parse(superuser.post(url_of(run, "pause"), fields, follow=True))
        assert "Nothing was done. Only an active run can be paused" in messages(page)
        assert logged() == []

    def test_two_clicks_at_once_rewind_once(self, hookflow: Hookflow, superuser: Client) -> None:
        run = asleep(hookflow)
        fields = {**fields_of(open_page(superuser, run, "rewind", step="validate")), "reason": "because"}
        user = User.objects.get(username="root")
        pids: list[int] = []

        def click() -> None:
            try:
                client = Client()
                client.force_login(user)
                pids.append(connection.connection.info.backend_pid)
                client.post(url_of(run, "rewind"), fields)
            finally:
                connection.close()

        threads = [threading.Thread(target=click) for _ in range(2)]
        with session() as holder:
            holder.execute("BEGIN")
            holder.execute("SELECT FROM django_hookflow_head WHERE run_uid = %s FOR UPDATE", [run.pk])
            for number, thread in enumerate(threads, start=1):
                thread.start()
                wait_until(lambda number=number: len(pids) == number, "the click is on its way")  # type: ignore[misc]
                wait_until_blocked(pids[-1], "the click waits for the run")
            holder.execute("ROLLBACK")
        for thread in threads:
            thread.join()
        assert [event.type for event in hookflow.events("order-1")].count("run.rewound") == 1
        assert len(logged()) == 1


def test_what_is_unknown_is_not_found(hookflow: Hookflow, superuser: Client) -> None:
    run = asleep(hookflow)
    assert superuser.get(url_of(run, "delete")).status_code == 404
    assert superuser.get(f"{RUNS}00000000-0000-0000-0000-000000000000/operate/cancel/").status_code == 404
    assert superuser.get(f"{RUNS}nonsense/operate/cancel/").status_code == 404
    assert superuser.put(url_of(run, "cancel")).status_code == 405


@pytest.mark.parametrize("seen", ["", "x", "-1", str(2**40)])
def test_a_forged_form_is_refused(hookflow: Hookflow, superuser: Client, seen: str) -> None:
    run = asleep(hookflow)
    answer = superuser.post(url_of(run, "cancel"), {"reason": "because", "seen": seen})
    assert answer.status_code == 200
    assert get().status == "running"


def test_a_run_of_many_steps_takes_any_of_them_and_suggests_the_last(superuser: Client) -> None:
    from tests.admin.history import add_steps, start

    run = start()
    add_steps(run, 300)
    row = WorkflowRun.objects.get(pk=run)
    page = open_page(superuser, row, "rewind")
    assert len(page.one("datalist").all("option")) == 200
    assert "no recorded step with that name" in operate(superuser, row, "rewind", step="step-300").text
    operate(superuser, row, "rewind", step="step-7")
    assert row.events.get(type="run.rewound").step_id == "step-7"


def test_names_of_steps_and_runs_are_never_markup(superuser: Client) -> None:
    from tests.admin.history import add, start

    attack = '"><script>alert(1)</script>'
    run = start(run_id=attack, workflow_id=attack)
    add(run, "turn.started", worker="w")
    add(run, "step.suspended", attack, kind="doubt", step_kind="run", attempt=1)
    row = WorkflowRun.objects.get(pk=run)
    for name in offers_all():
        page = parse(superuser.get(url_of(row, name)))
        assert [
            e for e in page.all("script") if "src" not in e.attributes and "json" not in e.attributes.get("type", "")
        ] == []
        assert not [name for e in page.walk() for name in e.attributes if name == "style" or name.startswith("on")]
    assert json.dumps(attack) not in messages(operate(superuser, row, "cancel"))


def test_a_role_that_may_not_rebuild_learns_which_may(hookflow: Hookflow, superuser: Client) -> None:
    """As the application's login with roles.sql: it writes by functions only, and all else of the admin."""
    run = asleep(hookflow)
    fields = {**fields_of(open_page(superuser, run, "rebuild")), "reason": "because"}
    with connection.cursor() as cursor:
        cursor.execute("DROP ROLE IF EXISTS tests_only_looks")
        cursor.execute("CREATE ROLE tests_only_looks")
        cursor.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO tests_only_looks")
        cursor.execute(
            "REVOKE UPDATE, DELETE, INSERT ON django_hookflow_head, django_hookflow_workflowrun FROM tests_only_looks"
        )
        try:
            cursor.execute("SET ROLE tests_only_looks")
            page = parse(superuser.post(url_of(run, "rebuild"), fields, follow=True))
        finally:
            cursor.execute("RESET ROLE")
            cursor.execute("DROP OWNED BY tests_only_looks")
            cursor.execute("DROP ROLE tests_only_looks")
    assert messages(page) == (
        "Nothing was done: the database role of this process is not allowed to rebuild projections: use a role that is a "
        "member of hookflow_owner."
    )
    assert logged() == []
