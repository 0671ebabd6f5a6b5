"""The story of a run, as people look at it: what it did, where the time went, what failed, what happens next.

:mod:`.reading` fetches a run's events, cut to what a story needs, and what is going on at present. :mod:`.folding` folds
the events into a :class:`~.story.DemoStory`: rows of segments, one row a step, and the run's life without a gap
(:mod:`.life`). :mod:`.sentence` puts in words what the run is doing, :mod:`.detail` what one event holds; :mod:`.scale` is
where a moment is drawn, long idle stretches collapsed; :mod:`.terminal` draws it all for ``manage.py hookflow_timeline``.
The admin's run page draws the same story.

Everything here reads. What a story holds is in the log; only the present moment comes from outside.
"""

from django_hookflow.timeline.folding import story_of
from django_hookflow.timeline.reading import Present, events_of, present_of
from django_hookflow.timeline.sentence import sentence_for
from django_hookflow.timeline.story import Mark, Row, Segment, Story, TurnSpan

__all__ = [
    "Mark",
    "Present",
    "Row",
    "Segment",
    "Story",
    "TurnSpan",
    "events_of",
    "present_of",
    "sentence_for",
    "story_of",
]
