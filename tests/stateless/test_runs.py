"""Runs whose history is in their messages, over the webhook, signed. No test here may open a database."""

from __future__ import annotations

import datetime
import decimal
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client, override_settings

from django_hookflow import Retry, WorkflowContext, workflow
from django_hookflow.clock import clock
from django_hookflow.delivery.signature import sign
from django_hookflow.exceptions import HistoryTooLarge, NeedsLog, NotStarted, StepCompleted, WorkflowError
from tests.delivery.servers import Answer
from tests.stateless.conftest import PUBLISH, Post, answer_of, deliver

did: list[Any] = []
URL = "http://testserver/hookflow/workflow/{}/"


@pytest.fixture(autouse=True)
def _forget() -> None:
    did.clear()


def note(what: Any) -> Any:
    did.append(what)
    return what


@workflow(workflow_id="stateless.order")
def order(ctx: WorkflowContext) -> dict[str, Any]:
    validated = ctx.step.run("validate", note, ctx.data["order_id"])
    ctx.step.sleep("wait-for-payment", seconds=60)
    when = ctx.step.run("fulfil", lambda: note((decimal.Decimal("1.10"), datetime.date(2026, 2, 3))))
    again = ctx.step.run("look", lambda: repr(when))
    did.append(("returned", validated, again))
    return {"status": "completed", "order": validated}


def test_the_quick_start_runs_over_its_messages(post: Post) -> None:
    run_id = order.trigger(data={"order_id": "1"})
    first = post.published[0]
    assert first.path == PUBLISH + URL.format("stateless.order")
    assert "upstash-delay" not in {name.lower() for name in first.headers}
    assert post.body()["run_id"] == run_id
    assert post.deliver().json() == {"status": "suspended"}
    assert did == ["1"]
    assert post.published[1].headers["Upstash-Delay"] == "60s"
    with moved(61):
        assert post.deliver().json() == {"status": "completed"}
    expected = (decimal.Decimal("1.10"), datetime.date(2026, 2, 3))
    assert did[1] == expected
    assert did[2] == ("returned", "1", repr(expected))
    assert len(post.published) == 2


def test_one_step_a_delivery_replays_the_record(post: Post, settings: Any) -> None:
    settings.DJANGO_HOOKFLOW_STEPS_PER_TURN = 1
    order.trigger(data={"order_id": "1"})
    post.deliver()
    post.deliver()
    with moved(61):
        assert post.drive() == ["suspended", "suspended", "completed"]
    assert [entry for entry in did if entry == "1"] == ["1"], "no step twice"
    assert len(post.published) == 5
    dedup = [message.headers["Upstash-Deduplication-Id"] for message in post.published]
    assert len(set(dedup)) == len(dedup)


def test_a_message_that_comes_before_its_time_is_published_again(post: Post) -> None:
    order.trigger(data={"order_id": "1"})
    post.deliver()
    assert post.deliver(1).json() == {"status": "early"}
    again = post.published[2]
    assert again.headers["Upstash-Delay"] == "60s"
    assert again.headers["Upstash-Deduplication-Id"] != post.published[1].headers["Upstash-Deduplication-Id"]
    assert did == ["1"]
    with moved(61):
        assert post.deliver().json() == {"status": "completed"}


@workflow(workflow_id="stateless.long")
def long(ctx: WorkflowContext) -> None:
    ctx.step.sleep("a-month", seconds=30 * 86_400)
    note("awake")


def test_a_sleep_longer_than_a_message_is_held_back_is_several(post: Post) -> None:
    long.trigger()
    post.deliver()
    days = 0
    while not did:
        assert 0 < int(post.published[-1].headers["Upstash-Delay"].removesuffix("s")) <= 7 * 86_400
        days += 7
        with moved(days * 86_400 + 1):
            answer = post.deliver().json()["status"]
        assert answer == ("completed" if days > 30 else "early")
    assert (did, days) == (["awake"], 35)


