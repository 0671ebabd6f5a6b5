"""The form of a finding: its number, the problem, the way out."""

from __future__ import annotations

from django.core import checks
from django.core.checks import CheckMessage


def error(number: str, problem: str, way_out: str) -> CheckMessage:
    return checks.Error(problem, hint=way_out, id=f"django_hookflow.{number}")


def warning(number: str, problem: str, way_out: str) -> CheckMessage:
    return checks.Warning(problem, hint=way_out, id=f"django_hookflow.{number}")
