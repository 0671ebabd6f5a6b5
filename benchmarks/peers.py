"""``--peers``: ten-step runs of other engines beside ours, in the same shuffled rounds, each with a database of its own.

They are installed by pip into an environment of their own, ``.venv/peers``, where nothing of this project is. Never in CI.
Ours are triggered in this process and run by one relay in another, inline; Absurd's by one worker, DBOS's by the process that
starts them. All wait for the disk at each commit.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import project
from benchmarks.latency import IDLE, relay, timed_run
from benchmarks.report import Figure
from benchmarks.server import database_on

VERSIONS = ("dbos==3.4.0", "absurd-sdk==0.5.1", "absurdctl==0.5.1", "psycopg[binary]>=3.2")
ENVIRONMENT = Path(__file__).parent.parent / ".venv" / "peers"
PEER = Path(__file__).parent / "peer.py"
STEPS = 10

Found = dict[str, Any]


def measure_peers(conninfo: str, *, runs: int, lone: int, rounds: int) -> list[Figure]:
    python = installed()
    engines: dict[str, Callable[[], Found]] = {"ours": partial(ours, conninfo, runs, lone)}
    for name in ("raw", "absurd", "dbos"):
        engines[name] = partial(peer, python, name, conninfo, runs, 0 if name == "raw" else lone)
    found: dict[str, list[Found]] = {name: [] for name in engines}
    for _ in range(rounds):
        for name in random.sample(list(engines), len(engines)):
            found[name].append(engines[name]())
    return [figure for name in engines for figure in figures_of(name, found)]


def figures_of(name: str, found: dict[str, list[Found]]) -> list[Figure]:
    title = {"ours": "ours", "raw": "raw commits", "absurd": "Absurd 0.5.1", "dbos": "DBOS 3.4.0"}[name]
    rates = [each["rate"] for each in found[name]]
    ratio = statistics.median(ours["rate"] / rate for ours, rate in zip(found["ours"], rates, strict=True))
    figures = [
        Figure(
            f"ten-step runs, {title}",
            statistics.median(rates),
            "steps/s",
            ratio=None if name == "ours" else ratio,
            of=f"ours is {ratio:.1f} times it" if name != "ours" else "",
            at_least={"absurd": 3.0, "dbos": 8.0}.get(name),
        )
    ]
    if name == "raw":
        return figures
    waited = statistics.median(milliseconds for each in found[name] for milliseconds in each["waited"])
    our_wait = statistics.median(milliseconds for each in found["ours"] for milliseconds in each["waited"])
    figures.append(
        Figure(
            f"a ten-step run alone, {title}",
            waited,
            "ms",
            ratio=None if name == "ours" else our_wait / waited,
            of="ours, as a share" if name != "ours" else "",
            at_most=None if name == "ours" else 0.5,
        )
    )
    return figures


def ours(conninfo: str, runs: int, lone: int) -> Found:
    from django_hookflow.models import WorkflowRun

    workflow = project.trivial_workflow()
    with relay(conninfo):
        timed_run()
        before = WorkflowRun.objects.filter(status="completed").count()
        began = time.perf_counter()
        for _ in range(runs):
            workflow.trigger({"steps": STEPS})
        while WorkflowRun.objects.filter(status="completed").count() < before + runs:
            time.sleep(0.02)
        rate = runs * STEPS / (time.perf_counter() - began)
        waited = []
        for _ in range(lone):
            time.sleep(IDLE)
            waited.append(timed_run()[1] * 1000)
    return {"rate": rate, "waited": waited}


def peer(python: Path, name: str, conninfo: str, runs: int, lone: int) -> Found:
    with database_on(conninfo, f"hookflow_benchmarks_{name}") as own:
        command = [str(python), str(PEER), name, own, str(runs), str(lone), str(IDLE)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    found: Found = json.loads(done.stdout.splitlines()[-1])
    return found


def installed() -> Path:
    """The Python of the environment that has them, made the first time."""
    python = ENVIRONMENT / "bin" / "python"
    marker = ENVIRONMENT / "installed"
    if not marker.exists() or marker.read_text(encoding="utf-8") != repr(VERSIONS):
        print(f"Installing {', '.join(VERSIONS)} into {ENVIRONMENT} …", file=sys.stderr)
        venv.create(ENVIRONMENT, with_pip=True, clear=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *VERSIONS], check=True)
        marker.write_text(repr(VERSIONS), encoding="utf-8")
    return python
