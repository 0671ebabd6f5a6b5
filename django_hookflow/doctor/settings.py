"""The area ``settings``: what the system checks say that need no database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from django.core.checks import run_checks

from django_hookflow.doctor.findings import Finding, from_checks, ok

if TYPE_CHECKING:
    from django_hookflow.doctor.visit import Visit

#: A required setting that is missing. A warning to ``check``, which also runs in builds that have no keys.
MISSING = "django_hookflow.W001"
#: What other areas say.
ELSEWHERE = {"django_hookflow.E006"}


def look_at_settings(visit: Visit) -> Iterator[Finding]:
    messages = [message for message in run_checks(tags=["django_hookflow"]) if message.id not in ELSEWHERE]
    for finding in from_checks(messages, otherwise=ok("settings.fine", "No issues.")):
        yield replace(finding, level="error") if finding.code == MISSING else finding
