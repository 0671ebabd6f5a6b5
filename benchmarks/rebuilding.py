"""The projections made again from the log, against one plain INSERT … SELECT of the same folds into the same tables."""

from __future__ import annotations

import statistics
import time
from typing import Any

from benchmarks import project
from benchmarks.report import Figure
from benchmarks.rounds import alternate, median_rate, median_ratio

EVENTS_A_RUN = 13
#: As many connections as hookflow_rebuild uses by default.
JOBS = 2
#: Whole runs, each as the engine would have written it: triggered, one turn, ten steps, completed.
FILL = """
DO $$
DECLARE
  run_uid uuid;
BEGIN
  FOR i IN 1 .. {runs} LOOP
    -- As a UUIDv7 of an early time, so that runs follow each other as they do in life.
    run_uid := (lpad(to_hex(i), 12, '0') || '7000' || '8' || substr(md5('{prefix}' || i), 1, 15))::uuid;
    PERFORM hookflow_start(run_uid, '{prefix}-' || i, 'benchmarks.fill',
      '{{}}', json_build_object('data', json_build_object('steps', 10)), NULL);
    PERFORM hookflow_append(run_uid, 1,
      ARRAY['turn.started'] || array_fill('step.completed'::text, ARRAY[10]) || ARRAY['run.completed'],
      ARRAY[NULL::text] || (SELECT array_agg('step-' || n ORDER BY n) FROM generate_series(0, 9) AS n) || ARRAY[NULL::text],
      (SELECT array_agg('{{"kind":"run","attempt":1,"took":0.001}}'::json) FROM generate_series(1, 12)),
      ARRAY[NULL::json] || (SELECT array_agg('{{"result":1}}'::json) FROM generate_series(1, 11)), NULL, true);
  END LOOP;
END $$
"""
TABLES = {
    "django_hookflow_workflowrun": "hookflow_fold_runs",
    "django_hookflow_wait": "hookflow_fold_waits",
    "django_hookflow_deadletterentry": "hookflow_fold_dead_letters",
}
EVERYTHING = "'00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff'"


def measure_rebuild(events: int, rounds: int) -> list[Figure]:
    """Fills the log, empties the projections and makes them again, in each way in turn."""
    fill(events)
    total = count_events()
    held: list[float] = []
    rates = alternate(
        {
            "plain": lambda: total / timed_plain(),
            "one": lambda: total / timed_rebuild(held, jobs=1),
            "two": lambda: total / timed_rebuild(held, jobs=JOBS),
            "again": lambda: total / timed_rebuild(held, jobs=JOBS, from_nothing=False),
            "diff": lambda: total / timed_diff(),
        },
        rounds,
    )

    def against_plain(name: str, way: str, target: float | None = None) -> Figure:
        ratio = median_ratio(rates, way, "plain")
        return Figure(name, median_rate(rates, way), "events/s", ratio=ratio, of="INSERT … SELECT", at_least=target)

    return [
        Figure(f"INSERT … SELECT of the folds, {total:,} events", median_rate(rates, "plain"), "events/s"),
        against_plain(f"rebuild from nothing, {JOBS} connections (the default)", "two", 1.0),
        against_plain("the same with one", "one"),
        against_plain("rebuild with nothing to repair", "again"),
        against_plain("comparing (--check), without locks", "diff"),
        Figure("rebuild: how long a range of runs is held, the median", statistics.median(held) * 1000, "ms"),
        Figure("rebuild: the longest", max(held) * 1000, "ms", at_most=50),
        *sizes(),
    ]


def fill(events: int, prefix: str = "fill") -> None:
    """Adds runs of ten steps, about as many events as asked for."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(FILL.format(runs=max(1, events // EVENTS_A_RUN), prefix=prefix))
        cursor.execute("VACUUM ANALYZE")


def count_events() -> int:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM django_hookflow_event")
        return int(cursor.fetchone()[0])


def timed_plain() -> float:
    from django.db import connection, transaction

    empty_projections()
    start = time.perf_counter()
    with transaction.atomic(), connection.cursor() as cursor:
        for table, fold in TABLES.items():
            cursor.execute(f"INSERT INTO {table} SELECT * FROM {fold}({EVERYTHING})")
    return time.perf_counter() - start


def timed_rebuild(held: list[float], *, jobs: int, from_nothing: bool = True) -> float:
    from django_hookflow.projections import rebuild

    if from_nothing:
        empty_projections()
    start = time.perf_counter()
    held += [part.held_for for part in rebuild(jobs=jobs)]
    return time.perf_counter() - start


def timed_diff() -> float:
    """Run after a rebuild: there is nothing to find."""
    from django_hookflow.projections import diff

    start = time.perf_counter()
    assert not list(diff(jobs=JOBS))
    return time.perf_counter() - start


def empty_projections() -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {', '.join(TABLES)}")


def sizes() -> list[Figure]:
    """What an event takes: in the log, with everything that is kept for it, and in the write-ahead log as it is written."""
    log, indexes = (
        _size("pg_table_size", "django_hookflow_event_all"),
        _size("pg_indexes_size", "django_hookflow_event_all"),
    )
    everything = sum(_size("pg_total_relation_size", table) for table in ["django_hookflow_head", *TABLES])
    events = count_events()
    return [
        Figure("the log: its table", log / events, "bytes/event"),
        Figure("the log: its indexes", indexes / events, "bytes/event"),
        Figure("the log, heads and projections", (log + indexes + everything) / events, "bytes/event"),
        Figure("write-ahead log, of ten-step runs as the engine runs them", wal_of_runs(200), "bytes/event"),
    ]


def _size(function: str, table: str) -> int:
    return int(_ask(f"SELECT {function}(%s::regclass)", [table]))


def _ask(statement: str, parameters: list[Any]) -> Any:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchone()[0]


def wal_of_runs(runs: int) -> float:
    """Bytes of write-ahead log for each event, with all that goes with it: heads, projections, outbox, pages in full."""
    workflow = project.trivial_workflow()
    before, events = _ask("SELECT pg_current_wal_insert_lsn()::text", []), count_events()
    for _ in range(runs):
        project.run_to_end(workflow, 10)
    written = int(_ask("SELECT pg_current_wal_insert_lsn() - %s::pg_lsn", [before]))
    return written / (count_events() - events)
