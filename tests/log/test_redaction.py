"""Redaction: a payload goes, its digest and the chain stay, the projections follow, and who and why is in the log."""

from __future__ import annotations

import hashlib
import re
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from django.db import DataError, IntegrityError, connection, transaction

from django_hookflow.exceptions import OperationRefused, WorkflowError
from django_hookflow.models import DeadLetterEntry, StepExecution, WorkflowEvent, WorkflowRun
from django_hookflow.projections import diff
from tests.log.calls import Event, append, ask, failure, log_of, start, step
from tests.log.test_hash_chain import assert_chain_holds

pytestmark = pytest.mark.django_db

TURN = ("turn.started", None, None, {"worker": "w"})
CUSTOMER = {"customer": {"email": "ada@example.com", "name": "Ada"}, "total": 12}


def ended_run(run_id: str = "order-1") -> WorkflowRun:
    uid = start(run_id, CUSTOMER)["run_uid"]
    append(uid, 1, TURN, step("charge", {"email": "ada@example.com", "paid": True}))
    append(uid, None, failure("ship", "no stock for ada@example.com", attempts=3))
    return WorkflowRun.objects.get(id=uid)


def whole_log() -> str:
    """Everything the database says of the runs, as one text to look for what must not be there."""
    tables = ("event", "workflowrun", "stepexecution", "wait", "deadletterentry", "head", "outbox")
    return str([ask(f"SELECT to_jsonb(t) FROM django_hookflow_{table} AS t") for table in tables])


def test_one_value_goes_and_the_rest_can_still_be_read() -> None:
    run = ended_run()
    assert run.redact("data.customer.email", reason="erasure request 7", actor="ada") == 1
    assert run.data == {"customer": {"email": "[redacted]", "name": "Ada"}, "total": 12}
    assert DeadLetterEntry.objects.get().payload["data"] == run.data
    events = log_of(run.run_uid)
    assert events[0]["payload"] is None
    assert events[0]["salt"] is None
    assert [(e["type"], e["actor"]) for e in events[-2:]] == [("event.redacted", "ada"), ("event.retained", "ada")]
    path = ["data", "customer", "email"]
    assert events[-2]["facts"] == {"seq": 1, "path": path, "login": connection.settings_dict["USER"]}
    assert events[-2]["payload"] == {"reason": "erasure request 7"}
    assert events[-1]["facts"] == {"seq": 1}
    assert_chain_holds(run.run_uid)
    assert list(diff()) == []


def test_a_whole_payload_goes_and_its_digest_stays() -> None:
    run = ended_run()
    event = run.events.get(type="run.failed")
    row = log_of(run.run_uid)[3]
    digest = hashlib.sha256(bytes(row["salt"]) + row["payload_text"].encode()).digest()
    assert event.redact(reason="names a customer") is True
    assert (event.payload, event.is_redacted) == (None, True)
    assert bytes(log_of(run.run_uid)[3]["payload_digest"]) == digest
    assert DeadLetterEntry.objects.get().error_message == ""
    assert event.redact(reason="again") is False
    assert_chain_holds(run.run_uid)
    assert list(diff()) == []


def test_a_person_can_be_erased_from_a_run_by_several_requests() -> None:
    run = ended_run()
    assert run.redact("result.email", reason="erasure") == 1
    assert run.redact(["data", "customer", "email"], reason="erasure") == 1
    assert run.redact("data.customer.name", reason="erasure") == 1
    assert run.events.get(type="run.failed").redact(reason="erasure") is True
    assert "ada@" not in whole_log()
    assert '"Ada"' not in whole_log()
    assert run.data == {"customer": {"email": "[redacted]", "name": "[redacted]"}, "total": 12}
    assert StepExecution.objects.get().result == {"email": "[redacted]", "paid": True}
    assert_chain_holds(run.run_uid)
    assert list(diff()) == []


def test_asked_for_again_it_finds_nothing_more_to_do() -> None:
    run = ended_run()
    run.redact("data.customer.email", reason="erasure")
    before = log_of(run.run_uid)
    assert run.redact("data.customer.email", reason="erasure") == 0
    assert run.redact("data.no.such.key", reason="erasure") == 0
    assert log_of(run.run_uid) == before


def test_without_a_path_every_payload_of_the_run_goes_but_for_the_reasons() -> None:
    run = ended_run()
    assert run.redact("total", reason="nothing there") == 0
    facts = [(event["type"], event["facts_text"]) for event in log_of(run.run_uid)]
    assert run.redact(reason="erasure") == 3
    assert {event.type for event in run.events.all() if event.payload is not None} == {"event.redacted"}
    assert [(event["type"], event["facts_text"]) for event in log_of(run.run_uid)][:4] == facts
    (completed,) = StepExecution.objects.all()
    assert (completed.kind, completed.attempts, completed.took, completed.result) == ("run", 1, 0.25, None)
    assert (run.run_id, run.workflow_id, run.status, run.data) == ("order-1", "shop.order", "failed", None)
    assert_chain_holds(run.run_uid)
    assert list(diff()) == []


