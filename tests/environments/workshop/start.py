"""Starts runs from a process of its own: ``python -m … WORKFLOW DATA RUN_ID…`` prints an outcome for each, as JSON.

With ``--at-gate NAME`` before the rest, each run is started by a thread of its own, all when the gate NAME opens, and
DATA is a list with the data of each.
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import django
from django.db import connections


def main(arguments: list[str]) -> None:
    django.setup()
    gate = ""
    if arguments[0] == "--at-gate":
        _, gate, *arguments = arguments
    workflow, given, *run_ids = arguments
    values: list[dict[str, Any]] = json.loads(given) if gate else [json.loads(given)] * len(run_ids)
    with ThreadPoolExecutor(len(run_ids) if gate else 1) as pool:
        started = [
            pool.submit(start, workflow, run_id, data, gate) for run_id, data in zip(run_ids, values, strict=True)
        ]
        sys.stdout.write(json.dumps([each.result() for each in started]))


def start(workflow: str, run_id: str, data: dict[str, Any], gate: str) -> list[str]:
    from django_hookflow.exceptions import RunConflict
    from django_hookflow.registry import get_workflow
    from tests.environments.workshop.work import pass_gate

    try:
        if gate:
            pass_gate(gate)
        return ["started", get_workflow(workflow).trigger(data=data, run_id=run_id)]
    except RunConflict as error:
        return ["conflict", str(error)]
    finally:
        connections.close_all()


if __name__ == "__main__":
    main(sys.argv[1:])
