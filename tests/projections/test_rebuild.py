"""``hookflow_rebuild``: rows changed, deleted and invented by hand are named, repaired, and then no longer named."""

from __future__ import annotations

import re
import uuid
from io import StringIO
from typing import TYPE_CHECKING

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, transaction

from django_hookflow.models import DeadLetterEntry, StepExecution, Wait, WorkflowRun
from django_hookflow.projections import diff, rebuild, rebuilding
from django_hookflow.projections import ranges as ranges_module
from django_hookflow.terminals import counted
from tests.evidence.tampering import retire
from tests.log.calls import Row, ask, failure, sleep, step
from tests.projections.histories import make_run, make_runs

if TYPE_CHECKING:
    from collections.abc import Iterable

pytestmark = pytest.mark.django_db

MODELS = (WorkflowRun, Wait, DeadLetterEntry)


def check(*arguments: str) -> tuple[int, list[str]]:
    """The exit status and the lines of ``hookflow_rebuild --check``."""
    output = StringIO()
    try:
        call_command("hookflow_rebuild", "--check", *arguments, stdout=output)
    except SystemExit as exit_:
        *differences, last = output.getvalue().splitlines()
        assert last.endswith(f": {counted(len(differences), 'difference')}. Run hookflow_rebuild to repair.")
        return int(str(exit_.code)), differences
    (last,) = output.getvalue().splitlines()
    assert last.endswith(" compared with the log: no differences")
    return 0, []


def repair(*arguments: str) -> dict[str, int]:
    """The counts that ``hookflow_rebuild`` prints, by projection."""
    output = StringIO()
    call_command("hookflow_rebuild", *arguments, stdout=output)
    *lines, last = output.getvalue().splitlines()
    assert re.fullmatch(r"Done: (no runs|1 run|[\d,]+ runs) folded", last)
    counts = (line.split() for line in lines)
    return {name.rstrip(":"): int(count) for name, count, _ in counts}


def contents() -> list[list[Row]]:
    return [ask(f"SELECT * FROM {model._meta.db_table} ORDER BY 1") for model in MODELS]


#: What a hand may do to the rows of the first runs that make_runs makes, and the lines that name it.
TAMPERINGS = {
    "UPDATE django_hookflow_workflowrun SET status = 'failed', result = NULL WHERE run_id = 'order-1'": [
        "WorkflowRun of run order-1: changed status, result"
    ],
    "DELETE FROM django_hookflow_workflowrun WHERE run_id = 'order-8'": ["WorkflowRun of run order-8: missing"],
    "INSERT INTO django_hookflow_workflowrun SELECT '00000000-0000-7000-8000-000000000001', 'ghost', workflow_id, status, data, "
    "result, error_type, error_message, label, created_at, updated_at, completed_at FROM django_hookflow_workflowrun "
    "WHERE run_id = 'order-1'": ["WorkflowRun of run ghost: invented"],
    "UPDATE django_hookflow_wait SET due_at = NULL, key = 'k' WHERE step_id = 'nap' AND run_uid = "
    "(SELECT run_uid FROM django_hookflow_head WHERE run_id = 'order-10')": [
        "Wait of run order-10 step nap kind sleep: changed due_at, key"
    ],
    "DELETE FROM django_hookflow_wait WHERE run_uid = (SELECT run_uid FROM django_hookflow_head WHERE run_id = 'order-2')": [
        "Wait of run order-2 kind deadline: missing",
        "Wait of run order-2 step nap kind sleep: missing",
    ],
    "INSERT INTO django_hookflow_wait SELECT -1, run_uid, 'dreamt', 'sleep', last_at, NULL, NULL, 2 "
    "FROM django_hookflow_head WHERE run_id = 'order-7'": ["Wait of run order-7 step dreamt kind sleep: invented"],
    "UPDATE django_hookflow_deadletterentry SET is_replayed = true, error_message = '' WHERE run_id = 'order-3'": [
        "DeadLetterEntry of run order-3 step charge seq 6: changed error_message, is_replayed"
    ],
    "DELETE FROM django_hookflow_deadletterentry WHERE run_id = 'order-4' AND seq = 4": [
        "DeadLetterEntry of run order-4 step charge seq 4: missing"
    ],
    "INSERT INTO django_hookflow_deadletterentry SELECT -1, run_uid, 2, workflow_id, run_id, '', '{}', 'E', 'x', '', '', 1, false, NULL, "
    "last_at FROM django_hookflow_head WHERE run_id = 'order-5'": ["DeadLetterEntry of run order-5 seq 2: invented"],
}


