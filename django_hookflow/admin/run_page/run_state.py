"""A run as its page shows it: as it is now, or as it was known at one of its events."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from uuid import UUID

from django.db.models import Q

from django_hookflow.exceptions import HookFlowException
from django_hookflow.models import Head, WorkflowRun
from django_hookflow.projections.as_of import RunAsOf, run_as_of
from django_hookflow.timeline import Present, Story, events_of, present_of, sentence_for, story_of

#: How a run that does a failed one again from the beginning is named.
RESTARTED = re.compile(r"replay-\d+-of-(?P<run_uid>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})", re.ASCII)


@dataclass(frozen=True)
class RunState:
    """``run`` is the row, or the fold up to the event ``as_of``; ``last_seq`` is how long the log is by now."""

    run: WorkflowRun | RunAsOf
    story: Story
    present: Present
    last_seq: int
    as_of: int | None
    is_archived: bool

    @property
    def until(self) -> int:
        return self.last_seq if self.as_of is None else self.as_of

    @property
    def is_living(self) -> bool:
        """Whether it will go on by itself, so that its page is worth asking for again."""
        return self.as_of is None and self.run.status in ("pending", "running", "paused", "in_doubt", "diverged")

    @property
    def sentence(self) -> str:
        return sentence_for(self.run, self.story, self.present)


def read_state(run: WorkflowRun, as_of: int | None, moment: datetime.datetime | None = None) -> RunState:
    """The state to show: now, or as of an event; at ``moment``, if that is later than the event."""
    head = Head.objects.filter(pk=run.pk).values_list("last_seq", "archived_at").first()
    last_seq, archived_at = head or (0, None)
    is_archived = archived_at is not None
    if as_of is not None and (is_archived or not 1 <= as_of <= last_seq):
        as_of = None
    if as_of is None:
        present = present_of(run.pk)
        story = story_of(events_of(run.pk), present)
        return RunState(run, story, present, story.last_seq or last_seq, None, is_archived)
    story = story_of(events_of(run.pk, as_of))
    then = moment or story.last_at
    present = Present(now=then) if then else present_of(run.pk)
    try:
        return RunState(run_as_of(run.pk, run.run_id, as_of), story, present, last_seq, as_of, is_archived)
    except (HookFlowException, ValueError):  # archived, or rolled back, in this moment
        return RunState(run, story, present, last_seq, None, is_archived)


@dataclass(frozen=True)
class Relative:
    """Another run that does, or did, what this one does; ``words`` are how the two are related."""

    words: str
    run_id: str
    run_uid: UUID | None


#: How the run that the origin of a run names is related to it, by the origin's kind.
RELATED = {"child": "Child of", "continued": "Continues"}


def relatives_of(run_id: str, story: Story) -> list[Relative]:
    """The run that this one replays, and those that replay it; the one that started it, and those before and after it."""
    origin = RESTARTED.fullmatch(run_id)
    related = [("Replayed by", name) for name in story.restarted_as[-5:]]
    if story.origin.get("kind") in RELATED and story.origin.get("run_id"):
        related.append((RELATED[story.origin["kind"]], story.origin["run_id"]))
    if story.continued_as:
        related.append(("Continued as", story.continued_as))
    if not origin and not related:
        return []
    wanted = Q(run_id__in=[name for _, name in related]) | (Q(pk=origin["run_uid"]) if origin else Q())
    found = dict(WorkflowRun.objects.filter(wanted).values_list("run_id", "pk"))
    relatives = [Relative(words, name, found.get(name)) for words, name in related]
    if origin:
        ours = [(name, pk) for name, pk in found.items() if str(pk) == origin["run_uid"]]
        relatives.insert(0, Relative("Replays", *(ours[0] if ours else (origin["run_uid"], None))))
    return relatives
