"""Failures by cause: what the fingerprint that each failure records says is the same one.

The newest :data:`SAMPLE` failures are looked at, for so many seconds; where there are more, the page says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from django.core.exceptions import EmptyResultSet
from django.utils.html import format_html

from django_hookflow.admin.bounded import TookTooLong, at_most
from django_hookflow.admin.counts import compile_query
from django_hookflow.admin.failures.errors import show_error
from django_hookflow.durations import format_duration
from django_hookflow.models import DeadLetterEntry
from django_hookflow.sql import load

if TYPE_CHECKING:
    import datetime
    from collections.abc import Sequence

    from django.db.models import QuerySet
    from django.utils.safestring import SafeString

#: The address of the list of a cause's failures and of what replays them ("" for who may not), by the search for them.
Links = Callable[[str], tuple[str, str]]

SAMPLE = 10_000
SECONDS = 3.0
#: Causes that are shown, the most frequent first; parts of the time; and how large each bar may be.
SHOWN, PARTS, HEIGHT, WIDTH, STEP = 5, 24, 20, 3, 4


@dataclass(frozen=True)
class Cause:
    """``term`` is the search that finds its failures, ``url`` the list of them, ``replay_url`` what replays them."""

    term: str
    error: SafeString
    step_id: str
    count: int
    first: datetime.datetime
    last: datetime.datetime
    spark: SafeString
    url: str
    replay_url: str

    @property
    def count_shown(self) -> str:
        return f"{self.count:,}"


@dataclass(frozen=True)
class Causes:
    """``number`` is of all causes, of which the first are ``shown``; ``failures`` of all failures looked at."""

    shown: list[Cause]
    number: int = 0
    failures: int = 0
    since: datetime.datetime | None = None
    is_sample: bool = False
    was_given_up: bool = False

    @property
    def failures_shown(self) -> str:
        return f"{self.failures:,} failure{'' if self.failures == 1 else 's'}"

    @property
    def number_shown(self) -> str:
        return f"{self.number:,} cause{'' if self.number == 1 else 's'}"

    @property
    def offers_replay(self) -> bool:
        return any(cause.replay_url for cause in self.shown)

    @property
    def left_out(self) -> int:
        return self.number - len(self.shown)


def find_causes(
    entries: QuerySet[DeadLetterEntry],
    since: datetime.datetime | None,
    until: datetime.datetime,
    *,
    sees_messages: bool,
    links: Links,
) -> Causes:
    """The causes of these dead letters, from the one that is the most frequent."""
    columns = ("id", "fingerprint", "error_type", "created_at")
    try:
        sample, parameters = compile_query(entries.order_by("-created_at").values_list(*columns)[:SAMPLE])
    except EmptyResultSet:
        return Causes([])
    try:
        with at_most(SECONDS, entries.db) as cursor:
            cursor.execute(load("list_causes").replace("{sample}", sample), [*parameters, until, since])
            rows: list[Any] = cursor.fetchall()
    except TookTooLong:
        return Causes([], was_given_up=True)
    return _collect(rows, entries.db, links, sees_messages=sees_messages)


def _collect(rows: Sequence[Any], using: str, links: Links, *, sees_messages: bool) -> Causes:
    groups = [list(group) for _, group in groupby(rows, key=lambda row: row[:2])]
    groups.sort(key=lambda group: (-sum(row[3] for row in group), group[0][:2]))
    newest = [max(row[6] for row in group) for group in groups[:SHOWN]]
    fields = ("error_type", "error_message", "step_id")
    examples = {entry.pk: entry for entry in DeadLetterEntry.objects.using(using).filter(pk__in=newest).only(*fields)}
    shown = [
        _cause(group, examples[key], links, sees_messages=sees_messages)
        for group, key in zip(groups, newest, strict=False)
        if key in examples
    ]
    failures = sum(row[3] for row in rows)
    since = rows[0][7] if rows else None
    return Causes(shown, len(groups), failures, since, is_sample=failures >= SAMPLE)


def _cause(group: Sequence[Any], example: DeadLetterEntry, links: Links, *, sees_messages: bool) -> Cause:
    fingerprint, error_type, *_ = group[0]
    term = f"cause:{fingerprint}" if fingerprint else f"error:{error_type}"
    url, replay_url = links(term)
    return Cause(
        term=term,
        error=show_error(error_type, example.error_message if sees_messages else None),
        step_id=example.step_id,
        count=sum(row[3] for row in group),
        first=min(row[4] for row in group),
        last=max(row[5] for row in group),
        spark=_draw({row[2]: row[3] for row in group}, group[0][8] - group[0][7]),
        url=url,
        replay_url=replay_url,
    )


def _draw(counts: dict[int, int], span: datetime.timedelta) -> SafeString:
    """A bar for each part of the time in which there were failures, the highest for the most."""
    most = max(counts.values())
    bars = ((part * STEP, max(2, round(HEIGHT * number / most))) for part, number in counts.items())
    path = "".join(f"M{x} {HEIGHT}v-{height}h{WIDTH}v{height}z" for x, height in bars)
    width = PARTS * STEP - (STEP - WIDTH)
    whole, part = (format_duration(round(seconds)) for seconds in (span.total_seconds(), span.total_seconds() / PARTS))
    words = f"Over {whole}, at most {most:,} in {part}"
    return format_html(
        '<svg class="hookflow-spark" role="img" width="{0}" height="{1}" viewBox="0 0 {0} {1}"><title>{2}</title>'
        '<path class="hookflow-spark-ground" d="M0 {1}h{0}"/><path class="hookflow-spark-failed" d="{3}"/></svg>',
        *(width, HEIGHT, words, path),
    )