def test_after_a_thousand_mixed_runs_each_difference_is_named_and_repaired() -> None:
    make_runs(1_000)
    assert check() == (0, [])
    before = contents()
    for statement in TAMPERINGS:
        ask(statement)
    status, lines = check()
    assert status == 1
    assert sorted(lines) == sorted(line for lines_of_one in TAMPERINGS.values() for line in lines_of_one)
    assert contents() != before
    assert repair() == {"WorkflowRun": 3, "Wait": 4, "DeadLetterEntry": 3}
    assert check() == (0, [])
    assert contents() == before
    assert repair() == {"WorkflowRun": 0, "Wait": 0, "DeadLetterEntry": 0}


@pytest.mark.parametrize(("statement", "lines"), TAMPERINGS.items())
def test_check_changes_nothing_and_one_run_is_repaired_alone(statement: str, lines: list[str]) -> None:
    make_runs(17)
    ask(statement)
    run_id = lines[0].split(" of run ")[1].split()[0].rstrip(":")
    before = contents()
    assert check("--run", run_id) == (1, lines)
    assert contents() == before
    assert check("--run", "order-6") == (0, [])
    assert sum(repair("--run", run_id).values()) == len(lines)
    assert check() == (0, [])


@pytest.mark.parametrize("on_delete", ["CASCADE", "SET NULL", "RESTRICT"])
def test_rows_of_the_project_are_not_touched_by_a_rebuild_or_a_redaction(on_delete: str) -> None:
    """Whose foreign keys the database itself would act on, if the rows that they refer to went and came back."""
    make_runs(8)
    references = {"django_hookflow_workflowrun (id)": "uuid", "django_hookflow_deadletterentry (id)": "bigint"}
    for number, (target, type_) in enumerate(references.items()):
        ask(f"CREATE TABLE shop_{number} (target {type_} REFERENCES {target} ON DELETE {on_delete})")
        ask(f"INSERT INTO shop_{number} SELECT id FROM {target.split()[0]}")
    before = [ask(f"SELECT target FROM shop_{number} ORDER BY 1") for number in range(2)]
    assert all(before)

    ask("UPDATE django_hookflow_workflowrun SET status = 'pending', data = '{}', result = NULL")
    ask("UPDATE django_hookflow_deadletterentry SET error_message = '', is_replayed = NOT is_replayed")
    assert repair()["WorkflowRun"] == 8
    assert check() == (0, [])
    ask(
        "SELECT hookflow_redact(run_uid, NULL, NULL, 'erasure', 'ada') FROM django_hookflow_head "
        "WHERE run_id IN ('order-1', 'order-3')"
    )

    assert check() == (0, [])
    emptied = ask("SELECT data::text, result FROM django_hookflow_workflowrun WHERE run_id = 'order-1'")
    assert emptied == [{"data": "null", "result": None}]
    assert [ask(f"SELECT target FROM shop_{number} ORDER BY 1") for number in range(2)] == before


def test_empty_projections_come_back_whole() -> None:
    make_runs(50)
    before = contents()
    for model in MODELS:
        ask(f"DELETE FROM {model._meta.db_table}")
    assert repair()["WorkflowRun"] == 50
    assert contents() == before


#: Rows that hold what is unique and belongs to another run, so that it has to be taken from them first.
SWAPS: dict[str, Iterable[str]] = {
    "a run's id, held by the row of another": [
        "DELETE FROM django_hookflow_workflowrun WHERE run_id = 'order-1'",
        "UPDATE django_hookflow_workflowrun SET run_id = 'order-1' WHERE run_id = 'order-2'",
    ],
    "a run's id, held by a row of no run": [
        "UPDATE django_hookflow_workflowrun SET id = 'ffffffff-ffff-ffff-ffff-ffffffffffff' WHERE run_id = 'order-1'",
    ],
    "a wait's id, held by a row of no run": [
        "UPDATE django_hookflow_wait SET run_uid = 'ffffffff-ffff-ffff-ffff-ffffffffffff' "
        "WHERE id = (SELECT max(id) FROM django_hookflow_wait)",
    ],
    "two waits of a run with their kinds exchanged": [
        "UPDATE django_hookflow_wait SET step_id = 'aside' WHERE kind = 'sleep'",
        "UPDATE django_hookflow_wait SET step_id = 'nap', kind = 'sleep' WHERE kind = 'deadline'",
        "UPDATE django_hookflow_wait SET step_id = '', kind = 'deadline' WHERE step_id = 'aside'",
    ],
    "a dead letter's id, held by a row of no run": [
        "UPDATE django_hookflow_deadletterentry SET run_uid = '00000000-0000-0000-0000-000000000000'",
    ],
}


