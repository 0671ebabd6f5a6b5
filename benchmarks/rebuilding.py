"""The projections made again from the log, against one plain INSERT … SELECT of the same folds into the same tables."""

from __future__ import annotations

import statistics
import time

from benchmarks.report import Figure
from benchmarks.rounds import alternate, median_rate, median_ratio

EVENTS_A_RUN = 13
#: Whole runs, each as the engine would have written it: triggered, one turn, ten steps, completed.
FILL = """
DO $$
DECLARE
  run_uid uuid;
BEGIN
  FOR i IN 1 .. {runs} LOOP
    -- As a UUIDv7 of an early time, so that runs follow each other as they do in life.
    run_uid := (lpad(to_hex(i), 12, '0') || '7000' || '8' || substr(md5(i::text), 1, 15))::uuid;
    PERFORM hookflow_start(run_uid, 'fill-' || i, 'benchmarks.fill',
      json_build_object('run_id', 'fill-' || i, 'workflow_id', 'benchmarks.fill', 'data', json_build_object('steps', 10)), NULL);
    PERFORM hookflow_append(run_uid, 1,
      ARRAY['turn.started'] || array_fill('step.completed'::text, ARRAY[10]) || ARRAY['run.completed'],
      ARRAY[NULL::text] || (SELECT array_agg('step-' || n ORDER BY n) FROM generate_series(0, 9) AS n) || ARRAY[NULL::text],
      (SELECT array_agg('{{"kind":"run","attempt":1,"result":1}}'::json) FROM generate_series(1, 12)), NULL, true);
  END LOOP;
END $$
"""
TABLES = {
    "django_hookflow_workflowrun": "hookflow_fold_runs",
    "django_hookflow_stepexecution": "hookflow_fold_steps",
    "django_hookflow_deadletterentry": "hookflow_fold_dead_letters",
}
EVERYTHING = "'00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff'"


def measure_rebuild(events: int, rounds: int) -> list[Figure]:
    """Fills the log, empties the projections and makes them again, in both ways in turn."""
    fill(events)
    total = count_events()
    ranges: list[float] = []
    rates = alternate(
        {
            "plain": lambda: total / timed_plain(),
            "rebuild": lambda: total / timed_rebuild(ranges),
            "diff": lambda: total / timed_diff(),
        },
        rounds,
    )
    return [
        Figure("INSERT … SELECT of the folds", median_rate(rates, "plain"), "events/s"),
        Figure(
            f"rebuild of {total:,} events",
            median_rate(rates, "rebuild"),
            "events/s",
            ratio=median_ratio(rates, "rebuild", "plain"),
            of="INSERT … SELECT",
            at_least=1.0,
        ),
        Figure("rebuild: a range of runs (held), the median", statistics.median(ranges) * 1000, "ms"),
        Figure("rebuild: the longest range", max(ranges) * 1000, "ms", at_most=50),
        Figure("comparing (--check), without locks", median_rate(rates, "diff"), "events/s"),
        *sizes(),
    ]


def fill(events: int) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(FILL.format(runs=max(1, events // EVENTS_A_RUN)))
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


def timed_rebuild(ranges: list[float]) -> float:
    from django_hookflow.projections import rebuild

    empty_projections()
    start = before = time.perf_counter()
    for _ in rebuild():
        now = time.perf_counter()
        ranges.append(now - before)
        before = now
    return time.perf_counter() - start


def timed_diff() -> float:
    """Run after either of the two: there is nothing to find."""
    from django_hookflow.projections import diff

    start = time.perf_counter()
    assert not list(diff())
    return time.perf_counter() - start


def empty_projections() -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {', '.join(TABLES)}")


def sizes() -> list[Figure]:
    from django.db import connection

    tables = ["django_hookflow_event_all", "django_hookflow_head", *TABLES]
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_total_relation_size(name::regclass) FROM unnest(%s::text[]) AS name", [tables])
        log, *others = [size for (size,) in cursor.fetchall()]
    events = count_events()
    return [
        Figure("the log, indexes included", log / events, "bytes/event"),
        Figure("the log, heads and projections", (log + sum(others)) / events, "bytes/event"),
    ]
