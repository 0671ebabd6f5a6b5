"""``--profile``: where the time of a step goes, layer by layer.

Each layer is measured by itself, in turns: the wall time of a call, and of it the CPU of this process, the CPU of the
server process that serves it, and the time that process waited for the log of the database to be on disk. What is left
is the way between the two and waiting for a core; a busy machine shows there, and hardly in the other columns.

The CPU of the server is read from Linux's /proc, so the server must be on this machine; where it is not, those columns
are empty. What happens inside the function is read from PostgreSQL's own statistics of functions.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.commits import RAW_INSERT, RAW_TABLE, WARM_UP
from benchmarks.project import do_nothing
from benchmarks.report import format_table

COLUMNS = ("wall", "client", "server", "sync")
APPEND = "SELECT hookflow_complete(%s, %s, %s, %s, %s)"
PAYLOAD = '{"kind":"run","attempt":1,"result":1}'
FACTS, RESULT = '{"kind": "run", "attempt": 1, "took": 0.001}', '{"result":1}'
EVENT_TYPE = "step.completed"

Sample = dict[str, float]
Work = Callable[[int], None]


class Meter:
    """Reads the clocks of one server process and of this one."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._pid = connection.info.backend_pid
        self._observer = psycopg.connect(connection.info.dsn, password=connection.info.password, autocommit=True)
        self._sync = sync_query(self._observer, self._pid)
        self.tells_sync = self._sync is not None and turn_on(connection, "track_wal_io_timing")
        self._connection = connection

    def close(self) -> None:
        self._observer.close()

    def measure(self, work: Work, calls: int) -> Sample:
        """Microseconds a call."""
        before = self._read()
        work(calls)
        after = self._read()
        return {name: (after[name] - before[name]) / calls * 1e6 for name in COLUMNS}

    def _read(self) -> Sample:
        if self.tells_sync and self._observer.info.server_version >= 150000:
            # A backend hands in its numbers when it is idle, at most once a second, or when asked.
            self._connection.execute("SELECT pg_stat_force_next_flush()")
            self._connection.execute("SELECT 1")
        return {
            "sync": self._read_sync(),
            "server": cpu_seconds(self._pid) or 0.0,
            "client": time.process_time(),
            "wall": time.perf_counter(),
        }

    def _read_sync(self) -> float:
        if not self.tells_sync:
            return 0.0
        row = self._observer.execute(self._sync).fetchone()
        return float(row[0] or 0) if row else 0.0


def cpu_seconds(pid: int) -> float | None:
    """The CPU time a process has used, to the nanosecond; None where that cannot be read."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0]) / 1e9
    except (OSError, ValueError, IndexError):
        return None


def sync_query(connection: psycopg.Connection[Any], pid: int) -> Any:
    """Seconds that commits have waited for the disk; None where the server does not say."""
    version = connection.info.server_version
    if version >= 180000:
        return f"SELECT sum(fsync_time) / 1000 FROM pg_stat_get_backend_io({pid}) WHERE object = 'wal'"
    return "SELECT wal_sync_time / 1000 FROM pg_stat_wal" if version >= 140000 else None


def turn_on(connection: psycopg.Connection[Any], setting: str, value: str = "on") -> bool:
    """Whether this session may."""
    try:
        connection.execute(f"SET {setting} = {value}")
    except psycopg.errors.InsufficientPrivilege:
        return False
    return True


def measure_profile(conninfo: str, *, rounds: int, calls: int) -> dict[str, Any]:
    """``layers``: name to microseconds a call, by column; ``functions``: name to calls and microseconds a step."""
    from django.db import connection as django_connection

    with closing(psycopg.connect(conninfo, autocommit=True)) as raw:
        raw.execute(RAW_TABLE)
        django_connection.ensure_connection()
        meters = {"psycopg": Meter(raw), "Django": Meter(django_connection.connection)}
        try:
            layers = {name: (meters[driver], work) for name, (driver, work) in layers_of(raw).items()}
            samples: dict[str, list[Sample]] = {name: [] for name in layers}
            for _, work in layers.values():
                work(WARM_UP)
            for _ in range(rounds):
                for name, (meter, work) in layers.items():
                    samples[name].append(meter.measure(work, calls))
            return {
                "layers": {name: medians(found) for name, found in samples.items()},
                "functions": function_times(layers["a step of the engine"][1], calls),
            }
        finally:
            for meter in meters.values():
                meter.close()


def medians(samples: list[Sample]) -> Sample:
    found = {name: statistics.median(sample[name] for sample in samples) for name in COLUMNS}
    # Not below 0: a little of the waiting for the disk is the server's CPU time too, spent in the kernel.
    return {**found, "rest": max(0.0, found["wall"] - found["client"] - found["server"] - found["sync"])}


def layers_of(raw: psycopg.Connection[Any]) -> dict[str, tuple[str, Work]]:
    """From the bare round trip up to a step, each with the connection that it uses."""

    def round_trip(calls: int) -> None:
        for _ in range(calls):
            raw.execute("SELECT %s", (1,)).fetchone()

    def insert(calls: int) -> None:
        for i in range(calls):
            raw.execute(RAW_INSERT, (f"step-{i}", PAYLOAD))

    return {
        "SELECT 1": ("psycopg", round_trip),
        "raw INSERT and commit": ("psycopg", insert),
        "hookflow_complete, by psycopg": ("psycopg", append_by_psycopg(raw)),
        "hookflow_complete, by events.log": ("Django", append_by_log()),
        "a step of the engine": ("Django", engine_step()),
        **{name: ("Django", work) for name, work in parts_of_a_run().items()},
    }


def parts_of_a_run() -> dict[str, Work]:
    """In this order, each of them with what the one before has left."""
    from django_hookflow.events import log

    workflow = profiled_workflow()
    run_ids: list[str] = []
    claims: list[log.Claim] = []

    def trigger(calls: int) -> None:
        run_ids.extend(workflow.trigger() for _ in range(calls))

    def claim(calls: int) -> None:
        facts = {"worker": "profile", "transport": "inline"}
        claims.extend(
            log.claim(workflow.workflow_id, run_ids.pop(), 1, owner="profile", lease_seconds=60, facts=facts)
            for _ in range(calls)
        )

    def complete(calls: int) -> None:
        event = log.NewEvent("run.completed", payload='{"result":null}')
        for _ in range(calls):
            claimed = claims.pop()
            assert claimed.run_uid is not None
            log.append(claimed.run_uid, claimed.turn_seq, [event], ends_turn=True)

    return {"trigger()": trigger, "claim of a fresh run": claim, "append of run.completed": complete}


def append_by_psycopg(raw: psycopg.Connection[Any]) -> Work:
    def work(calls: int) -> None:
        run_uid, seq = new_run()
        for i in range(calls):
            (seq,) = raw.execute(APPEND, (run_uid, seq, f"step-{i}", FACTS, RESULT)).fetchone()  # type: ignore[misc]

    return work


def append_by_log() -> Work:
    from django_hookflow.events import log

    def work(calls: int) -> None:
        run_uid, seq = new_run()
        for i in range(calls):
            seq = log.append(run_uid, seq, [log.NewEvent(EVENT_TYPE, f"step-{i}", FACTS, RESULT)]).seq

    return work


def engine_step() -> Work:
    """Steps of a turn that has been claimed, without the turn's beginning and end."""
    from django_hookflow.events import log
    from django_hookflow.runtime.execution import Execution
    from django_hookflow.runtime.history import History
    from django_hookflow.runtime.journal import LogJournal
    from django_hookflow.runtime.steps import StepManager, first_options

    workflow = profiled_workflow()

    def work(calls: int) -> None:
        run_id = workflow.trigger()
        claim = log.claim(workflow.workflow_id, run_id, 1, owner="profile", lease_seconds=60, facts={})
        journal = LogJournal(workflow.workflow_id, run_id, claim)
        execution = Execution(journal, History(journal.history(), journal.turn_seq))
        steps = StepManager(execution, first_options(None))
        for i in range(calls):
            steps.run(f"step-{i}", do_nothing, i)

    return work


