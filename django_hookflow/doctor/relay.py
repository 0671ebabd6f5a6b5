"""The area ``relay``: whether what is announced in the outbox is sent, and whether what is sent begins."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from django_hookflow.conf import conf
from django_hookflow.doctor.findings import Finding, error, ok, warning
from django_hookflow.events.database import cursor
from django_hookflow.sql import load

if TYPE_CHECKING:
    from django_hookflow.doctor.visit import Visit

#: Of the outbox, so many rows are looked at, those first that are to be sent next.
MOST = 1_000
#: A relay that runs looks at least once in a few seconds.
LATE_SECONDS = 60.0
#: Sent so often, a message would have begun its turn.
MANY_ATTEMPTS = 5
START = (
    "Keep manage.py hookflow_relay running (with QStash, hookflow_relay --once from cron is enough) and check its log."
)


class Outstanding(NamedTuple):
    """A row of the outbox whose turn nobody works on: how long ago, in seconds, it was to be sent, and was due."""

    run_id: str
    to_be_sent: float
    due: float
    attempts: int


def look_at_relay(visit: Visit) -> Iterator[Finding]:
    with cursor() as c:
        c.execute(load("doctor_announced"), {"most": MOST})
        announced = [Outstanding(*row) for row in c.fetchall()]
    late = [row for row in announced if row.to_be_sent > patience()]
    yield _describe_late(late) if late else ok("relay.in_time", "No message in the outbox is overdue.")
    vain = [row for row in announced if row not in late and _is_vain(row)]
    if vain:
        yield _describe_vain(vain)


def patience() -> float:
    """Seconds after which what is due and not taken says that no relay works."""
    # With QStash the relay is the sweeper, and may be one pass every few minutes.
    return max(LATE_SECONDS, conf.overdue_seconds) if conf.transport == "qstash" else LATE_SECONDS


def _is_vain(row: Outstanding) -> bool:
    # One announcement that was lost is what the second is for.
    return row.attempts >= MANY_ATTEMPTS or (row.attempts > 1 and row.due > 2 * conf.overdue_seconds)


def _describe_late(late: list[Outstanding]) -> Finding:
    seen = (
        f"No relay is sending: {_count(late)} overdue, the oldest by {late[0].to_be_sent:,.0f} s (run "
        f"{late[0].run_id})."
    )
    if late[0].to_be_sent > conf.overdue_seconds:
        return error("relay.late", seen, START)
    return warning("relay.late", seen, START)


def _describe_vain(vain: list[Outstanding]) -> Finding:
    row = max(vain, key=lambda row: row.due)
    return warning(
        "relay.in_vain",
        f"{_count(vain)} sent repeatedly, but no turn has started. Example: run {row.run_id}, sent {row.attempts} "
        f"times, due {row.due:,.0f} s ago.",
        "See the address area, and the logs of the relay (django_hookflow.delivery) and the web processes "
        "(django_hookflow.webhook), for why deliveries are rejected. The workflow may have been removed from the "
        "code.",
    )


def _count(rows: list[Outstanding]) -> str:
    if len(rows) == 1:
        return "1 message"
    return f"{len(rows):,} messages" if len(rows) < MOST else f"{MOST:,} or more messages"
