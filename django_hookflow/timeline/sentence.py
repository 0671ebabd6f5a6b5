"""One sentence: what a run is doing, and what happens next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from django_hookflow.conf import conf
from django_hookflow.durations import format_duration, format_until
from django_hookflow.events import types
from django_hookflow.timeline.reading import Present
from django_hookflow.timeline.story import Failure, Row, Segment, Story


class Run(Protocol):
    """A ``WorkflowRun``, or a run as of an event."""

    @property
    def status(self) -> str: ...


def sentence_for(run: Run, story: Story, present: Present) -> str:
    """What ``run`` is doing and what happens next, such as ``Sleeping in wait-for-payment, wakes in 41 s.``

    ``story`` has been made with ``present``. Of a past moment, ``present`` is ``Present(now=that moment)``.
    """
    sentence = BY_STATUS.get(run.status, _going)(story, present)
    if run.status in LIVING and story.deadline is not None:
        left = format_until(story.deadline, present.now)
        sentence += f"; deadline in {left}" if story.deadline > present.now else f"; deadline passed {left} ago"
    return sentence if sentence.endswith("?") else f"{sentence}."


def _completed(story: Story, present: Present) -> str:
    if story.continued_as:
        return f"Completed in {format_duration(story.seconds(present.now))}, continued as run {story.continued_as}"
    parts = [f"Completed in {format_duration(story.seconds(present.now))}", count(story.steps, "step")]
    return ", ".join([*parts, count(story.retries, "retry")] if story.retries else parts)


def _failed(story: Story, present: Present) -> str:
    failure = story.failure
    if failure is None:  # the log that was read is older than the run's status
        return "Failed"
    sentence = "Failed at its deadline" if failure.error["type"] == "RunTimedOut" else f"Failed{_where(failure)}"
    if failure.is_redacted and not failure.error["message"]:
        sentence += ", its error is redacted"
    if story.restarted_as:
        return f"{sentence}, restarted as run {story.restarted_as[-1]}"
    removed = story.mark(types.DEAD_LETTER_REMOVED)
    if removed is not None and removed.seq > failure.seq:
        return f"{sentence}, its dead letter has been removed"
    return f"{sentence}, in the dead letters"


def _where(failure: Failure) -> str:
    at = f" at {failure.step_id}" if failure.step_id else ""
    return f"{at}{_attempt(failure.attempts, failure.max_attempts)}"


def _attempt(number: int, of: int) -> str:
    """Which attempt it was, of as many as there may be if that is known."""
    return f", attempt {max(1, number)} of {of}" if of else f" after {count(max(1, number), 'attempt')}"


def _cancelled(story: Story, present: Present) -> str:
    return f"Cancelled{_by(story, types.RUN_CANCELLED)}{_still_at_work(story, present)}"


def _paused(story: Story, present: Present) -> str:
    return f"Paused{_by(story, types.RUN_PAUSED)}{_still_at_work(story, present)}; continues when it is resumed"


def _in_doubt(story: Story, present: Present) -> str:
    row = next((row for row in reversed(story.rows) if row.state == "doubted" and not row.superseded), None)
    name = row.step_id if row else "a step"
    return f"In doubt about {name}: it was started and may or may not have finished; resolve it to continue"


def _diverged(story: Story, present: Present) -> str:
    failure = story.failure
    if failure is None or not failure.recorded:
        return "Diverged: the code no longer matches the recorded steps; fix it and resume"
    if failure.asked is None:
        what = f"the code ends without asking for {failure.recorded}, which is recorded"
    elif failure.asked == failure.recorded:
        what = f"the code asks for {failure.asked} as a different kind of step than the recorded one"
    else:
        what = f"the code asks for {failure.asked} where {failure.recorded} is recorded"
    return f"Diverged: {what}; fix the code and resume, or rewind"


def _going(story: Story, present: Present) -> str:
    """Pending or running: at work, waiting for something, or for a delivery."""
    if story.turn is not None:
        return _at_work(story, present)
    life = story.life[-1] if story.life else None
    if life is None or not life.wait or (life.until is not None and life.until <= present.now):
        return _delivery(story, present)
    return BY_WAIT.get(life.wait, _waiting)(story, life, present)


def _sleeping(story: Story, life: Segment, present: Present) -> str:
    where = f" in {story.current.step_id}" if story.current is not None else ""
    return f"Sleeping{where}{_until(life, present, ', wakes in {}')}"


def _delayed(story: Story, life: Segment, present: Present) -> str:
    return f"Scheduled{_until(life, present, ', starts in {}')}"


def _backing_off(story: Story, life: Segment, present: Present) -> str:
    row, failure = story.current, story.failure
    if row is not None:
        failed = f" at {row.step_id}{_attempt(row.attempts, row.max_attempts)}"
    elif failure is not None:
        failed = f" between steps{_attempt(failure.attempts, failure.max_attempts)}"
    else:
        failed = ""
    return f"Failed{failed}{_until(life, present, '; retries in {}')}"


def _waiting(story: Story, life: Segment, present: Present) -> str:
    """For something that has no sentence of its own."""
    where = f" in {story.current.step_id}" if story.current is not None else ""
    return f"Waiting{where} for {life.awaited}{_until(life, present, ', for at most {} more')}"


def _until(life: Segment, present: Present, words: str) -> str:
    return "" if life.until is None else words.format(format_until(life.until, present.now))


def _at_work(story: Story, present: Present) -> str:
    worker = present.owner or (story.turn.worker if story.turn else "")
    on = f" on worker {worker}" if worker else ""
    doing = f"Running {_work(story)}{on}"
    if present.expires_at is None:
        return doing
    span = format_until(present.expires_at, present.now)
    if present.is_leased:
        return f"{doing}, lease expires in {span}"
    return f"{doing}, no heartbeat since its lease expired {span} ago; the next delivery takes over"


def _work(story: Story) -> str:
    """What a turn works on: a step whose attempt is recorded as begun or due, or whatever comes after the last one."""
    row = story.current
    if row is not None:
        return f"step {row.step_id} (attempt {max(1, row.attempts + (row.state == 'pending'))})"
    done = [row for row in story.rows if row.state in ("completed", "failed") and not row.superseded]
    return f"the code after step {max(done, key=_seq_of).step_id}" if done else "its first step"


def _seq_of(row: Row) -> int:
    return row.seq


def _delivery(story: Story, present: Present) -> str:
    """What it waits for is a delivery: how long it has, and what happens should none come."""
    what = "Waiting for its first delivery" if not story.turns else "Waiting for a delivery"
    if present.due_at is not None and present.due_at > present.now:
        return f"{what}, due in {format_until(present.due_at, present.now)}"
    since = present.due_at or present.announced_at or (story.life[-1].start if story.life else present.now)
    waited = max(0.0, (present.now - since).total_seconds())
    sentence = f"{what} for {format_duration(round(waited))}"
    if present.send_at is None:
        return sentence
    if present.send_at <= present.now:
        sent = f"sent {count(present.sent, 'time')} so far, " if present.sent else ""
        if waited < conf.overdue_seconds:
            return f"{sentence}; {sent}a relay sends it next"
        return f"{sentence}; overdue, {sent}and no relay has taken it: is hookflow_relay running?"
    again = "again " if present.sent else ""
    overdue = "overdue, " if waited >= conf.overdue_seconds else ""
    condition = "" if overdue else "if none comes, "
    if present.sent is not None and present.sent > 1:  # such as for a workflow that no process knows
        condition = f"sent {count(present.sent, 'time')} in vain (see the logs), "
    return f"{sentence}; {overdue}{condition}a relay sends it {again}in {format_until(present.send_at, present.now)}"


def _still_at_work(story: Story, present: Present) -> str:
    """A turn notices what was done to its run when its step is done."""
    return f"; worker {present.owner} is finishing its current step" if present.is_leased else ""


def _by(story: Story, type_: str) -> str:
    mark = story.mark(type_)
    if mark is None:
        return ""
    return (f" by {mark.actor}" if mark.actor else "") + (f": {mark.reason}" if mark.reason else "")


def count(number: int, thing: str) -> str:
    """``1 step``, ``2,000 steps``, ``2 retries``."""
    if number == 1:
        return f"1 {thing}"
    return f"{number:,} {thing[:-1]}ies" if thing.endswith("ry") else f"{number:,} {thing}s"


#: The statuses in which a deadline still counts.
LIVING = ("pending", "running", "paused", "in_doubt", "diverged")

BY_STATUS: dict[str, Callable[[Story, Present], str]] = {
    "pending": _going,
    "running": _going,
    "completed": _completed,
    "failed": _failed,
    "cancelled": _cancelled,
    "paused": _paused,
    "in_doubt": _in_doubt,
    "diverged": _diverged,
}
#: Of a run that goes on by itself; what it otherwise waits for, somebody has to end, and is its status.
BY_WAIT: dict[str, Callable[[Story, Segment, Present], str]] = {
    types.SLEEP: _sleeping,
    types.BACKOFF: _backing_off,
    types.START: _delayed,
}
