"""Many runs that wake in the same second, and many triggered at once, beside one relay that runs turns inline.

While they are run, somebody triggers one more run now and then: how long that takes says whether it waits for all of them.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

from benchmarks import project
from benchmarks.latency import relay
from benchmarks.report import Figure

#: What one relay did before its turns were begun as it takes them, on a machine with two cores.
BEFORE = 204
#: Seconds between two new runs while a crowd is there.
PAUSE = 0.5
#: Starts runs of ``benchmarks.sleeping`` and has them sleep, as their turns would: in the server, in a fraction of the time.
MADE = """
DO $$
DECLARE
  uid uuid;
  turn integer;
BEGIN
  FOREACH uid IN ARRAY '{uids}'::uuid[] LOOP
    PERFORM hookflow_start(uid, uid::text, 'benchmarks.sleeping', '{{}}', '{{"data":{{"is_awake":{is_awake}}}}}', NULL);
    IF {sleeps} THEN
      SELECT max(turn_seq) INTO turn FROM hookflow_claim('benchmarks.sleeping', uid::text, 1, 'nobody', '60 s', '{{}}');
      PERFORM hookflow_append(uid, turn, ARRAY['step.suspended'], ARRAY['nap'], ARRAY[json_build_object(
        'kind', 'sleep', 'attempt', 1, 'seconds', extract(epoch FROM '{wakes_at}'::timestamptz - hookflow_now()))],
        ARRAY[NULL::json], NULL, true);
    END IF;
  END LOOP;
END $$"""


def measure_crowd(conninfo: str, *, woken: int, triggered: int, seconds_to_make: float = 60.0) -> list[Figure]:
    return [
        *measure(conninfo, "that wake in the same second", woken, wakes_in=seconds_to_make),
        *measure(conninfo, "triggered at once", triggered, wakes_in=None),
    ]


def measure(conninfo: str, what: str, runs: int, wakes_in: float | None) -> list[Figure]:
    from django_hookflow.events.database import database_now

    project.sleeping_workflow()
    begins_at = time.monotonic() + (wakes_in or 0.0)
    make(runs, wakes_in)
    time.sleep(max(0.0, begins_at - time.monotonic()))
    began = database_now()
    with relay(conninfo) as process:
        memory = [resident_bytes(process.pid)]
        new = []
        while not is_done():
            new.append(project.trivial_workflow().trigger({"steps": 1}))
            time.sleep(PAUSE)
            memory.append(resident_bytes(process.pid))
        rate = runs / (ended_at() - began).total_seconds()
    waited = [seconds for seconds in map(seconds_to_first_turn, new[:-1] or new) if seconds is not None]
    return [
        Figure(f"{runs:,} runs {what}, one inline relay", rate, "runs/s", at_least=4 * BEFORE if wakes_in else None),
        Figure("a run triggered behind them begins, the median", statistics.median(waited) * 1000, "ms", at_most=1000),
        Figure("the longest of them", max(waited) * 1000, "ms"),
        Figure(
            "memory of the relay at the end",
            memory[-1] / 2**20,
            "MiB",
            ratio=memory[-1] / statistics.median(memory),
            of="its median",
            at_most=1.2,
        ),
    ]


def make(runs: int, wakes_in: float | None) -> None:
    from django.db import connection

    from django_hookflow.events.database import database_now
    from django_hookflow.runtime.trigger import uuid7

    wakes_at = database_now().isoformat()
    if wakes_in is not None:
        import datetime

        wakes_at = (database_now() + datetime.timedelta(seconds=wakes_in)).isoformat()
    with connection.cursor() as c:
        for first in range(0, runs, 500):
            uids = ",".join(str(uuid7()) for _ in range(min(500, runs - first)))
            c.execute(
                MADE.format(
                    uids="{" + uids + "}",
                    sleeps=wakes_in is not None,
                    is_awake="false" if wakes_in else "true",
                    wakes_at=wakes_at,
                )
            )


def is_done() -> bool:
    from django_hookflow.models import WorkflowRun

    return not WorkflowRun.objects.filter(workflow_id="benchmarks.sleeping", completed_at=None).exists()


def ended_at() -> Any:
    from django.db.models import Max

    from django_hookflow.models import WorkflowRun

    return WorkflowRun.objects.filter(workflow_id="benchmarks.sleeping").aggregate(at=Max("completed_at"))["at"]


def seconds_to_first_turn(run_id: str) -> float | None:
    """By the database's clock; None for a run whose turn has not begun."""
    from django_hookflow.models import WorkflowEvent

    events = WorkflowEvent.objects.filter(workflow_run__run_id=run_id, type__in=["run.triggered", "turn.started"])
    moments = {event.type: event.recorded_at.timestamp() for event in events}
    return moments["turn.started"] - moments["run.triggered"] if "turn.started" in moments else None


def resident_bytes(pid: int) -> int:
    """The memory a process holds; 0 where Linux's /proc is not there to say."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * 4096
    except OSError:
        return 0
