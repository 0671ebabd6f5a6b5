"""What the import costs: as much for each run whether there are few or many, in whatever order they were made.

Counted in pages that a batch looks at, which do not depend on what else the machine does. The time is printed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.upgrade.test_takeover import check_log

if TYPE_CHECKING:
    from tests.upgrade.old_release import Project

MANY = Path(__file__).with_name("many.sql")
BATCH = 500


def import_all(project: Project, runs: int) -> tuple[list[int], float]:
    """Fills the tables of 0.0.4, migrates and imports: how many pages each batch looked at, and the seconds of all."""
    with psycopg.connect(project.database.conninfo, autocommit=True) as connection:
        psycopg.ClientCursor(connection).execute(MANY.read_bytes(), {"runs": runs})
    project.manage("migrate", "django_hookflow", "0009_import", "--verbosity", "0")
    plans = []
    with psycopg.connect(project.database.conninfo, autocommit=True) as connection:
        for after in range(0, runs, BATCH):
            statement = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT hookflow_import_next({after}, {BATCH})"
            plans.append(connection.execute(statement.encode()).fetchall()[0][0][0])
    pages = [plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"] for plan in plans]
    return pages, sum(plan["Execution Time"] for plan in plans) / 1000


def check_growth(pages: list[int]) -> None:
    """Trees grow by a level now and then, and the first batch finds nothing that would be in its way."""
    third = len(pages) // 3
    assert max(pages[-third:]) < 1.5 * min(pages[1:third])


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("runs", [int(os.environ.get("UPGRADE_RUNS", "10000"))])
def test_the_last_batch_costs_as_much_as_the_first(
    project: Project, runs: int, capsys: pytest.CaptureFixture[str]
) -> None:
    pages, seconds = import_all(project, runs)

    with capsys.disabled():
        print(f"\n{runs} runs: {seconds:.1f} s, {runs / seconds:,.0f} runs a second; pages {pages[1]} to {pages[-1]}")  # noqa: T201 - what is measured is to be seen
    check_growth(pages)
    check_log(project)


@pytest.mark.timeout(1200)
def test_ids_in_another_order_than_time_cost_nothing(project: Project) -> None:
    """As after data were merged: then a range of ids holds runs of all times."""
    project.database.execute(
        "CREATE FUNCTION shuffle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " NEW.created_at := NEW.created_at - (hashint8(NEW.id) & 65535) * interval '1 s'; RETURN NEW; END $$;"
        "CREATE TRIGGER shuffle BEFORE INSERT ON django_hookflow_workflowrun FOR EACH ROW EXECUTE FUNCTION shuffle()"
    )
    pages, _ = import_all(project, 10_000)
    check_growth(pages)
    check_log(project)