@workflow(workflow_id="stateless.flaky", retry=Retry(max_attempts=3, first_delay=10, factor=2, jitter=0))
def flaky(ctx: WorkflowContext) -> Any:
    try:
        ctx.step.run("flaky", fail, ctx.data["fails"])
    except WorkflowError as error:
        return note(f"caught {error.attempts}: {error.__cause__}")
    raise_between(ctx)
    return "fine"


def fail(times: int) -> str:
    note("attempt")
    if did.count("attempt") <= times:
        raise ConnectionError("nobody there")
    return "there"


def raise_between(ctx: WorkflowContext) -> None:
    if ctx.data.get("between") and did.count("between") < ctx.data["between"]:
        note("between")
        raise ConnectionError("between steps")


def delays(post: Post) -> list[str | None]:
    return [message.headers.get("Upstash-Delay") for message in post.published]


def test_retries_wait_in_the_next_message(post: Post) -> None:
    flaky.trigger({"fails": 2})
    with moved(1000):
        assert run_out(post) == ["suspended", "suspended", "completed"]
    assert delays(post) == [None, "10s", "20s"]
    assert did == ["attempt"] * 3


def test_retries_end_and_the_error_is_the_same_for_the_workflow(post: Post) -> None:
    flaky.trigger({"fails": 9})
    assert run_out(post) == ["suspended", "suspended", "completed"]
    assert did == [*["attempt"] * 3, "caught 3: nobody there"]


def test_the_workflow_itself_is_tried_again_with_its_backoff(post: Post, caplog: pytest.LogCaptureFixture) -> None:
    flaky.trigger({"fails": 0, "between": 9})
    assert run_out(post) == ["suspended", "suspended", "failed"]
    assert delays(post) == [None, "10s", "20s"]
    assert did == ["attempt", *["between"] * 3]
    failed = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert any("between steps" in record.getMessage() and "Traceback" in record.getMessage() for record in failed)


def run_out(post: Post) -> list[str]:
    """Delivers each message when it is due."""
    answers = []
    seconds = 0
    while True:
        before = len(post.published)
        with moved(seconds):
            answers.append(answer_of(post.deliver()))
        if len(post.published) == before:
            return answers
        seconds += 10_000


@workflow(workflow_id="stateless.failing")
def failing(ctx: WorkflowContext) -> None:
    ctx.step.run("wrong", wrong)


def wrong() -> None:
    note("wrong")
    raise ValueError("bad order")


def test_a_run_that_fails_is_logged_and_not_delivered_again(post: Post, caplog: pytest.LogCaptureFixture) -> None:
    failing.trigger()
    response = post.deliver()
    assert (response.status_code, answer_of(response)) == (489, "failed")
    assert response.json()["error"].endswith("retry this message in QStash's dead letter queue to continue the run")
    assert len(post.published) == 1
    assert "bad order" in caplog.text
    assert any(record.levelno == logging.ERROR for record in caplog.records)


@workflow(workflow_id="stateless.late", retry=Retry(max_attempts=2, first_delay=10, jitter=0))
def late(ctx: WorkflowContext) -> None:
    ctx.step.run("before", note, "before")
    ctx.step.run("flaky", fail, 2)


def test_a_dead_letter_of_qstash_that_is_retried_goes_on_where_it_failed(post: Post) -> None:
    late.trigger()
    assert run_out(post) == ["suspended", "failed"]
    with moved(20_000):
        assert post.deliver().json() == {"status": "completed"}
    assert did == ["before", "attempt", "attempt", "attempt"]


@workflow(workflow_id="stateless.large")
def large(ctx: WorkflowContext) -> str:
    for number in range(ctx.data["steps"]):
        ctx.step.run(f"step-{number}", lambda: "x" * ctx.data["size"])
        note(number)
    return "done"


