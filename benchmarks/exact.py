"""What is counted and not timed: the messages and commits of a ten-step run."""

from __future__ import annotations

from typing import Any

from benchmarks.project import trivial_workflow
from benchmarks.report import Figure


def count_ten_step_run() -> list[Figure]:
    """Delivers a ten-step run as a relay does, and counts what it took."""
    from django.db import connection

    from django_hookflow.delivery.relay import Relay
    from django_hookflow.runtime.receiving import receive
    from django_hookflow.runtime.turn import run_turn

    workflow = trivial_workflow()
    workflow.trigger({"steps": 10})
    relay = Relay("inline", receive=receive, concurrency=1)
    while relay.run_once():
        pass

    statements: list[bool] = []

    def count(execute: Any, sql: str, *call: Any) -> Any:
        if not sql.startswith("NOTIFY"):  # that writes nothing
            statements.append(connection.in_atomic_block)
        return execute(sql, *call)

    with connection.execute_wrapper(count):
        run_id = workflow.trigger({"steps": 10})
        assert run_turn(workflow.workflow_id, run_id, 1, delivery={}).answer == "completed"
    assert not any(statements), "outside a transaction every statement is one commit"
    return [
        Figure("ten-step run: messages", relay.sent, "", at_most=1),
        Figure("ten-step run: commits, trigger included", len(statements), "", at_most=13),
    ]