@pytest.mark.parametrize(
    "events",
    [
        [TURN],
        [("run.paused", None, {"reason": ""})],
        [("run.diverged", None, {"message": "m"}, {"error": "E"})],
    ],
)
def test_a_run_that_has_not_ended_is_refused(events: list[Event]) -> None:
    uid = start("order-1", CUSTOMER)["run_uid"]
    append(uid, None, *events)
    run = WorkflowRun.objects.get()
    with pytest.raises(OperationRefused, match=f"^hookflow: cannot redact run order-1: it is {run.status}$"):
        run.redact("data.customer", reason="erasure")


def test_a_worker_still_at_the_last_step_of_a_cancelled_run_brings_nothing_back() -> None:
    uid = start("order-1", CUSTOMER)["run_uid"]
    append(uid, 1, TURN)
    append(uid, None, ("run.cancelled", None, {"reason": "a person asked for erasure"}))
    WorkflowRun.objects.get().redact(reason="erasure")
    with pytest.raises(IntegrityError, match="run order-1 is at seq 5, expected 2"), transaction.atomic():
        append(uid, 2, step("charge", {"email": "ada@example.com"}))
    assert "ada@" not in whole_log()
    assert_chain_holds(uid)


def test_a_redaction_says_why_and_where() -> None:
    run = ended_run()
    with pytest.raises(WorkflowError, match="needs a reason"):
        run.redact("data.customer", reason=" ")
    for reason in (None, "", " \t"):
        with pytest.raises(DataError, match="a redaction needs a reason"), transaction.atomic():
            ask("SELECT hookflow_redact(%s, 1, '{data}', %s, 'ada')", run.run_uid, reason)
    for path in ("data..email", "", [], ["data", ""]):
        with pytest.raises(WorkflowError, match=re.escape(f"path {path!r} is not a path")):
            run.redact(path, reason="erasure")


def test_a_path_without_a_key_is_no_redaction_that_keeps_everything() -> None:
    run = ended_run()
    with pytest.raises(DataError, match="the path must not be empty"):
        ask("SELECT hookflow_redact(%s, 1, '{}', 'erasure', NULL)", run.run_uid)


def work_of_transaction(counter: str, table: str) -> int:
    (row,) = ask(f"SELECT coalesce({counter}, 0)::integer AS n FROM pg_stat_xact_user_tables WHERE relname = %s", table)
    return int(row["n"])


def test_what_is_read_and_written_grows_with_the_redacted_events_and_not_with_their_square() -> None:
    uid = start("order-1", CUSTOMER)["run_uid"]
    append(uid, 1, *[step(f"step-{n}", {"email": "ada@example.com"}) for n in range(400)])
    append(uid, None, ("run.completed", None, {"result": None}))
    run = WorkflowRun.objects.get()
    ask("ANALYZE django_hookflow_event")  # plans are those of a table that is known
    rows_read, heads_written = (
        partial(work_of_transaction, "seq_tup_read + idx_tup_fetch", "django_hookflow_event_all"),
        partial(work_of_transaction, "n_tup_upd", "django_hookflow_head"),
    )
    reading, writing = rows_read(), heads_written()
    assert run.redact("result.email", reason="erasure") == 400
    assert list(diff()) == []
    assert {event["payload"]["result"]["email"] for event in readable_steps(uid)} == {"[redacted]"}
    assert rows_read() - reading < 30 * 1202
    assert heads_written() - writing < 30
    assert_chain_holds(uid)


def readable_steps(uid: UUID) -> list[dict[str, Any]]:
    return ask("SELECT payload FROM hookflow_event_readable WHERE run_uid = %s AND type = 'step.completed'", uid)


def test_by_hand_only_a_redaction_with_the_right_digest_is_let_through() -> None:
    run = ended_run()
    with pytest.raises(IntegrityError, match="append-only"):
        ask(
            "UPDATE django_hookflow_event SET payload = NULL, salt = NULL, payload_digest = sha256('') WHERE run_uid = %s",
            run.run_uid,
        )


def test_what_is_redacted_is_not_shown_of_the_past_either() -> None:
    run = ended_run()
    run.redact("data.customer.email", reason="erasure")
    assert run.as_of(1).data["customer"]["email"] == "[redacted]"


def test_who_names_a_redacted_run_again_is_given_it() -> None:
    run = ended_run()
    run.redact(reason="erasure")
    (again,) = ask(
        "SELECT created, same FROM hookflow_start(%s, 'order-1', 'shop.order', '{}', '{\"data\": 5}', NULL)",
        UUID(int=9),
    )
    assert again == {"created": False, "same": True}
    (other,) = ask("SELECT created, same FROM hookflow_start(%s, 'order-1', 'another', '{}', '{}', NULL)", UUID(int=9))
    assert other == {"created": False, "same": False}


def test_events_of_other_runs_are_left_alone() -> None:
    other = ended_run("order-2")
    ended_run().redact(reason="erasure")
    assert WorkflowEvent.objects.filter(workflow_run=other, payload_digest=None).count() == 4