@pytest.mark.parametrize("per_turn", [1, None])
def test_a_history_too_large_for_a_message_fails_the_run_at_the_same_step(
    post: Post, settings: Any, caplog: pytest.LogCaptureFixture, per_turn: int | None
) -> None:
    settings.DJANGO_HOOKFLOW_STEPS_PER_TURN = per_turn
    settings.DJANGO_HOOKFLOW_MAX_PAYLOAD_SIZE = 100_000
    large.trigger({"steps": 20, "size": 20_000})
    assert post.drive()[-1] == "failed"
    assert set(did) == {0, 1, 2, 3}
    assert "DJANGO_HOOKFLOW_MAX_PAYLOAD_SIZE" in caplog.text
    assert all(len(message.body) <= 100_000 for message in post.published)


def test_a_history_that_fits_to_the_byte_is_delivered(post: Post, settings: Any) -> None:
    """Whatever the size, each message that is published is one the webhook takes."""
    settings.DJANGO_HOOKFLOW_STEPS_PER_TURN = 1
    settings.DJANGO_HOOKFLOW_MAX_PAYLOAD_SIZE = 20_000
    for size in range(1, 17_000, 1_500):
        did.clear()
        large.trigger({"steps": 4, "size": size}, run_id="ä" * 100)
        answers = post.drive()
        assert answers[-1] in ("completed", "failed")
        assert not any("larger than" in answer for answer in answers)