@functools.cache  # an id belongs to one function
def profiled_workflow() -> Any:
    from django_hookflow import workflow

    @workflow(workflow_id="benchmarks.profiled")
    def profiled(ctx: Any) -> None:
        """Never called: its steps are."""

    return profiled


def new_run() -> tuple[Any, int]:
    from django_hookflow.events import log
    from django_hookflow.runtime.trigger import uuid7

    run_uid = uuid7()
    started = log.start(
        run_uid, str(run_uid), "benchmarks.profile", "{}", '{"data":{}}', actor=None, sending=log.LEFT_TO_RELAY
    )
    return run_uid, started.seq


def function_times(work: Work, calls: int) -> dict[str, Sample]:
    """What PostgreSQL counts of its functions during so many steps; empty where it may not be asked."""
    from django.db import connection as django_connection

    session = django_connection.connection
    if session.info.server_version < 150000 or not turn_on(session, "track_functions", "'all'"):
        return {}

    def read() -> dict[str, tuple[int, float]]:
        session.execute("SELECT pg_stat_force_next_flush()")
        session.execute("SELECT 1")
        rows = session.execute("SELECT funcname, calls, self_time FROM pg_stat_user_functions").fetchall()
        return {name: (called, self_time) for name, called, self_time in rows}

    before = read()
    work(calls)
    return {
        name: {"calls": (called - before_calls) / calls, "self": (spent - before_spent) * 1000 / calls}
        for name, (called, spent) in read().items()
        for before_calls, before_spent in [before.get(name, (0, 0.0))]
        if called > before_calls
    }


def format_profile(profile: dict[str, Any]) -> str:
    layers: dict[str, Sample] = profile["layers"]
    base = layers["raw INSERT and commit"]["wall"]
    rows = [
        (name, *(f"{found[column]:,.0f}" for column in (*COLUMNS, "rest")), f"{base / found['wall']:.2f}")
        for name, found in layers.items()
    ]
    text = "Microseconds a call, medians of the rounds; the ratio is that of the rates.\n\n" + format_table(
        ("", "wall", "client CPU", "server CPU", "fsync", "rest", "ratio"), rows, right={1, 2, 3, 4, 5, 6}
    )
    functions: dict[str, Sample] = profile["functions"]
    if not functions:
        return text
    inside = [
        (name, f"{found['calls']:.2f}", f"{found['self']:.1f}")
        for name, found in sorted(functions.items(), key=lambda item: -item[1]["self"])
    ]
    return f"{text}\n\nInside the server, a step; microseconds, without what a function calls.\n\n" + format_table(
        ("", "calls", "self"), inside, right={1, 2}
    )
