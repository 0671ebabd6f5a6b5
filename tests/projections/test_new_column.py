"""A later release's column, filled from the log while old and new code are served.

The way is the one that migrations_sql/README.md describes: the column is added to the table, the texts of the template
have where it comes from, and a rebuild fills it in the rows that are there. Here it is ``triggered_by``, from the first event's actor.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import pytest
from django.db import connection

from django_hookflow.models import WorkflowRun
from django_hookflow.projections import diff, rebuild
from migrations_sql.templates import TEMPLATES, expand
from tests.log.calls import append, ask, session, start, step
from tests.projections.histories import make_runs
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

FOLDS = TEMPLATES / "0002_folds.sql"

#: What the later release's template changes in the texts.
CHANGES = {
    "parent_uid, parent_step, subjects\n--@ run_begun_is": "parent_uid, parent_step, subjects, triggered_by\n--@ run_begun_is",
    "AS subjects\n--@ how it stands:": "AS subjects,\n    event.actor AS triggered_by\n--@ how it stands:",
    "parent_uid, parent_step, subjects\n  FROM begun": "parent_uid, parent_step, subjects, triggered_by\n  FROM begun",
    "SELECT run_uid, seq, type, facts, payload, recorded_at FROM hookflow_event_readable": (
        "SELECT run_uid, seq, type, facts, payload, recorded_at, actor FROM hookflow_event_readable"
    ),
}


def mapping(changes: dict[str, str]) -> str:
    """The functions as the template makes them, each replaced whole.

    Without its indexes, which are there: even IF NOT EXISTS would lock the events after the runs, and work locks them
    the other way round.
    """
    text = FOLDS.read_text(encoding="utf-8")
    for before, after in changes.items():
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    return (
        re.sub(r"\nCREATE INDEX [^;]+;", "", expand(text))
        .replace("\nCREATE FUNCTION ", "\nCREATE OR REPLACE FUNCTION ")
        .replace("\nCREATE VIEW ", "\nCREATE OR REPLACE VIEW ")
    )


@contextmanager
def later_release() -> Iterator[None]:
    """Its migration, and at the end the way back."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"BEGIN; ALTER TABLE django_hookflow_workflowrun ADD triggered_by text; {mapping(CHANGES)} COMMIT"
        )
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"BEGIN; ALTER TABLE django_hookflow_workflowrun DROP triggered_by; {mapping({})} COMMIT")


def work_until(stop: threading.Event, finished: list[str]) -> None:
    """Starts runs and ends them, one after the other, until it is to stop."""
    with session() as own:
        while not stop.is_set():
            run = start(session=own)
            append(run["run_uid"], 1, step("a"), ("run.completed", None, {"result": 1}), session=own)
            finished.append(run["run_id"])


def test_a_new_column_is_filled_while_work_goes_on() -> None:
    make_runs(300)
    stop, finished = threading.Event(), list[str]()
    worker = threading.Thread(target=work_until, args=(stop, finished))
    worker.start()
    try:
        wait_until(lambda: finished, "work goes on before the migration")
        with later_release():
            try:
                a_column_is_filled(finished)
            finally:
                # The way back is the test's, not a team's: they would drop a column only when no code writes it.
                stop.set()
                worker.join()
    finally:
        stop.set()
        worker.join()
    assert list(diff()) == []


def a_column_is_filled(finished: list[str]) -> None:
    assert ask("SELECT count(triggered_by) AS filled FROM django_hookflow_workflowrun")[0]["filled"] == 0
    ask("SELECT * FROM hookflow_start(%s, 'by-ada', 'shop.order', '{}', '{}', 'ada')", UUID(int=7))
    before = len(finished)
    wait_until(lambda: len(finished) > before, "work goes on after it")
    # Rows that are there wait for the rebuild; new ones have the column at once, and old code reads on.
    assert triggered_by_ada() == ["by-ada"]
    assert WorkflowRun.objects.get(run_id="by-ada").status == "pending"
    ask("UPDATE django_hookflow_workflowrun SET triggered_by = NULL WHERE run_id = 'by-ada'")
    assert [(d.run_id, d.columns) for d in diff("by-ada")] == [("by-ada", ("triggered_by",))]
    assert sum(part.repaired.total() for part in rebuild(jobs=2)) > 0
    assert triggered_by_ada() == ["by-ada"]
    assert list(diff()) == []


def triggered_by_ada() -> list[str]:
    rows = ask("SELECT run_id FROM django_hookflow_workflowrun WHERE triggered_by = 'ada'")
    return [row["run_id"] for row in rows]