@pytest.mark.parametrize("swap", SWAPS)
def test_a_row_that_stands_in_the_way_of_the_right_one_is_removed(swap: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django_hookflow.projections.ranges.RUNS_PER_RANGE", 1)
    make_runs(3)
    before = contents()
    for statement in SWAPS[swap]:
        ask(statement)
    assert check()[0] == 1
    assert sum(repair().values()) > 0
    assert check() == (0, [])
    assert contents() == before


def test_a_number_written_in_another_way_is_a_difference() -> None:
    """To jsonb 1 and 1.0 are equal; a workflow that gets one for the other may not agree."""
    make_run("order-1", [("run.completed", None, {"result": 1.0})])
    ask("UPDATE django_hookflow_workflowrun SET result = '1'")
    assert check() == (1, ["WorkflowRun of run order-1: changed result"])


def test_a_null_of_json_in_place_of_no_value_is_a_difference() -> None:
    make_run("order-1", [])
    ask("UPDATE django_hookflow_workflowrun SET result = 'null'")
    assert check() == (1, ["WorkflowRun of run order-1: changed result"])


def test_a_difference_has_both_sides() -> None:
    make_run("order-1", [])
    ask("UPDATE django_hookflow_workflowrun SET status = 'failed'")
    (difference,) = diff("order-1")
    assert (difference.what, difference.columns) == ("changed", ("status",))
    assert difference.stored is not None
    assert difference.folded is not None
    assert (difference.stored["status"], difference.folded["status"]) == ("failed", "pending")


def test_a_name_with_a_line_break_does_not_pass_for_another_line() -> None:
    make_run("order-1", [sleep("a\nb", 1)])
    ask("DELETE FROM django_hookflow_workflowrun")
    ask(
        "INSERT INTO django_hookflow_wait SELECT -1, run_uid, E'c\nd', 'sleep', NULL, NULL, NULL, 2 FROM django_hookflow_head"
    )
    ask("UPDATE django_hookflow_head SET run_id = E'order\n1'")
    assert check()[1] == [
        r"WorkflowRun of run 'order\n1': missing",
        r"Wait of run 'order\n1' step 'c\nd' kind sleep: invented",
    ]


@pytest.mark.parametrize("arguments", [[], ["--check"]])
def test_an_unknown_run_is_an_error(arguments: list[str]) -> None:
    make_run("order-1", [])
    with pytest.raises(CommandError, match="no run has the ID 'order-2'"):
        call_command("hookflow_rebuild", *arguments, "--run", "order-2")


def test_rows_of_an_archived_run_are_invented_but_for_dead_letters_that_were_kept() -> None:
    """Its events have gone to the archive; a row that was put back or made up is nobody's but that hand's."""
    kept, other = (make_run(f"order-{number}", [failure(), failure()]) for number in (1, 2))
    ask("CREATE TEMP TABLE runs AS TABLE django_hookflow_workflowrun")
    ask("CREATE TEMP TABLE letters AS SELECT * FROM django_hookflow_deadletterentry WHERE run_uid = %s", other)
    retire(kept, keeps_dead_letters=True)
    retire(other)
    assert check() == (0, [])
    ask("INSERT INTO django_hookflow_workflowrun TABLE runs")
    ask("INSERT INTO django_hookflow_deadletterentry TABLE letters")
    ask("INSERT INTO django_hookflow_wait (id, run_uid, step_id, kind, since_seq) SELECT 1, %s, 'a', 'sleep', 2", other)
    status, found = check()
    assert (status, sorted(found)) == (
        1,
        [
            "DeadLetterEntry of run order-2 seq 2: invented",
            "DeadLetterEntry of run order-2 seq 3: invented",
            "Wait of run order-2 step a kind sleep: invented",
            "WorkflowRun of run order-1: invented",
            "WorkflowRun of run order-2: invented",
        ],
    )
    assert repair() == {"WorkflowRun": 2, "Wait": 1, "DeadLetterEntry": 2}
    assert check() == (0, [])
    assert set(DeadLetterEntry.objects.values_list("run_uid", "seq")) == {(kept, 2), (kept, 3)}
    with pytest.raises(CommandError, match="run 'order-2' has been archived: its events are no longer in the log"):
        call_command("hookflow_rebuild", "--run", "order-2")


def test_archived_runs_whose_events_are_still_there_do_not_come_back_with_an_empty_projection() -> None:
    """As `hookflow_partitions archive` leaves them until their partition is detached."""
    uids = make_runs(4)
    ask("UPDATE django_hookflow_head SET archived_at = hookflow_now() WHERE run_uid <> %s", uids[0])
    for model in MODELS:
        ask(f"DELETE FROM {model._meta.db_table}")
    assert {line.split(":")[0].split()[3] for line in check()[1]} == {"order-1"}
    assert repair() == {"WorkflowRun": 1, "Wait": 0, "DeadLetterEntry": 0}
    assert {step.workflow_run_id for step in StepExecution.objects.all()} == {uids[0]}
    assert [run.run_uid for run in WorkflowRun.objects.all()] == uids[:1]
    assert check() == (0, [])


@pytest.mark.parametrize("emptied", [True, False])
def test_events_whose_head_was_removed_keep_nobody_else_from_being_repaired(emptied: bool) -> None:
    """``hookflow_verify`` names them. Without a head there is no name to give to their rows: those stay as they are."""
    uids = make_runs(4)
    ask("DELETE FROM django_hookflow_head WHERE run_uid = %s", uids[2])
    ask("DELETE FROM django_hookflow_deadletterentry")
    for model in MODELS if emptied else ():
        ask(f"DELETE FROM {model._meta.db_table}")
    assert check()[0] == 1
    repair()
    living = {uids[0], uids[1], uids[3]}
    assert {run.run_uid for run in WorkflowRun.objects.all()} == (living if emptied else set(uids))
    assert {entry.run_uid for entry in DeadLetterEntry.objects.all()} == {uids[3]}
    assert check() == (0, [])


def test_ranges_cover_every_run_once_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django_hookflow.projections.ranges.EVENTS_PER_RANGE", 12)
    uids = make_runs(40)
    monkeypatch.setattr("django_hookflow.projections.ranges.RUNS_PER_RANGE", 7)
    parts = list(rebuild())
    assert sum(part.runs for part in parts) == len(uids)
    assert len(parts) > 10
    assert max(part.runs for part in parts) <= 7


def test_ranges_are_as_long_as_heads_may_be_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuilding, "FIRST_EVENTS", 50)
    make_runs(120)
    with monkeypatch.context() as never_long_enough:
        never_long_enough.setattr(rebuilding, "HELD_FOR", 3600.0)
        longer = [part.runs for part in rebuild()]
    with monkeypatch.context() as always_too_long:
        always_too_long.setattr(rebuilding, "HELD_FOR", 0.0)
        shorter = [part.runs for part in rebuild()]
    assert longer[0] == shorter[0]
    assert max(longer) > longer[0] > shorter[1] > shorter[3]
    assert sum(longer) == sum(shorter) == 120


