"""A process of its own that appends as fast as it can, for :mod:`benchmarks.beside`: ``python -m benchmarks.appender``.

It appends to one run, one event and commit at a time, from the line ``go`` on its input to the next line. It answers
with the line ``appending`` once it does, and at the end with one of JSON:
``{"appends": int, "seconds": float, "longest": float}``.
"""

from __future__ import annotations

import io
import json
import select
import sys
import time
import uuid

import psycopg

START = "SELECT hookflow_start(%s, %s, 'benchmarks.appender', '{}', '{\"data\":{}}', NULL)"
APPEND = (
    "SELECT seq FROM hookflow_append"
    "(%s, NULL, ARRAY['step.completed'], ARRAY[%s]::text[], ARRAY[%s]::json[], ARRAY[%s]::json[], NULL)"
)
FACTS, PAYLOAD = '{"kind": "run", "attempt": 1, "took": 0.001}', '{"result":1}'


def main(conninfo: str) -> None:
    # Unbuffered: what a buffer has read already, select does not see.
    with (
        open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as orders,
        psycopg.connect(conninfo, autocommit=True, cursor_factory=psycopg.ClientCursor) as session,
    ):
        while orders.readline() == b"go\n":
            run_uid = uuid.UUID(int=(time.time_ns() // 1_000_000) << 80 | 0x7 << 76 | 0x2 << 62)
            session.execute(START, [run_uid, str(uuid.uuid4())])
            print("appending", flush=True)
            print(json.dumps(append_until_ordered(session, run_uid, orders)), flush=True)


def append_until_ordered(
    session: psycopg.Connection[object], run_uid: uuid.UUID, orders: io.RawIOBase
) -> dict[str, float]:
    appends, longest = 0, 0.0
    begun = before = time.perf_counter()
    while appends == 0 or not select.select([orders], [], [], 0)[0]:
        session.execute(APPEND, [run_uid, f"step-{appends}", FACTS, PAYLOAD])
        appends += 1
        now = time.perf_counter()
        longest, before = max(longest, now - before), now
    orders.readline()
    return {"appends": appends, "seconds": before - begun, "longest": longest}


if __name__ == "__main__":
    main(sys.argv[1])
