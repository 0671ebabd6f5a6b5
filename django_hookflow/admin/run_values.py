"""What the page of a run shows of its values: its data and result, what steps returned, and the error it stands at.

Values are cut in the database, and are not read at all for people who may not see payloads.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from django_hookflow.admin.display import Shown, show_text
from django_hookflow.admin.event_log import MAX_SHOWN
from django_hookflow.events.database import cursor
from django_hookflow.sql import load
from django_hookflow.timeline.errors import innermost_own_frame
from django_hookflow.timeline.story import Failure, Story


@dataclass(frozen=True)
class Value:
    """A value as far as it is shown; None if there is none. Of what has been redacted, what was kept is shown."""

    shown: Shown | None
    is_redacted: bool = False


@dataclass(frozen=True)
class ShownFailure:
    """The error of a run, as its page begins with it. ``is_final`` is false while the run is going to try again.

    ``attempts`` is 0 for a divergence: nothing was tried.
    """

    seq: int
    step_id: str | None
    error: dict[str, str] | None
    attempts: int
    is_final: bool
    frame: str | None


def values_of(run_uid: UUID, until: int, *, is_completed: bool) -> tuple[Value, Value]:
    """What the run was started with, and what it returned."""
    with cursor() as c:
        parameters = {"run_uid": run_uid, "until": until, "is_completed": is_completed, "shown": MAX_SHOWN}
        c.execute(load("page_values"), parameters)
        row = c.fetchone()
    if row is None:
        return Value(None), Value(None)
    data, data_size, data_is_redacted, result, result_size, result_is_redacted = row
    return (
        Value(show_text(data, data_size, MAX_SHOWN), data_is_redacted),
        Value(show_text(result, result_size, MAX_SHOWN), result_is_redacted),
    )


def results_of(run_uid: UUID, seqs: Iterable[int]) -> dict[int, Value]:
    """What the steps returned whose completion stands at ``seqs``, by seq."""
    with cursor() as c:
        c.execute(load("page_results"), {"run_uid": run_uid, "seqs": list(seqs), "shown": MAX_SHOWN})
        return {
            seq: Value(show_text(text, size, MAX_SHOWN), is_redacted) for seq, is_redacted, text, size in c.fetchall()
        }


def failure_of(story: Story) -> ShownFailure | None:
    """The error at which the run stands, or that of the attempt it is going to make again."""
    told = story.failure
    if told is not None:
        is_final = told.type in ("run.failed", "run.diverged")
        attempts = 0 if told.type == "run.diverged" else max(1, told.attempts)
        error = own_error(story, told)
        return ShownFailure(told.seq, told.step_id, error, attempts, is_final, frame_of(error))
    row = story.current
    if row is None or row.error is None or row.state not in ("backoff", "running", "pending"):
        return None
    failed = [segment for segment in row.segments if segment.outcome == "failed"]
    seq = failed[-1].seq if failed else row.seq
    return ShownFailure(seq, row.step_id, row.error, max(1, len(failed)), False, frame_of(row.error))


def own_error(story: Story, told: Failure) -> dict[str, str] | None:
    """The error of the step that a run failed in, where it has one: the run's has its class, and says more around it."""
    row = story.row(told.step_id) if told.type == "run.failed" and told.error else None
    return row.error if row is not None and row.error and row.state == "failed" else told.error


def frame_of(error: dict[str, str] | None) -> str | None:
    return innermost_own_frame(error["traceback"]) if error and error.get("traceback") else None
