"""Dates, times and numbers of the command line."""

from __future__ import annotations

import datetime

from django.utils import timezone
from django.utils.dateparse import parse_datetime


def parse_moment(text: str) -> datetime.datetime | None:
    """A date or a time, in the project's time zone unless it names another; None for what is none, or none in UTC."""
    try:
        moment = parse_datetime(text) or parse_datetime(f"{text}T00:00")
        if moment is None:
            return None
        aware = timezone.make_aware(moment) if timezone.is_naive(moment) else moment
        aware.astimezone(datetime.timezone.utc)  # PostgreSQL's answers are read in UTC
    except (ValueError, OverflowError):
        return None
    return aware


def parse_number(text: str) -> int | None:
    """A number from 0 on; None for what is none, or has more digits than Python reads."""
    try:
        return int(text) if text.isdecimal() else None
    except ValueError:
        return None