def test_djangos_own_limit_counts_too(post: Post, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 50_000
    large.trigger({"steps": 20, "size": 20_000})
    assert post.drive() == ["failed"]
    assert did == [0, 1]


def test_data_too_large_for_a_message_are_refused_by_trigger(post: Post, settings: Any) -> None:
    settings.DJANGO_HOOKFLOW_MAX_PAYLOAD_SIZE = 10_000
    with pytest.raises(HistoryTooLarge, match="DJANGO_HOOKFLOW_PERSISTENCE_ENABLED"):
        large.trigger({"steps": 1, "size": 1, "more": "x" * 9_000})
    assert post.published == []


@workflow(workflow_id="stateless.needy")
def needy(ctx: WorkflowContext) -> None:
    if ctx.data["what"] == "atomic":
        ctx.step.atomic("book", note, "booked")
    elif ctx.data["what"] == "child":
        ctx.step.child("other", order)
    elif ctx.data["what"] == "offload":
        ctx.step.options(offload=True).call("pay", "http://testserver/pay")
    elif ctx.data["what"] == "continue":
        ctx.continue_as_new()
    else:
        ctx.step.options(on_doubt=ctx.data["what"]).run("ask", note, "asked")


@pytest.mark.parametrize("what", ["atomic", "ask", "child", "continue", "offload"])
def test_what_needs_the_log_fails_with_its_sentence(post: Post, caplog: pytest.LogCaptureFixture, what: str) -> None:
    needy.trigger({"what": what})
    assert answer_of(post.deliver()) == "failed"
    assert did == []
    assert "needs the event log, but DJANGO_HOOKFLOW_PERSISTENCE_ENABLED is False" in caplog.text


@pytest.mark.parametrize("given", [{"label": "x"}, {"actor": "ada"}])
def test_what_only_the_log_keeps_is_refused_by_trigger(post: Post, given: dict[str, str]) -> None:
    with pytest.raises(NeedsLog, match="a run's (label|actor) needs the event log"):
        order.trigger({}, **given)  # type: ignore[arg-type]
    assert post.published == []


def test_a_deadline_is_refused_by_trigger(post: Post) -> None:
    @workflow(workflow_id="stateless.timed", timeout=60)
    def timed(ctx: WorkflowContext) -> None: ...

    with pytest.raises(NeedsLog, match="a run's timeout needs the event log"):
        timed.trigger()


def test_another_transport_is_refused_by_trigger(post: Post, settings: Any) -> None:
    settings.DJANGO_HOOKFLOW_TRANSPORT = "inline"
    with pytest.raises(NeedsLog, match="the inline transport needs the event log"):
        order.trigger({})


def test_two_triggers_with_one_run_id_are_one_publication(post: Post) -> None:
    order.trigger({"order_id": "1"}, run_id="order-1")
    order.trigger({"order_id": "1"}, run_id="order-1")
    first, second = (message.headers["Upstash-Deduplication-Id"] for message in post.published)
    assert first == second
    other = large.trigger({"steps": 1, "size": 1}, run_id="order-1")
    assert (other, post.published[-1].headers["Upstash-Deduplication-Id"] != first) == ("order-1", True)


def test_a_message_that_is_not_taken_is_an_error_of_trigger(post: Post) -> None:
    post.server.otherwise = Answer(401, b'{"error":"no such token"}')
    with pytest.raises(NotStarted, match=r"run 'order-1' was not started.*no such token"):
        order.trigger({"order_id": "1"}, run_id="order-1")


def test_a_turn_whose_successor_is_not_taken_is_delivered_again(post: Post) -> None:
    order.trigger({"order_id": "1"})
    post.server.otherwise = Answer(401, b"{}")
    response = post.deliver(0)
    assert (response.status_code, response.headers["Retry-After"] >= "1") == (503, True)
    post.server.otherwise = Answer()
    assert post.deliver(0).json() == {"status": "suspended"}
    assert did == ["1", "1"], "what the turn did is done again, and the README says so"


def test_a_duplicate_leads_to_the_same_publication(post: Post, settings: Any) -> None:
    """However far each of the two came: QStash takes one of their messages."""
    order.trigger({"order_id": "1"})
    settings.DJANGO_HOOKFLOW_STEPS_PER_TURN = 1
    post.deliver(0)
    settings.DJANGO_HOOKFLOW_STEPS_PER_TURN = None
    post.deliver(0)
    one, other = post.published[1:]
    assert one.body != other.body
    assert one.headers["Upstash-Deduplication-Id"] == other.headers["Upstash-Deduplication-Id"]


@workflow(workflow_id="stateless.keyed")
def keyed(ctx: WorkflowContext) -> None:
    note(ctx.step.idempotency_key("charge"))
    ctx.step.sleep("nap", 1)
    note("awake")


def test_a_step_keeps_its_idempotency_key(post: Post) -> None:
    keyed.trigger(run_id="k")
    post.deliver(0)
    post.deliver(0)
    with moved(2):
        post.deliver()
    keys = [entry for entry in did if entry != "awake"]
    assert len(keys) == 3
    assert len(set(keys)) == 1


@workflow(workflow_id="stateless.charging", retry=Retry(max_attempts=2, first_delay=1, jitter=0))
def charging(ctx: WorkflowContext) -> None:
    paid = ctx.step.call("charge", url=ctx.data["url"], method="POST", body={"amount": 5}, headers={"X-Key": "k"})
    ctx.step.sleep("nap", 1)
    note(paid)


def test_a_call_is_tried_again_with_the_same_key(post: Post) -> None:
    charging.trigger({"url": f"{post.server.url}/charge"})
    post.server.answers.append(Answer(503))
    post.server.answers.append(Answer())
    post.server.answers.append(Answer(200, b'{"paid": true}'))
    assert run_out(post) == ["suspended", "suspended", "completed"]
    charges = [request for request in post.server.received if request.path == "/charge"]
    assert len({request.headers["Idempotency-Key"] for request in charges}) == 1
    assert (len(charges), did) == (2, [{"status_code": 200, "data": {"paid": True}}])


def test_code_that_no_longer_fits_diverges(post: Post, caplog: pytest.LogCaptureFixture) -> None:
    order.trigger({"order_id": "1"})
    body = post.body()
    body["history"].append([2, "step.completed", "gone", {"kind": "run", "attempt": 1, "took": 0}, {"result": 1}])
    assert answer_of(deliver(json.dumps(body).encode(), URL.format("stateless.order"))) == "diverged"
    assert "'gone' is recorded" in caplog.text
    assert len(post.published) == 1


def test_a_history_that_nobody_signed_is_refused(post: Post) -> None:
    order.trigger({"order_id": "1"})
    message = post.published[0]
    changed = message.body.replace(b'"1"', b'"2"')
    url = URL.format("stateless.order")
    headers = {"Upstash-Signature": sign(message.body, url)}
    response = Client().post(url, changed, content_type="application/json", headers=headers)
    assert (response.status_code, did) == (401, [])


@pytest.mark.parametrize(
    "history",
    [
        None,
        [],
        {},
        [[1, "run.triggered", None, {}]],
        [[1, "run.triggered", None, {}, "text"]],
        [["1", "run.triggered", None, {}, {"data": {}}]],
        [[1, "run.invented", None, {}, {"data": {}}]],
        [[1, "step.completed", "a", {}, {}]],
        [[1, "run.triggered", None, {}, {"data": {}}], [1, "step.completed", "a", {}, {}]],
        [[1, "run.triggered", None, {}, {"data": {}}], [2, "step.completed", "a", {}, {}]],
        [[1, "run.triggered", None, {}, {"data": {}}], [2, "step.suspended", "a", {}, None]],
        [[1, "run.triggered", None, {}, {"data": []}], [2, "step.suspended", "a", {"kind": "sleep"}, None]],
        [[True, ["run.triggered"], None, {}, {"data": []}]],
    ],
)
def test_a_body_that_is_no_history_is_refused(post: Post, history: Any) -> None:
    body = {"workflow_id": "stateless.order", "run_id": "r", "seq": 1, "kind": "history", "history": history}
    response = deliver(json.dumps(body).encode(), URL.format("stateless.order"))
    assert response.status_code == 400
    assert response.json()["error"].startswith("the body is not a hookflow message: ")


def test_a_workflow_that_is_not_there_is_404(post: Post) -> None:
    order.trigger({"order_id": "1"})
    body = post.published[0].body.replace(b"stateless.order", b"stateless.gone")
    assert deliver(body, URL.format("stateless.gone")).status_code == 404


class TestMessagesOfThePredecessor:
    def message(self, **fields: Any) -> bytes:
        body = {"workflow_id": "stateless.order", "run_id": "old-1", "data": {"order_id": "9"}, **fields}
        return json.dumps(body).encode()

    def test_a_run_goes_on_from_its_recorded_steps(self, post: Post) -> None:
        steps = {"validate": "9", "wait-for-payment": {"slept_for": 60, "timestamp": 1.5}}
        answer = deliver(self.message(completed_steps=steps, attempt=0), URL.format("stateless.order"))
        assert answer.json() == {"status": "completed"}
        assert "9" not in did
        assert did[-1][:2] == ("returned", "9")

    def test_a_first_message_begins_its_run(self, post: Post) -> None:
        answer = deliver(self.message(completed_steps={}), URL.format("stateless.order"))
        assert (answer.json(), did) == ({"status": "suspended"}, ["9"])
        with moved(61):
            assert post.deliver().json() == {"status": "completed"}

    def test_results_that_look_like_our_tags_stay_what_they_are(self, post: Post) -> None:
        @workflow(workflow_id="stateless.tagged")
        def tagged(ctx: WorkflowContext) -> None:
            note(ctx.step.call("fetch", "http://127.0.0.1:9/"))
            note(ctx.data)

        odd = {"$set": [1], "$date": "x"}
        body = {"workflow_id": "stateless.tagged", "run_id": "o", "data": odd, "completed_steps": {"fetch": odd}}
        answer = deliver(json.dumps(body).encode(), URL.format("stateless.tagged"))
        assert (answer.json(), did) == ({"status": "completed"}, [odd, odd])

    @pytest.mark.parametrize("fields", [{"completed_steps": []}, {"completed_steps": {}, "data": [1]}, {}])
    def test_what_is_none_is_refused(self, post: Post, fields: dict[str, Any]) -> None:
        assert deliver(self.message(**fields), URL.format("stateless.order")).status_code == 400


@pytest.mark.django_db(transaction=True)
class TestInATransaction:
    def test_a_trigger_waits_for_the_commit(self, post: Post) -> None:
        with transaction.atomic():
            order.trigger({"order_id": "1"})
            assert post.published == []
        assert len(post.published) == 1

    def test_and_is_gone_with_a_rollback(self, post: Post) -> None:
        with transaction.atomic():
            order.trigger({"order_id": "1"})
            transaction.set_rollback(True)
        assert post.published == []

    def test_nothing_is_asked_of_the_database(self, post: Post) -> None:
        asked: list[str] = []

        def record(execute: Any, sql: str, *args: Any) -> Any:
            asked.append(sql)
            return execute(sql, *args)

        with connection.execute_wrapper(record):
            order.trigger({"order_id": "1"})
            post.deliver()
            with moved(61):
                post.deliver()
        assert (did[-1][0], asked) == ("returned", [])

    def test_a_step_inside_a_transaction_of_the_workflow_is_refused(self, post: Post) -> None:
        @workflow(workflow_id="stateless.inside")
        def inside(ctx: WorkflowContext) -> None:
            with transaction.atomic():
                ctx.step.run("note", note, "inside")

        inside.trigger()
        assert answer_of(post.deliver()) == "failed"
        assert did == []


@workflow(workflow_id="stateless.catching")
def catching(ctx: WorkflowContext) -> str:
    try:
        ctx.step.sleep("nap", 5)
    except StepCompleted:
        note("caught")
    return "went on"


def test_a_workflow_that_catches_the_signal_has_ended_its_turn_once(post: Post) -> None:
    catching.trigger()
    assert post.deliver().json() == {"status": "suspended"}
    assert len(post.published) == 2
    with moved(6):
        assert post.deliver().json() == {"status": "completed"}


def test_values_are_sealed_in_the_message(post: Post, settings: Any) -> None:
    settings.DJANGO_HOOKFLOW_SEAL = "tests.stateless.reversing.Seal"
    order.trigger({"order_id": "secret-order"})
    post.deliver()
    assert not any(b"secret-order" in message.body for message in post.published)
    with moved(61):
        assert post.deliver().json() == {"status": "completed"}
    assert did[-1][1] == "secret-order"


def test_a_run_under_way_ends_though_the_log_is_turned_on_meanwhile(post: Post) -> None:
    order.trigger({"order_id": "1"})
    post.deliver()
    with (
        override_settings(
            DJANGO_HOOKFLOW_PERSISTENCE_ENABLED=True, DJANGO_HOOKFLOW_TRANSPORT="http", DJANGO_HOOKFLOW_STEPS_PER_TURN=1
        ),
        moved(61),
    ):
        assert post.drive() == ["suspended", "suspended", "completed"]


@contextmanager
def moved(seconds: float) -> Iterator[None]:
    """Time, moved on for this process."""
    clock.offset = seconds
    try:
        yield
    finally:
        clock.offset = 0.0


@workflow(workflow_id="stateless.deterministic")
def deterministic(ctx: WorkflowContext) -> None:
    said: list[Any] = [ctx.now(), ctx.random.random()]
    did.append(said)
    ctx.step.run("one", lambda: None)
    said += [ctx.now(), ctx.uuid4()]
    ctx.step.sleep_until("until", ctx.now() + datetime.timedelta(minutes=1))
    said += [ctx.now()]
    ctx.step.run("two", lambda: None)
    said += [ctx.now()]


def test_time_and_chance_are_the_same_on_every_replay(post: Post, settings: Any) -> None:
    settings.DJANGO_HOOKFLOW_STEPS_PER_TURN = 1
    deterministic.trigger()
    post.deliver()
    post.deliver()
    assert 58 <= int(post.published[-1].headers["Upstash-Delay"].removesuffix("s")) <= 61
    with moved(61):
        assert post.drive()[-1] == "completed"
    assert len(did) == 4
    assert all(did[-1][: len(said)] == said for said in did)
    moments = [said for said in did[-1] if isinstance(said, datetime.datetime)]
    assert moments == sorted(moments)
    assert moments[2] - moments[1] >= datetime.timedelta(seconds=60)
