"""The types of events and what their payloads hold. Names are past tense; payloads are JSON objects.

====================  ========================================================================================
``run.triggered``     ``{"run_id": str, "workflow_id": str, "data": value}``; always seq 1
``turn.started``      ``{"worker": str, "transport": str, …}``: a delivery has begun to work on the run
``turn.abandoned``    ``{"turn_seq": int}``: the turn that started there ended without a word, its lease ran out
``step.completed``    ``{"kind": str, "attempt": int, "result": value}``
``step.failed``       ``{"kind": str, "attempt": int, "error": error, "retry_in": seconds or null}``; null: for good
``sleep.started``     ``{"seconds": number}``; the step completes that long after ``recorded_at``
``run.completed``     ``{"result": value}``
``run.failed``        ``{"error": error, "attempts": int}``; ``step_id`` names the step it failed in, if it was one
``run.diverged``      ``{"error": error, "recorded": …, "asked": …}``: the code no longer fits the run's history
====================  ========================================================================================

A *value* is encoded by :mod:`.codec`; an *error* is ``{"type": str, "message": str, "traceback": str}``.
"""

from __future__ import annotations

RUN_TRIGGERED = "run.triggered"
RUN_COMPLETED = "run.completed"
RUN_FAILED = "run.failed"
RUN_DIVERGED = "run.diverged"
TURN_STARTED = "turn.started"
TURN_ABANDONED = "turn.abandoned"
STEP_COMPLETED = "step.completed"
STEP_FAILED = "step.failed"
STEP_SUPERSEDED = "step.superseded"
SLEEP_STARTED = "sleep.started"
