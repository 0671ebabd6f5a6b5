"""Runs of every kind, the commands as they are called, and what is in the database before and after."""

from __future__ import annotations

import json
import re
from io import StringIO
from typing import TYPE_CHECKING, Any

from django.core.management import call_command

from django_hookflow.evidence.audit import check_archive, manifest_path, read_events
from django_hookflow.projections import diff
from django_hookflow.runtime.trigger import uuid7
from tests.log.calls import Event, Row, append, ask, start
from tests.projections.histories import MIXED

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID


#: The histories of MIXED, by their place in it, that are over: completed, failed, cancelled.
ENDED = {1, 3, 4, 6}
TABLES = (
    "django_hookflow_head",
    "django_hookflow_event",
    "django_hookflow_workflowrun",
    "django_hookflow_wait",
    "django_hookflow_stepexecution",
    "django_hookflow_deadletterentry",
    "django_hookflow_outbox",
)
RUN_OF = {"django_hookflow_workflowrun": "id", "django_hookflow_stepexecution": "workflow_run_id"}
DAYS = 86_400


def make_run(run_id: str, history: list[Event]) -> UUID:
    """A run whose uid follows time, as in life."""
    uid: UUID = start(run_id, {"id": run_id}, run_uid=uuid7())["run_uid"]
    if history:
        append(uid, 1, *history, ends_turn=True)
    return uid


def make_runs(number: int, prefix: str = "order") -> dict[str, UUID]:
    """So many runs, of every kind in turn."""
    names = {f"{prefix}-{n}": MIXED[n % len(MIXED)] for n in range(1, number + 1)}
    return {run_id: make_run(run_id, history) for run_id, history in names.items()}


def has_ended(run_id: str) -> bool:
    return int(run_id.rpartition("-")[2]) % len(MIXED) in ENDED


def ended_of(runs: dict[str, UUID]) -> dict[str, UUID]:
    return {run_id: uid for run_id, uid in runs.items() if has_ended(run_id)}


def run_command(name: str, *arguments: str) -> str:
    """What a management command prints."""
    output = StringIO()
    call_command(name, *arguments, stdout=output)
    return output.getvalue()


def cleanup(*arguments: str) -> dict[str, int]:
    """The counts that ``cleanup_workflows`` prints, by model."""
    printed = run_command("cleanup_workflows", *arguments)
    return {model: int(number) for model, number in re.findall(r"^(\w+): (\d+) ", printed, re.MULTILINE)}


def contents(*, without: tuple[UUID, ...] = ()) -> list[list[Row]]:
    """Every row of every table, but for those of some runs."""
    return [
        ask(
            f"SELECT t::text AS row FROM {table} AS t WHERE {RUN_OF.get(table, 'run_uid')} <> ALL (%s) ORDER BY 1",
            list(without),
        )
        for table in TABLES
    ]


def traces_of(*uids: UUID) -> int:
    """How many rows there are of some runs, heads apart."""
    return sum(
        len(ask(f"SELECT FROM {table} WHERE {RUN_OF.get(table, 'run_uid')} = ANY (%s)", list(uids)))
        for table in TABLES[1:]
    )


def archived() -> set[str]:
    return {row["run_id"] for row in ask("SELECT run_id FROM django_hookflow_head WHERE archived_at IS NOT NULL")}


def archives_in(directory: Path) -> list[Path]:
    """The archives of a directory, each of which is whole and verifies."""
    found = sorted(directory.glob("*.jsonl.gz"))
    for path in found:
        assert check_archive(path).problems == []
        assert manifest_path(path).exists()
    return found


def archived_in(directory: Path) -> dict[str, list[dict[str, Any]]]:
    """The events of each run that is in an archive, by run_uid; of several archives the longest."""
    runs: dict[str, list[dict[str, Any]]] = {}
    for path in archives_in(directory):
        of_file: dict[str, list[dict[str, Any]]] = {}
        for event in read_events(path):
            of_file.setdefault(event["run_uid"], []).append(event)
        for uid, events in of_file.items():
            if len(events) > len(runs.get(uid, [])):
                runs[uid] = events
    return runs


def manifest_of(path: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads(manifest_path(path).read_text(encoding="utf-8"))
    return manifest


def assert_nothing_differs() -> None:
    """Projections equal the fold of the log, and every chain holds, tombstones or not."""
    assert list(diff()) == []
    run_command("hookflow_verify")  # exits 1 otherwise
