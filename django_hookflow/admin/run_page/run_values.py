"""What the page of a run shows of its values: its data and result, what steps returned, and the error it stands at.

Values are cut in the database, and are not read at all for people who may not see payloads.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from django_hookflow.admin.display import Shown, show_text
from django_hookflow.admin.run_page.event_log import MAX_SHOWN
from django_hookflow.events.database import cursor
from django_hookflow.events.types import RUN_DIVERGED, RUN_FAILED
from django_hookflow.sql import load
from django_hookflow.timeline.errors import innermost_own_frame
from django_hookflow.timeline.story import Failure, Story

#: Of the message of an error, characters and lines up to which all of it is shown at once.
MAX_MESSAGE, MAX_LINES = 400, 6


@dataclass(frozen=True)
class Value:
    """A value as far as it is shown; None if there is none. Of what has been redacted, what was kept is shown."""

    shown: Shown | None
    is_redacted: bool = False


@dataclass(frozen=True)
class ShownFailure:
    """The error of a run, as its page begins with it. ``is_final`` is false while the run is going to try again.

    ``attempts`` is 0 for a divergence: nothing was tried. ``is_redacted``: what is missing has been removed.
    """

    seq: int
    step_id: str | None
    error: dict[str, str]
    attempts: int
    is_final: bool
    is_redacted: bool

    @property
    def is_long(self) -> bool:
        """Whether the message is shown by its beginning, to be unfolded."""
        message = self.error["message"]
        return len(message) > MAX_MESSAGE or message.count("\n") > MAX_LINES

    @property
    def frame(self) -> str | None:
        """Where in the project's code it came from."""
        return innermost_own_frame(self.error["traceback"])


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
    failure = story.failure
    if failure is not None:
        is_final = failure.type in (RUN_FAILED, RUN_DIVERGED)
        attempts = 0 if failure.type == RUN_DIVERGED else max(1, failure.attempts)
        error, is_redacted = own_error(story, failure), failure.is_redacted
        return ShownFailure(failure.seq, failure.step_id, error, attempts, is_final, is_redacted)
    row = story.current
    if row is None or row.error is None or row.state not in ("backoff", "running", "pending"):
        return None
    failed = [segment for segment in row.segments if segment.outcome == "failed"]
    seq = failed[-1].seq if failed else row.seq
    return ShownFailure(seq, row.step_id, row.error, max(1, len(failed)), is_final=False, is_redacted=False)


def own_error(story: Story, failure: Failure) -> dict[str, str]:
    """The error of the step that a run failed in, where it has one: the run's has its class, and more around it."""
    row = story.row(failure.step_id) if failure.type == RUN_FAILED and not failure.is_redacted else None
    return row.error if row is not None and row.error and row.state == "failed" else failure.error
