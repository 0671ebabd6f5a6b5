"""What the application's login can write with the functions it may call: refused as it comes, or right for ever after.

Every tool that looks at the log later has to be content: verify, the fold, the views that everybody reads, the archive and the
script that stands alone.
"""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import psycopg
import pytest

from django_hookflow.evidence import audit
from tests.log.calls import append, ask, operate, start
from tests.roles.conftest import Deploy
from tests.roles.dba import DBA, Guarded

ODD = "\n\r\t\x1b[2J\u2028\u202e\x85\ufeff\U0001f4a3 e\u0301"
DEEP = '{"a":' + "[" * 2_000 + "]" * 2_000 + "}"
DIGITS = '{"a":' + "9" * 5_000 + "}"
MALFORMED, DENIED, TOO_SMALL_OR_BIG = "23514", "42501", "22003"

START = "SELECT * FROM hookflow_start(%(uid)s, %(run_id)s, %(workflow)s, %(facts)s::json, %(payload)s::json, %(actor)s)"
#: What is odd about the start of a run, and the SQLSTATE with which it is refused: None is recorded.
STARTS: list[tuple[dict[str, Any], str | None]] = [
    ({"run_id": ODD, "workflow": ODD, "actor": ODD}, None),
    ({"run_id": "\u00df" * 255, "workflow": "\u00df" * 255, "actor": "\u00df" * 255}, None),
    ({"run_id": '"}, "run_id" : "x", "hash" : "'}, None),
    ({"run_id": ""}, MALFORMED),
    ({"run_id": "a" * 256}, MALFORMED),
    ({"workflow": "a" * 256}, MALFORMED),
    ({"actor": "a" * 256}, MALFORMED),
    ({"uid": uuid.UUID(int=0)}, None),
    ({"uid": uuid.UUID(int=2**128 - 1)}, None),
    ({"facts": '{"run_id": "x", "run_id": "y", "workflow": null}'}, None),
    ({"facts": '{"a": 1e400, "b": -0.0, "": "\\ud83d\\ude00"}'}, None),
    ({"facts": "[]"}, MALFORMED),
    ({"facts": "null"}, MALFORMED),
    ({"facts": DEEP}, MALFORMED),
    ({"facts": DIGITS}, MALFORMED),
    ({"facts": json.dumps({"a": "b" * 9_000})}, MALFORMED),
    ({"facts": '{"a": "\\u0000"}'}, "22P05"),
    ({"facts": '{"a": "\\ud800"}'}, "22P02"),
    ({"facts": '{"until": "now"}'}, MALFORMED),
    ({"facts": '{"until": "2026-01-01T00:00:00"}'}, MALFORMED),
    ({"facts": '{"until": "infinity"}'}, MALFORMED),
    ({"facts": '{"until": "0001-01-01T00:00:00+14:00"}'}, MALFORMED),
    ({"facts": '{"until": "9999-12-31T23:59:59-12:00"}'}, MALFORMED),
    ({"facts": '{"until": "2026-01-01T00:00:00.5+01:00"}'}, None),
    ({"facts": '{"timeout": 1e400}'}, TOO_SMALL_OR_BIG),
    ({"facts": '{"timeout": "NaN"}'}, "22008"),
    ({"facts": '{"timeout": 1e12}'}, MALFORMED),
    ({"facts": '{"timeout": -1}'}, None),
    ({"payload": None}, None),
    ({"payload": "7"}, None),
    ({"payload": '{"data": 1, "data": {"a": 1, "a": 2}, "label": [1, null]}'}, None),
    ({"payload": json.dumps({"data": "x" * 3_000_000, "label": ODD + "l" * 1_000})}, None),
    ({"payload": '{"data": "\\u0000"}'}, "22P05"),
]

