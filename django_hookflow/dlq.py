"""Where users import the dead letters from: ``from django_hookflow.dlq import DeadLetterEntry``."""

from __future__ import annotations

from django_hookflow.models import DeadLetterEntry

__all__ = ["DeadLetterEntry"]