def test_the_pace_goes_by_what_was_measured_and_has_bounds() -> None:
    pace = rebuilding.Pace()
    first = pace.events()
    pace.learn(rebuilding.HELD_FOR)
    assert pace.events() == first
    pace.learn(rebuilding.HELD_FOR * 100)
    assert pace.events() == first // 2
    for _ in range(100):
        pace.learn(rebuilding.HELD_FOR * 100)
    assert pace.events() == first // 5
    for _ in range(100):
        pace.learn(0.0)
    assert pace.events() == ranges_module.EVENTS_PER_RANGE


def test_in_a_transaction_of_the_callers_the_commit_waits_for_the_disk_as_before() -> None:
    make_runs(3)
    ask("SET LOCAL synchronous_commit = on")
    list(rebuild())
    assert ask("SHOW synchronous_commit") == [{"synchronous_commit": "on"}]


@pytest.mark.django_db(transaction=True)
def test_when_all_is_done_it_is_on_the_disk() -> None:
    make_runs(3)
    ask("SET synchronous_commit = on")
    ask("DELETE FROM django_hookflow_workflowrun")
    parts = rebuild()
    part = next(parts)
    (written,) = ask("SELECT pg_current_wal_insert_lsn()::text AS lsn")
    assert part.repaired["WorkflowRun"] == 3
    list(parts)
    assert ask("SELECT pg_current_wal_flush_lsn() >= %s::pg_lsn AS there", written["lsn"]) == [{"there": True}]
    assert ask("SHOW synchronous_commit") == [{"synchronous_commit": "on"}]
    ask("RESET synchronous_commit")


def test_a_log_without_runs_has_no_rows() -> None:
    ask("INSERT INTO django_hookflow_wait VALUES (1, %s, 'a', 'sleep', NULL, NULL, NULL, 1)", uuid.uuid4())
    assert repair() == {"WorkflowRun": 0, "Wait": 1, "DeadLetterEntry": 0}
    assert check() == (0, [])


def test_steps_are_read_from_the_log_and_cannot_be_written() -> None:
    """StepExecution is a view: there is nothing to compare, to repair or to tamper with."""
    make_run("order-1", [step("a", 1)])
    assert [(s.step_id, s.result, s.took) for s in StepExecution.objects.all()] == [("a", 1, 0.25)]
    for statement in ("UPDATE django_hookflow_stepexecution SET took = 1", "DELETE FROM django_hookflow_stepexecution"):
        with pytest.raises(DatabaseError, match="append-only|cannot"), transaction.atomic():
            ask(statement)
    assert check() == (0, [])
