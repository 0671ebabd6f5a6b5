"""The area ``runs``: those that do not go on by themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from django_hookflow.doctor.findings import Finding, error, info, ok, warning
from django_hookflow.durations import format_duration
from django_hookflow.events.database import cursor
from django_hookflow.sql import load

if TYPE_CHECKING:
    from django_hookflow.doctor.visit import Visit

#: What is counted is counted so far.
MOST = 1_000
NAMED = 3
#: A worker renews its lease long before it ends; a relay has the run taken over soon after.
LOST_SECONDS = 60.0

Level = Callable[[str, str, str], Finding]
#: How the runs in a status that waits for a person are reported.
WAITING: dict[str, tuple[Level, str, str]] = {
    "in_doubt": (
        warning,
        "in doubt: it is unknown whether a step had its effect",
        "Find out what happened and record it with run.resolve(step_id, result=…), or run the step again with "
        "run.rewind(to_step=…).",
    ),
    "diverged": (
        warning,
        "diverged: the code no longer matches the recorded steps",
        "Deploy code that matches and call run.resume(), or call run.rewind(to_step=…) with a step before the "
        "difference.",
    ),
    "paused": (info, "paused by an operator", "Call run.resume() to continue it."),
}


def look_at_runs(visit: Visit) -> Iterator[Finding]:
    found = [*_find_waiting(), *_find_failed(), *_find_unannounced(), *_find_lost(), *_find_unjoined()]
    yield from found or [ok("runs.fine", "No run is stuck, in doubt, diverged, paused or failed.")]


def _find_waiting() -> Iterator[Finding]:
    for status, number, run_ids in _ask("doctor_waiting", statuses=list(WAITING), most=MOST, named=NAMED):
        level, how, way_out = WAITING[status]
        yield level(f"runs.{status}", f"{_runs(number)} {how} ({', '.join(run_ids)}).", way_out)


def _find_failed() -> Iterator[Finding]:
    ((number,),) = _ask("doctor_dead_letters", most=MOST)
    if number:
        yield info(
            "runs.failed",
            f"{_runs(number)} failed and has not been replayed."
            if number == 1
            else f"{_runs(number)} failed and have not been replayed.",
            "Look at the dead letters in the admin and replay them once the cause is fixed. cleanup_workflows removes "
            "old ones.",
        )


def _find_unannounced() -> Iterator[Finding]:
    run_ids = [run_id for (run_id,) in _ask("doctor_unannounced", statuses=["pending", "running"], most=MOST)]
    if run_ids:
        yield error(
            "runs.unannounced",
            f"{_runs(len(run_ids))} active without a message for the next turn ({', '.join(run_ids[:NAMED])}).",
            "Rows of the outbox were deleted by hand, or the database was only partly restored. Compare with "
            "manage.py hookflow_rebuild --check, then call run.pause() and run.resume() to create a new message.",
        )


def _find_lost() -> Iterator[Finding]:
    lost = _ask("doctor_lost", most=MOST, after=LOST_SECONDS)
    if lost:
        run_id, seconds = lost[0]
        yield warning(
            "runs.lost",
            f"{_runs(len(lost))} interrupted when the worker was lost, and not resumed. Example: {run_id}, for "
            f"{format_duration(round(seconds))}.",
            "Keep manage.py hookflow_relay running: it sends such runs to another worker once the lease has expired.",
        )


def _find_unjoined() -> Iterator[Finding]:
    waiting = _ask("doctor_unjoined", most=MOST, after=LOST_SECONDS)
    if waiting:
        run_id, child_id, seconds = waiting[0]
        yield error(
            "runs.unjoined",
            f"{_runs(len(waiting))} still waiting for a child that has ended. Example: {run_id} waits for {child_id}, "
            f"which ended {format_duration(round(seconds))} ago.",
            "Run manage.py hookflow_relay --once to resume them, and keep a relay running.",
        )


def _ask(statement: str, **parameters: Any) -> list[tuple[Any, ...]]:
    with cursor() as c:
        c.execute(load(statement), parameters)
        rows: list[tuple[Any, ...]] = c.fetchall()
    return rows


def _runs(number: int) -> str:
    if number == 1:
        return "1 run"
    return f"{number:,} runs" if number < MOST else f"{MOST:,} or more runs"
