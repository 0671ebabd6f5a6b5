"""Durable multi-step workflows for Django on an event log in PostgreSQL.

``workflow`` makes a function durable, ``Retry`` says how its steps are retried, ``on_event`` has a function called with
what is recorded, ``dispatch_workflow`` and ``trigger_github_workflow`` start GitHub Actions. Models are in
``django_hookflow.models``, errors in ``django_hookflow.exceptions``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_hookflow.registry import Workflow, workflow

if TYPE_CHECKING:
    from django_hookflow.feed.subscribers import on_event
    from django_hookflow.github import dispatch_workflow, trigger_github_workflow
    from django_hookflow.runtime.context import WorkflowContext
    from django_hookflow.runtime.retries import Retry
    from django_hookflow.runtime.step import RETRY

__version__ = "0.1.0"

__all__ = [
    "RETRY",
    "Retry",
    "Workflow",
    "WorkflowContext",
    "dispatch_workflow",
    "on_event",
    "trigger_github_workflow",
    "workflow",
]

#: Imported when first asked for: Django imports this module before its settings and apps are ready.
_LATE = {
    "RETRY": "django_hookflow.runtime.step",
    "Retry": "django_hookflow.runtime.retries",
    "WorkflowContext": "django_hookflow.runtime.context",
    "dispatch_workflow": "django_hookflow.github",
    "on_event": "django_hookflow.feed.subscribers",
    "trigger_github_workflow": "django_hookflow.github",
}


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LATE[name]), name)