#: The same of an event: type, step id, payload, facts.
APPENDS: list[tuple[tuple[Any, ...], str | None]] = [
    (("", None, None), None),
    (("run.archived", None, None, {"run_id": "other", "archive": "x"}), None),
    ((ODD, ODD, {ODD: ODD}, {ODD: ODD}), None),
    (("a" * 256, None, None), MALFORMED),
    (("run.triggered", None, None, {"run_id": "other", "workflow": "other"}), MALFORMED),
    (("event.redacted", None, {"reason": "x"}, {"seq": 1}), DENIED),
    (("event.retained", None, {"payload": {"data": "forged"}}, {"seq": 1}), DENIED),
    (("event.retained ", None, {"payload": {"data": "forged"}}, {"seq": 1}), None),
    (("step.completed", "a", {"result": 1}, {"kind": "run", "took": "NaN"}), MALFORMED),
    (("step.completed", "a", {"result": 1}, {"kind": "run", "took": 1e300}), MALFORMED),
    (("step.failed", "a", {"message": ODD}, {"kind": "run", "retry_in": 1e10}), MALFORMED),
    (("step.completed", "a", {"result": 1}, {"kind": "run", "took": 1e9, "attempt": 2_147_483_647}), None),
    (("step.completed", "a", {"result": 1}, {"kind": "run", "attempt": 2_147_483_648}), TOO_SMALL_OR_BIG),
    (("step.suspended", "b", None, {"kind": "k" * 300, "until": "tomorrow"}), MALFORMED),
    (("step.suspended", "b", None, {"kind": "k" * 300, "seconds": 1e11}), None),
    (("run.failed", None, {"message": ODD, "traceback": [1]}, {"attempts": 0, "fingerprint": "f" * 99}), None),
    (("run.replayed", None, None, {"failed_seq": "x"}), "22P02"),
    (("dead_letter.removed", None, None, {"failed_seq": -1}), None),
    (("run.completed", None, {"result": {"a": [1e308, -0.0, "\x7f"]}}), None),
]


TURN = "SELECT hookflow_claim(workflow_id, run_id, 1, %(owner)s, interval '0', %(facts)s::json) FROM django_hookflow_head WHERE run_id = 'claimed'"
OPERATE = (
    "SELECT hookflow_operate(run_uid, %(action)s, %(step)s, %(facts)s::json, %(payload)s::json, %(actor)s, NULL, NULL)"
    " FROM django_hookflow_head WHERE run_id = 'claimed'"
)
COMPLETE = (
    "SELECT hookflow_complete(run_uid, NULL, %(step)s, %(facts)s::json, %(payload)s::json) FROM django_hookflow_head"
    " WHERE run_id = 'claimed'"
)
#: The same of what delivers, records and what operates.
CALLS: list[tuple[str, dict[str, Any], str | None]] = [
    (TURN, {"facts": "[]"}, MALFORMED),
    (TURN, {"facts": None}, "23502"),
    (TURN, {"facts": DEEP}, MALFORMED),
    (TURN, {"owner": ODD, "facts": json.dumps({"worker": ODD, "attempt": 1, "attempts": 0})}, None),
    (COMPLETE, {"step": None}, MALFORMED),
    (COMPLETE, {"step": "a" * 256}, MALFORMED),
    (COMPLETE, {"step": "a", "facts": None}, "23502"),
    (COMPLETE, {"step": "a", "facts": "[]"}, MALFORMED),
    (COMPLETE, {"step": "a", "facts": DIGITS}, MALFORMED),
    (COMPLETE, {"step": "a", "facts": '{"took": "Infinity"}'}, MALFORMED),
    (COMPLETE, {"step": ODD, "facts": json.dumps({"kind": ODD, "until": None, ODD: 1}), "payload": "7"}, None),
    (COMPLETE, {"step": "b", "facts": '{"took": 1, "took": 2}', "payload": None}, None),
    (OPERATE, {"action": "pause", "payload": "7"}, "22023"),
    (OPERATE, {"action": "pause", "facts": "[]"}, MALFORMED),
    (OPERATE, {"action": "pause", "actor": "a" * 256}, MALFORMED),
    (OPERATE, {"action": "rebuild"}, "23502"),
    (OPERATE, {"action": "redact"}, "23001"),
    (OPERATE, {"action": ODD}, "23505"),
    (OPERATE, {"action": "rewind", "step": "ghost"}, "23001"),
    (OPERATE, {"action": "rewind", "step": ODD}, None),
    (OPERATE, {"action": "pause", "actor": ODD, "payload": json.dumps({"reason": ODD, "a": [1, 1e300]})}, None),
    (OPERATE, {"action": "resume", "actor": "", "payload": '{"reason": null, "reason": [], "outcome": 1}'}, None),
]


