"""What ten-step runs leave behind: bytes of the log and of all tables, write-ahead log, and how their heads are updated."""

from __future__ import annotations

from typing import Any

from benchmarks.project import run_to_end, trivial_workflow
from benchmarks.report import Figure

STEPS = 10
SIZES = """
SELECT coalesce(sum(pg_total_relation_size(c.oid)) FILTER (WHERE relname LIKE 'django_hookflow_event%'), 0)::bigint,
  coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint, pg_current_wal_insert_lsn() - '0/0'
FROM pg_class AS c WHERE c.relkind = 'r' AND relname LIKE 'django_hookflow_%'"""
UPDATES = """
SELECT relname, n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables
WHERE relname IN ('django_hookflow_head', 'django_hookflow_workflowrun', 'django_hookflow_outbox')"""


def measure_storage(runs: int) -> list[Figure]:
    workflow = trivial_workflow()
    run_to_end(workflow, STEPS)
    execute("CHECKPOINT")  # the first change of a page after it writes the whole page
    sizes, updates = execute(SIZES)[0], updates_by_table()
    for _ in range(runs):
        run_to_end(workflow, STEPS)
    log, tables, wal = (int(after - before) for before, after in zip(sizes, execute(SIZES)[0], strict=True))
    shares = {table: shares_of(updates.get(table, (0, 0)), after) for table, after in updates_by_table().items()}
    return [
        Figure("a ten-step run in the log, its indexes included", log / runs, "bytes"),
        Figure("of which each event", log / runs / (STEPS + 3), "bytes"),
        Figure("a ten-step run in all tables, before a vacuum", tables / runs, "bytes"),
        Figure("write-ahead log of a ten-step run", wal / runs, "bytes"),
        Figure("of which each step, at most", wal / runs / STEPS, "bytes"),
        *(Figure(f"updates of {table} that touch no index", share, "%") for table, share in sorted(shares.items())),
    ]


def shares_of(before: tuple[int, int], after: tuple[int, int]) -> float:
    return 100.0 * (after[1] - before[1]) / max(1, after[0] - before[0])


def updates_by_table() -> dict[str, tuple[int, int]]:
    from django.db import connection

    connection.close()  # a session hands in what it has counted, at the latest when it ends
    return {name: (updated, hot) for name, updated, hot in execute(UPDATES)}


def execute(statement: str) -> list[Any]:
    from django.db import connection

    with connection.cursor() as c:
        c.execute(statement)
        return list(c.fetchall()) if c.description else []
