"""The types of events and what their payloads hold. Names are past tense; payloads are JSON objects.

======================  ====================================================================================
``run.triggered``       ``{"run_id": str, "workflow_id": str, "data": value, "label": str or absent}``; always seq 1
``turn.started``        ``{"worker": str, "transport": str, …}``: a delivery has begun to work on the run
``turn.abandoned``      ``{"turn_seq": int}``: the turn that started there ended without a word, its lease ran out
``turn.failed``         ``{"attempt": int, "error": error, "retry_in": seconds}``: the workflow raised between steps
``step.intended``       ``{"kind": str, "attempt": int}``: the step is about to do what is not to be repeated blindly
``step.completed``      ``{"kind": str, "attempt": int, "result": value}``
``step.failed``         ``{"kind": str, "attempt": int, "error": error, "retry_in": seconds or null}``; null: for good.
                        With ``"announced": false`` the next attempt is not announced: an operator had spoken meanwhile
``step.doubted``        ``{"kind": str, "attempt": int}``: intended, and nobody knows what came of it
``step.resolved``       ``{"reason": str}``: an operator has said what came of it; its completion follows
``step.superseded``     no payload: what is recorded of the step counts no longer
``sleep.started``       ``{"seconds": number}``; the step completes that long after ``recorded_at``
``run.completed``       ``{"result": value}``
``run.failed``          ``{"error": error, "attempts": int}``; ``step_id`` names the step it failed in, if it was one
``run.diverged``        ``{"error": error, "recorded": …, "asked": …}``: the code no longer fits the run's history
``run.cancelled``       ``{"reason": str}``, as have the others an operator causes
``run.paused``          as above
``run.resumed``         ``{"reason": str, "seconds": number or null}``: how long it still sleeps
``run.woken``           ``{"reason": str, "seconds": number}``: a sleep, or the wait for the next attempt, ends here and not so
                        many seconds later
``run.replayed``        ``{"reason": str, "failed_seq": int}``: the failure at that seq is tried again
``run.replay_repeated`` the same, asked for once more; without effect
``run.restarted``       ``{"reason": str, "failed_seq": int, "run_id": str}``: a new run does it from the beginning
``run.rewound``         ``{"reason": str, "failed_seq": int or absent}``; ``step_id`` names the step that runs again first
``run.rebuilt``         ``{"reason": str, "repaired": int}``: its projections were folded again, so many rows had not been right
``dead_letter.removed`` ``{"failed_seq": int}``: the dead letter of that failure was old and has been removed
``event.redacted``      ``{"seq": int, "path": [str] or null, "reason": str}``: the payload of that event, or what stood at the
                        path in it, has been removed for good
``event.retained``      ``{"seq": int, "payload": object}``: what was kept of it
======================  ====================================================================================

A *value* is encoded by :mod:`.codec`; an *error* is ``{"type": str, "message": str, "traceback": str}``.
"""

from __future__ import annotations

RUN_TRIGGERED = "run.triggered"
RUN_COMPLETED = "run.completed"
RUN_FAILED = "run.failed"
RUN_DIVERGED = "run.diverged"
RUN_REPLAYED = "run.replayed"
RUN_RESTARTED = "run.restarted"
RUN_WOKEN = "run.woken"
RUN_REBUILT = "run.rebuilt"
TURN_STARTED = "turn.started"
TURN_ABANDONED = "turn.abandoned"
TURN_FAILED = "turn.failed"
STEP_INTENDED = "step.intended"
STEP_COMPLETED = "step.completed"
STEP_FAILED = "step.failed"
STEP_DOUBTED = "step.doubted"
STEP_RESOLVED = "step.resolved"
STEP_SUPERSEDED = "step.superseded"
SLEEP_STARTED = "sleep.started"
