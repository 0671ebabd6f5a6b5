"""One sentence: what a run is doing, and what happens next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from django_hookflow.conf import conf
from django_hookflow.timeline.reading import Present
from django_hookflow.timeline.story import Row, Story
from django_hookflow.timeline.words import count, in_words, until_in_words


class Run(Protocol):
    """A ``WorkflowRun``, or a run as of an event."""

    @property
    def status(self) -> str: ...


def say(run: Run, story: Story, present: Present) -> str:
    """What ``run`` is doing and what happens next, such as ``Sleeping in wait-for-payment, wakes in 41 s.``

    ``story`` has been told with ``present``. Of a past moment, ``present`` is ``Present(now=that moment)``.
    """
    said = _SAID.get(run.status, _say_going)(story, present)
    if run.status in ("pending", "running", "paused") and present.deadline is not None:
        left = until_in_words(present.deadline, present.now)
        said += f"; its time is up in {left}" if present.deadline > present.now else f"; its time was up {left} ago"
    return said if said.endswith("?") else f"{said}."


def _say_completed(story: Story, present: Present) -> str:
    told = [f"Completed in {in_words(story.seconds(present.now))}", count(story.steps, "step")]
    return ", ".join([*told, count(story.retries, "retry")] if story.retries else told)


def _say_failed(story: Story, present: Present) -> str:
    failure = story.failure
    if failure is None:  # told from a log that is older than the run it is told of
        return "Failed"
    attempts = max(1, failure.attempts)
    where = f" at {failure.step_id}" if failure.step_id else ""
    told = f"Failed{where}, attempt {attempts} of {attempts}"
    if failure.error is None:
        told += ", its error is redacted"
    if story.restarted_as:
        return f"{told}, started again as run {story.restarted_as[-1]}"
    removed = story.mark("dead_letter.removed")
    if removed is not None and removed.seq > failure.seq:
        return f"{told}, its dead letter has been removed"
    return f"{told}, in the dead letters"


def _say_cancelled(story: Story, present: Present) -> str:
    return f"Cancelled{_by(story, 'run.cancelled')}{_still_at_work(story, present)}"


def _say_paused(story: Story, present: Present) -> str:
    return f"Paused{_by(story, 'run.paused')}{_still_at_work(story, present)}; goes on when it is resumed"


def _say_in_doubt(story: Story, present: Present) -> str:
    row = next((row for row in reversed(story.rows) if row.state == "doubted" and not row.superseded), None)
    name = row.step_id if row else "a step"
    return f"In doubt about {name}: it had begun, and nobody knows what came of it; resolve it to have the run go on"


def _say_diverged(story: Story, present: Present) -> str:
    failure = story.failure
    if failure is None or not failure.recorded:
        return "Diverged: the code no longer fits what is recorded; put it right and resume"
    if failure.asked is None:
        what = f"the code ends without asking for {failure.recorded}, which is recorded"
    elif failure.asked == failure.recorded:
        what = f"the code asks for {failure.asked} as another kind of step than is recorded"
    else:
        what = f"the code asks for {failure.asked} where {failure.recorded} is recorded"
    return f"Diverged: {what}; put the code right and resume, or rewind"


def _say_going(story: Story, present: Present) -> str:
    """Pending or running: at work, at rest until a time, or waiting for a delivery."""
    if story.turn is not None:
        return _say_at_work(story, present)
    life = story.life[-1] if story.life else None
    if life is None or life.until is None or life.until <= present.now:
        return _say_waiting(story, present)
    left = until_in_words(life.until, present.now)
    if life.kind == "sleeping" and story.current is not None:
        return f"Sleeping in {story.current.step_id}, wakes in {left}"
    if story.current is not None:
        return f"Failed at {story.current.step_id}, attempt {life.attempt}; tries again in {left}"
    if story.failure is not None:
        return f"Failed between steps, attempt {max(1, life.attempt)}; tries again in {left}"
    return f"Resumed, goes on in {left}"


def _say_at_work(story: Story, present: Present) -> str:
    worker = present.owner or (story.turn.worker if story.turn else "")
    on = f" on worker {worker}" if worker else ""
    doing = f"Running {_what(story)}{on}"
    if present.expires_at is None:
        return doing
    span = until_in_words(present.expires_at, present.now)
    if present.is_leased:
        return f"{doing}, lease for another {span}"
    return f"{doing}, not heard of since its lease ran out {span} ago; the next delivery takes the run over"


def _what(story: Story) -> str:
    """What a turn works on: a step it has said it is about to do, or whatever comes after the last one."""
    if story.current is not None:
        return f"step {story.current.step_id} (attempt {max(1, story.current.attempts)})"
    done = [row for row in story.rows if row.state in ("completed", "failed") and not row.superseded]
    return f"what comes after step {max(done, key=_seq_of).step_id}" if done else "its first step"


def _seq_of(row: Row) -> int:
    return row.seq


def _say_waiting(story: Story, present: Present) -> str:
    """For a delivery: how long, and what happens should none come."""
    since = present.due_at or (story.life[-1].start if story.life else present.now)
    what = "Waiting for its first delivery" if not story.turns else "Waiting for a delivery"
    if since > present.now:
        return f"{what}, due in {until_in_words(since, present.now)}"
    waited = (present.now - since).total_seconds()
    told = f"{what} since {in_words(round(waited))}"
    if present.send_at is None:
        return told
    if present.send_at <= present.now:
        sent = f"sent {count(present.sent, 'time')} so far, " if present.sent else ""
        if waited < conf.overdue_seconds:
            return f"{told}; {sent}a relay sends it next"
        return f"{told}; overdue, {sent}and no relay has taken it: is hookflow_relay running?"
    again = "again " if present.sent else ""
    overdue = "overdue, " if waited >= conf.overdue_seconds else ""
    condition = "" if overdue else "if none comes, "
    return f"{told}; {overdue}{condition}a relay sends it {again}in {until_in_words(present.send_at, present.now)}"


def _still_at_work(story: Story, present: Present) -> str:
    """A turn hears of an operator when its step is done."""
    if not present.is_leased:
        return ""
    return f"; worker {present.owner} finishes the step it is in"


def _by(story: Story, type_: str) -> str:
    mark = story.mark(type_)
    if mark is None:
        return ""
    return (f" by {mark.actor}" if mark.actor else "") + (f": {mark.reason}" if mark.reason else "")


_SAID: dict[str, Callable[[Story, Present], str]] = {
    "completed": _say_completed,
    "failed": _say_failed,
    "cancelled": _say_cancelled,
    "paused": _say_paused,
    "in_doubt": _say_in_doubt,
    "diverged": _say_diverged,
}