@pytest.fixture(scope="module")
def guarded(dba: DBA) -> Guarded:
    """With whatever of the odd things is not refused, and each run ended."""
    guarded = dba.create_guarded()
    answers: list[tuple[object, str | None, str | None]] = []
    with psycopg.connect(guarded.web.conninfo, autocommit=True) as session:
        for number, (odd, refusal) in enumerate(STARTS):
            usual = {"run_id": f"odd-{number}", "workflow": "w", "facts": "{}", "payload": '{"data": 1}', "actor": None}
            answers.append((odd, refusal, _state(session, START, {"uid": uuid.uuid4(), **usual, **odd})))
        run_uid = start("appended to", run_uid=uuid.uuid4(), session=session)["run_uid"]
        for event, refusal in APPENDS:
            try:
                append(run_uid, None, event, actor=ODD, session=session)
            except psycopg.Error as error:
                answers.append((event, refusal, error.sqlstate))
            else:
                answers.append((event, refusal, None))
        start("claimed", run_uid=uuid.uuid4(), session=session)
        for call, odd, refusal in CALLS:
            usual = {"owner": "w", "step": None, "facts": "{}", "payload": '{"reason": ""}', "actor": None}
            answers.append(((call, odd), refusal, _state(session, call, {**usual, **odd})))
        for row in ask("SELECT id FROM django_hookflow_workflowrun WHERE completed_at IS NULL", session=session):
            operate(row["id"], "cancel", payload={"reason": ODD}, actor=ODD, session=session)
    assert [answer for answer in answers if answer[1] != answer[2]] == []
    return guarded


def _state(session: psycopg.Connection[Any], statement: str, values: dict[str, Any]) -> str | None:
    try:
        session.execute(statement.encode(), values)
    except psycopg.Error as error:
        return error.sqlstate
    return None


ARRAYS = {
    "of two dimensions": "ARRAY[['a', 'b']], ARRAY[[NULL, NULL]], ARRAY[['{}', '{}']]::json[]",
    "that begin at zero": "'[0:1]={a,b}'::text[], '[0:1]={a,b}'::text[], '[0:1]={\"{}\",\"{}\"}'::json[]",
    "of different lengths": "ARRAY['a', 'b'], ARRAY[NULL], ARRAY['{}']::json[]",
    "of none": "ARRAY[]::text[], ARRAY[]::text[], ARRAY[]::json[]",
}


@pytest.mark.parametrize("arrays", ARRAYS)
def test_arrays_of_another_shape_are_refused(guarded: Guarded, arrays: str) -> None:
    with psycopg.connect(guarded.web.conninfo, autocommit=True) as session:
        append_ = f"SELECT hookflow_append(run_uid, NULL, {ARRAYS[arrays]}, ARRAY[]::json[], NULL) FROM django_hookflow_head LIMIT 1"
        assert _state(session, append_, {}) == "23502"


VIEWS = (
    "django_hookflow_stepexecution",
    "hookflow_event_readable",
    "hookflow_run_durations",
    "hookflow_step_durations",
    "hookflow_failures",
    "hookflow_operations",
)


def test_scenario_33_nothing_the_application_can_write_is_found_wrong_for_ever(
    deploy: Deploy, guarded: Guarded, tmp_path: Path
) -> None:
    site = deploy(guarded.deployer, DJANGO_HOOKFLOW_CHECKPOINT_KEY="of-a-test-" * 4)
    archives, checkpoint = tmp_path / "archives", tmp_path / "one.jsonl"
    archives.mkdir()

    def manage(*arguments: object) -> str:
        done = site.manage(*map(str, arguments))
        assert done.returncode == 0, (arguments, done.stdout[-2_000:], done.stderr[-2_000:])
        return str(done.stdout)

    runs = guarded.database.value("SELECT count(*) FROM django_hookflow_head")
    assert f"{runs} runs with " in manage("hookflow_verify")
    manage("hookflow_rebuild", "--check")
    for view in VIEWS:
        guarded.analyst.rows(f"SELECT * FROM {view}")
    manage("hookflow_checkpoint", "--output", checkpoint)
    assert f"WorkflowRun: {runs} removed" in manage("cleanup_workflows", "--days-old", 0, "--archive-to", archives)
    assert f"{runs} archived runs found, 0 missing" in manage("hookflow_archive", "verify", "--all", archives)
    manage("hookflow_verify", "--checkpoint", checkpoint, "--archives", archives)
    assert audit.main(["--checkpoint", str(checkpoint), *map(str, archives.glob("*.jsonl.gz"))]) == 0
