"""Durable steps a second, against raw rows a second: one INSERT and its commit, by the same driver on the same server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import psycopg

from benchmarks.project import mapping_workflow, run_to_end, trivial_workflow
from benchmarks.report import Figure
from benchmarks.rounds import Prepare, Rates, alternate, in_threads, median_rate, median_ratio

#: A row about as large as the event of a trivial step, with the one index that any table has.
RAW_TABLE = """
CREATE TABLE benchmarks_raw (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text NOT NULL,
  payload json NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp()
)"""
RAW_INSERT = "INSERT INTO benchmarks_raw (name, payload) VALUES (%s, %s)"
WARM_UP = 20
EVENTS_A_CALL = 5


@dataclass(frozen=True)
class Amounts:
    """Per measurement and thread: raw rows, steps of the one long run, ten-step runs, appends of five events, items of a map."""

    rounds: int = 7
    rows: int = 2_000
    steps: int = 1_500
    runs: int = 120
    appends: int = 600
    items: int = 10_000


QUICK = Amounts(rounds=2, rows=60, steps=40, runs=4, appends=10, items=60)


def measure_commits(conninfo: str, amounts: Amounts) -> list[Figure]:
    """Raw commits, and everything that is measured against them."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(RAW_TABLE)
    measures = {
        f"{name}, {threads}": in_threads(prepare, threads)
        for threads in (1, 4)
        for name, prepare in prepared_work(conninfo, amounts).items()
        if threads == 1 or name not in ("append", "map")
    }
    return figures(alternate(measures, amounts.rounds))


def prepared_work(conninfo: str, amounts: Amounts) -> dict[str, Prepare]:
    return {
        "raw": lambda: raw_rows(conninfo, amounts.rows),
        "long": lambda: one_long_run(amounts.steps),
        "short": lambda: ten_step_runs(amounts.runs),
        "append": lambda: appends(amounts.appends),
        "map": lambda: one_map(amounts.items),
    }


def raw_rows(conninfo: str, rows: int) -> Callable[[], int]:
    """The floor: psycopg, which prepares the statement by itself, one commit a row."""
    connection = psycopg.connect(conninfo, autocommit=True)

    def insert(count: int) -> int:
        for i in range(count):
            connection.execute(RAW_INSERT, (f"step-{i}", f'{{"kind":"run","attempt":1,"result":{i}}}'))
        return count

    def work() -> int:
        with connection:
            return insert(rows)

    insert(WARM_UP)
    return work


def one_long_run(steps: int) -> Callable[[], int]:
    """Steps of one run in one turn; its trigger, claim and completion count as no step."""
    from django_hookflow.runtime.turn import run_turn

    workflow = trivial_workflow()
    run_to_end(workflow, WARM_UP)
    run_id = workflow.trigger({"steps": steps})

    def work() -> int:
        answer = run_turn(workflow.workflow_id, run_id, 1, delivery={}).answer
        assert answer == "completed", answer
        return steps

    return work


def one_map(items: int) -> Callable[[], int]:
    """Steps of one map in one turn, as above."""
    from django_hookflow.runtime.turn import run_turn

    workflow = mapping_workflow()
    run_id = workflow.trigger({"steps": items})

    def work() -> int:
        answer = run_turn(workflow.workflow_id, run_id, 1, delivery={}).answer
        assert answer == "completed", answer
        return items

    run_to_end(workflow, WARM_UP)
    return work


def ten_step_runs(runs: int) -> Callable[[], int]:
    """Whole runs of ten steps, trigger, claim and completion included; counted in steps."""
    workflow = trivial_workflow()
    run_to_end(workflow, WARM_UP)

    def work() -> int:
        for _ in range(runs):
            run_to_end(workflow, 10)
        return 10 * runs

    return work


def appends(calls: int) -> Callable[[], int]:
    """Five completed steps a call, as an engine that runs several steps at once would append them; counted in events."""
    from django_hookflow.events import log
    from django_hookflow.runtime.trigger import uuid7

    run_uid = uuid7()
    log.start(run_uid, str(run_uid), "benchmarks.append", "{}", '{"data":{}}', actor=None, sending=log.LEFT_TO_RELAY)

    def append(first: int, calls: int) -> int:
        seq = None
        for call in range(first, first + calls):
            seq = log.append(
                run_uid,
                seq,
                [
                    log.NewEvent(
                        "step.completed",
                        f"step-{call}-{i}",
                        '{"kind": "run", "attempt": 1, "took": 0.001}',
                        '{"result":1}',
                    )
                    for i in range(EVENTS_A_CALL)
                ],
            ).seq
        return EVENTS_A_CALL * calls

    append(0, WARM_UP)
    return lambda: append(WARM_UP, calls)


def figures(rates: Rates) -> list[Figure]:
    texts = {
        "long": ("steps of one long run", 0.7, 0.6),
        "short": ("steps of ten-step runs, trigger to completion", None, None),
        "append": (f"events, {EVENTS_A_CALL} a call and commit", 2.0, None),
        "map": ("steps of one map", 2.0, None),
    }
    found = []
    for threads in (1, 4):
        with_threads = f"{threads} thread{'s' if threads > 1 else ''}"
        raw = f"raw, {threads}"
        found.append(Figure(f"raw INSERT and commit, {with_threads}", median_rate(rates, raw), "rows/s"))
        for name, (text, *targets) in texts.items():
            if f"{name}, {threads}" in rates:
                found.append(
                    Figure(
                        f"{text}, {with_threads}",
                        median_rate(rates, f"{name}, {threads}"),
                        "events/s" if name == "append" else "steps/s",
                        ratio=median_ratio(rates, f"{name}, {threads}", raw),
                        of="raw",
                        at_least=targets[threads > 1],
                    )
                )
    return found
