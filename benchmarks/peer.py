"""Another engine's ten-step runs, by one worker: ``python peer.py NAME CONNINFO RUNS LONE IDLE``, in an environment that has it.

It prints JSON: steps a second from the first trigger to the last completion, and the milliseconds that each of ``LONE`` runs
took, each triggered when nothing had happened for ``IDLE`` seconds. Nothing of this project is imported.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg

STEPS = 10
#: Triggers so many runs, and returns when all are completed.
Run = Callable[[int], None]


def main(name: str, conninfo: str, runs: str, lone: str, idle: str) -> None:
    run = {"raw": raw, "absurd": absurd, "dbos": dbos}[name](conninfo)
    run(2)  # what is done once is done
    began = time.perf_counter()
    run(int(runs))
    rate = int(runs) * STEPS / (time.perf_counter() - began)
    waited = []
    for _ in range(int(lone)):
        time.sleep(float(idle))
        began = time.perf_counter()
        run(1)
        waited.append((time.perf_counter() - began) * 1000)
    print(json.dumps({"rate": rate, "waited": waited}), flush=True)
    os._exit(0)  # whatever threads an engine has


def raw(conninfo: str) -> Run:
    """Ten rows and commits a run."""
    connection = psycopg.connect(conninfo, autocommit=True)
    connection.execute(
        "CREATE TABLE IF NOT EXISTS peers_raw (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, payload json)"
    )

    def run(count: int) -> None:
        for i in range(count * STEPS):
            connection.execute("INSERT INTO peers_raw (payload) VALUES (%s)", (json.dumps({"result": i}),))

    return run


def absurd(conninfo: str) -> Run:
    """One worker, which asks for work more often than by default: every 10 ms, not four times a second."""
    import absurdctl
    from absurd_sdk import Absurd

    with psycopg.connect(conninfo, autocommit=True) as connection:
        if connection.execute("SELECT to_regnamespace('absurd')").fetchone() == (None,):
            connection.execute(absurdctl.BUNDLED_SCHEMA_SQL)
    client, worker = Absurd(psycopg.connect(conninfo, autocommit=True)), Absurd(conninfo)
    client.create_queue()

    @worker.register_task(name="ten-steps")
    def ten_steps(params: Any, ctx: Any) -> int:
        for i in range(STEPS):
            ctx.step(f"step-{i}", lambda i=i: i)
        return STEPS

    threading.Thread(target=worker.start_worker, kwargs={"poll_interval": 0.01}, daemon=True).start()
    watcher = psycopg.connect(conninfo, autocommit=True)

    def run(count: int) -> None:
        before = completed(watcher)
        for _ in range(count):
            client.spawn("ten-steps", {}, queue="default")
        while completed(watcher) < before + count:
            time.sleep(0.002 if count == 1 else 0.02)

    return run


def completed(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute("SELECT count(*) FROM absurd.r_default WHERE state = 'completed'").fetchone()
    return int(row[0]) if row else 0


def dbos(conninfo: str) -> Run:
    """One process, which runs what it starts, in threads of its own."""
    from dbos import DBOS, DBOSConfig

    parameters = psycopg.conninfo.conninfo_to_dict(conninfo)
    host = str(parameters.pop("host", ""))
    database, user, password = (parameters.pop(key, "") for key in ("dbname", "user", "password"))
    address = f"postgresql://{user}{f':{password}' if password else ''}@"
    address += (
        f"/{database}?host={host}" if host.startswith("/") else f"{host}:{parameters.get('port', 5432)}/{database}"
    )
    if host.startswith("/") and "port" in parameters:
        address += f"&port={parameters['port']}"
    config: DBOSConfig = {
        "name": "peers",
        "system_database_url": address,
        "run_admin_server": False,
        "log_level": "ERROR",
    }
    DBOS(config=config)

    @DBOS.step()
    def step(i: int) -> int:
        return i

    @DBOS.workflow()
    def ten_steps() -> int:
        for i in range(STEPS):
            step(i)
        return STEPS

    DBOS.launch()

    def run(count: int) -> None:
        for handle in [DBOS.start_workflow(ten_steps) for _ in range(count)]:
            assert handle.get_result() == STEPS

    return run


if __name__ == "__main__":
    main(*sys.argv[1:])
