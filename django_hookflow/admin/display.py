"""Values as pages show them: JSON indented, long texts cut.

What is cut is cut in the database, so that a result of a megabyte is not fetched to show its beginning.
"""

from __future__ import annotations

import datetime
import json
from dataclasses import dataclass
from typing import Any

from django.db.models import TextField
from django.db.models.functions import Cast, Left, Length
from django.utils import timezone
from django.utils.functional import lazy
from django.utils.html import escape, format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

#: Characters of one value that a page shows, and up to which it is shown without being unfolded.
MAX_SHOWN = 4_000
MAX_INLINE = 80
#: Characters of a traceback that a page shows, from its end, where the error is.
MAX_TRACEBACK = 20_000


@dataclass(frozen=True)
class Shown:
    """A JSON value as text: all of it, indented, or its beginning. ``size`` is how many characters it has."""

    text: str
    size: int
    limit: int = MAX_SHOWN

    @property
    def is_cut(self) -> bool:
        return self.size > self.limit

    @property
    def is_short(self) -> bool:
        return len(self.text) <= MAX_INLINE and "\n" not in self.text

    @property
    def summary(self) -> str:
        """One line of what unfolding will show."""
        line = " ".join(self.text[: 2 * MAX_INLINE].split())
        return f"{line[:MAX_INLINE]} …"


def shown_columns(field: str) -> dict[str, Any]:
    """Annotations from which :func:`show_row` makes a :class:`Shown` of a JSON field."""
    text = Cast(field, TextField())
    return {f"{field}_text": Left(text, MAX_SHOWN), f"{field}_size": Length(text)}


def show_text(text: str | None, size: int | None, limit: int) -> Shown | None:
    """A JSON value that has been cut to ``limit`` characters; None if there is none."""
    if text is None or size is None:
        return None
    return Shown(text if size > limit else indent_json(text), size, limit)


def show_row(row: dict[str, Any], field: str) -> Shown | None:
    """The value of a JSON field of a row that has :func:`shown_columns`; None if it is null."""
    return show_text(row[f"{field}_text"], row[f"{field}_size"], MAX_SHOWN)


def indent_json(text: str) -> str:
    """JSON as people read it: indented where it is long; a text that is none, or none we can read, as it is."""
    if len(text) <= MAX_INLINE and "\n" not in text:
        return text
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text


def cut_traceback(text: str) -> str:
    """The end of a traceback that is too long to show."""
    if len(text) <= MAX_TRACEBACK:
        return text
    return f"… {len(text) - MAX_TRACEBACK:,} characters cut …\n{text[-MAX_TRACEBACK:]}"


def breakable(name: str) -> SafeString:
    """A dotted name that a narrow column breaks after a dot, an underscore or a hyphen, and not within a word."""
    text = str(escape(name))
    for sign in "._-":
        text = text.replace(sign, f"{sign}<wbr>")
    return mark_safe(text)  # noqa: S308 # escaped above


def shown_time(moment: datetime.datetime, today: str = "") -> SafeString:
    """``today`` is how a moment of this day is written, where that is shorter. The zone stands above the column."""
    local = timezone.localtime(moment)
    written = today if today and local.date() == timezone.localdate() else "%Y-%m-%d %H:%M:%S"
    parts = ((part,) for part in local.strftime(written).split(" "))  # a narrow column breaks between them alone
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        *(local.isoformat(), local.strftime("%Y-%m-%d %H:%M:%S.%f %Z")),
        format_html_join(" ", '<span class="hookflow-unbroken">{}</span>', parts),
    )


def _zoned(title: str) -> str:
    return f"{title} ({timezone.localtime():%Z})"


#: The title of a column of times, with the zone that they are in, which may be another one with every request.
in_this_zone = lazy(_zoned, str)
