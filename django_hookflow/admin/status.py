"""A run's status as pages show it: a word, in a shape and a colour of its own. The style sheet adds both."""

from __future__ import annotations

from typing import Protocol

from django.utils.html import format_html

from django_hookflow.models import WorkflowRunStatus

LABELS = dict(WorkflowRunStatus.choices)


class Standing(Protocol):
    """A ``WorkflowRun``, or a run as of an event."""

    @property
    def status(self) -> str: ...


def status_badge(run: Standing) -> str:
    label = LABELS.get(run.status, run.status)
    return format_html('<span class="hookflow-status hookflow-{}">{}</span>', run.status, label)
