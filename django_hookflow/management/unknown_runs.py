"""What a command says of a run id that there is not: also which ids are like it."""

from __future__ import annotations

from django_hookflow.events.database import alias
from django_hookflow.exceptions import HookFlowException, UnknownRun
from django_hookflow.timeline.similar_ids import did_you_mean


def explain(error: HookFlowException, run_id: str | None) -> str:
    """The text of ``error``, which is about the run ``run_id`` if it is about one."""
    hint = did_you_mean(run_id, alias()) if run_id and isinstance(error, UnknownRun) else ""
    return f"{error}{hint}"
