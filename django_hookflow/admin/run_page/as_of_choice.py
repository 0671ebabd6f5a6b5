"""What of its past the page of a run is asked for: ``?as_of=`` an event or a time.

``4`` and ``#4`` are events. ``14:03`` is today; ``2026-11-29``, ``2026-11-29T14:03:05`` and the like are times, too, in the
current time zone unless they name one: ``14:03Z``, ``14:03+02:00``, ``14:03 Europe/Berlin``. Whatever else is asked for is
answered with why it cannot be shown, and never with the present.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from django.utils import timezone
from django.utils.dateparse import parse_date, parse_time

from django_hookflow.admin.run_page.event_log import number
from django_hookflow.events.database import cursor, database_now
from django_hookflow.exceptions import HookFlowException
from django_hookflow.models import Head
from django_hookflow.projections.as_of import NotTriggeredYet, seq_at
from django_hookflow.sql import load

if TYPE_CHECKING:
    from django_hookflow.models import WorkflowRun

#: Characters of an address that are looked at, and events of which the slider knows the time.
MAX_LENGTH = 80
MAX_TIMES = 200

TIME = re.compile(
    r"(?:(?P<date>\d{4}-\d\d?-\d\d?)(?:[T ]+|(?=$)))?(?P<time>\d\d?:\d\d(?::\d\d(?:[.,]\d{1,6})?)?)?\s*(?P<zone>\S{1,60})?",
    re.ASCII | re.IGNORECASE,
)
#: A plus sign that is not quoted in an address arrives as a space.
OFFSET = re.compile(r"(?P<sign>[+-]?)(?P<hours>\d\d)(?::?(?P<minutes>[0-5]\d))?", re.ASCII)


@dataclass(frozen=True)
class AsOf:
    """``seq`` is the event to show the run as of, None for the present; ``moment`` is the time that was asked for, if one was.

    ``problem`` says why what was asked for cannot be shown.
    """

    seq: int | None = None
    moment: datetime.datetime | None = None
    problem: str = ""


def choose(run: WorkflowRun, text: str) -> AsOf:
    """What of the run's past ``text`` asks for."""
    text = text.strip()
    if not text:
        return AsOf()
    last_seq, archived_at = Head.objects.filter(pk=run.pk).values_list("last_seq", "archived_at").first() or (0, None)
    if archived_at is not None:
        return AsOf(problem="The events of this run are in an archive, so its past cannot be shown here.")
    seq = number(text)
    if seq is None:
        return _choose_time(run, text)
    if 1 <= seq <= last_seq:
        return AsOf(seq if seq < last_seq else None)
    return AsOf(problem=f"There is no event #{seq}: this run has {last_seq:,} event{'' if last_seq == 1 else 's'}.")


def _choose_time(run: WorkflowRun, text: str) -> AsOf:
    now = database_now()
    moment = read_time(text, now)
    if moment is None:
        return AsOf(
            problem=f"“{text[:MAX_LENGTH]}” is neither an event nor a time. Write an event as 4, a time as 14:03 (today), "
            "2026-11-29 14:03, or with its zone 2026-11-29T14:03+02:00."
        )
    if moment > now:
        return AsOf(problem=f"{shown(moment)} is in the future.")
    try:
        return AsOf(seq_at(run.pk, run.run_id, moment), moment)
    except NotTriggeredYet:
        return AsOf(problem=f"At {shown(moment)} this run had not started. It started at {shown(run.created_at)}.")
    except HookFlowException as error:  # archived in this moment
        return AsOf(problem=f"{str(error)[:1].upper()}{str(error)[1:]}.")


def read_time(text: str, now: datetime.datetime) -> datetime.datetime | None:
    """The moment that a text names; None if it names none."""
    found = TIME.fullmatch(text[: MAX_LENGTH + 1])
    if found is None or not (found["date"] or found["time"]):
        return None
    try:
        zone = read_zone(found["zone"])
        date = parse_date(found["date"]) if found["date"] else now.astimezone(zone).date()
        time = parse_time(found["time"]) if found["time"] else datetime.time()
        if date is None or time is None:
            return None
        if not datetime.MINYEAR < date.year < datetime.MAXYEAR:  # so that it is a moment in every zone
            return None
        return datetime.datetime.combine(date, time, zone).astimezone(datetime.timezone.utc)
    except (ValueError, OverflowError, OSError):
        return None


def read_zone(text: str | None) -> datetime.tzinfo:
    """The zone that a text names. Raises ValueError, or an error that ZoneInfo raises for what is no name of a file."""
    if text is None:
        return timezone.get_current_timezone()
    if text.upper() in ("Z", "UTC", "GMT"):
        return datetime.timezone.utc
    if offset := OFFSET.fullmatch(text):
        ahead = datetime.timedelta(hours=int(offset["hours"]), minutes=int(offset["minutes"] or 0))
        return datetime.timezone(-ahead if offset["sign"] == "-" else ahead)
    try:
        return ZoneInfo(text)
    except LookupError as error:
        raise ValueError(text) from error


def shown(moment: datetime.datetime) -> str:
    """A moment as the pages write it."""
    return f"{timezone.localtime(moment):%Y-%m-%d %H:%M:%S %Z}"


def times_of_events(run: WorkflowRun, last_seq: int) -> list[tuple[int, str]]:
    """When events were recorded, for the slider: of a long log, each so many."""
    step = max(1, -(-last_seq // MAX_TIMES))
    with cursor() as c:
        c.execute(load("page_times"), {"run_uid": run.pk, "step": step})
        rows = [(seq, timezone.localtime(at)) for seq, at in c.fetchall()]
    days = {at.date() for _, at in rows}
    written = "%H:%M:%S" if len(days) < 2 else "%m-%d %H:%M:%S"
    return [(seq, at.strftime(written)) for seq, at in rows]
