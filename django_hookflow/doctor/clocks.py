"""The area ``clocks``: whether this process, the database and QStash agree on what time it is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from django_hookflow.conf import conf
from django_hookflow.delivery.signature import LIFETIME_SECONDS
from django_hookflow.doctor.findings import Finding, error, info, ok, warning
from django_hookflow.durations import format_duration
from django_hookflow.events.database import cursor

if TYPE_CHECKING:
    from django_hookflow.doctor.visit import Visit

#: The times compared are whole seconds, or have travelled.
TOLERANCE_SECONDS = 2.0
SYNCHRONIZE = "Synchronize the clocks of both machines with NTP (timedatectl, chronyc tracking)."


def look_at_clocks(visit: Visit) -> Iterator[Finding]:
    ahead, moved = _ask_database()
    yield _judge_database(ahead)
    if abs(moved) > TOLERANCE_SECONDS:
        yield error(
            "clocks.moved",
            f"hookflow_now() differs from the database's clock by {_span(moved)}, so runs wake at the wrong time.",
            "A test that moved the clock was probably killed before it could restore it. To restore it: CREATE OR "
            "REPLACE FUNCTION hookflow_now() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE AS 'SELECT "
            "clock_timestamp()'.",
        )
    if conf.transport == "qstash":
        yield from _look_at_qstash(visit)


def _ask_database() -> tuple[float, float]:
    """By how many seconds the database is ahead of this process, and hookflow_now() of the database."""
    with cursor() as c:
        c.execute("SELECT 1")  # connecting, if need be, is not to count as the way there
        asked_at = time.time()
        c.execute(
            "SELECT extract(epoch FROM clock_timestamp())::float8,"
            " extract(epoch FROM hookflow_now() - clock_timestamp())::float8"
        )
        database_time, moved = c.fetchone()
    return database_time - (asked_at + time.time()) / 2, moved


def _judge_database(ahead: float) -> Finding:
    if abs(ahead) <= _leeway():
        return ok("clocks.database", "This process and the database agree on the time.")
    return warning(
        "clocks.database_differs",
        f"The database's clock is {_span(ahead)} {_ahead_or_behind(ahead)} the clock of this process. The database's "
        "clock decides when runs wake; the clock of this process is used to sign and verify deliveries.",
        SYNCHRONIZE,
    )


def _look_at_qstash(visit: Visit) -> Iterator[Finding]:
    if visit.offline:
        yield info("clocks.qstash_not_asked", "QStash's clock was not checked.", "Run without --offline.")
    elif visit.qstash.ahead is None:
        yield info("clocks.qstash_silent", "QStash did not report its time.", "See the keys area.")
    else:
        yield _judge_qstash(visit.qstash.ahead)


def _judge_qstash(ahead: float) -> Finding:
    if abs(ahead) <= _leeway():
        return ok("clocks.qstash", "This process and QStash agree on the time.")
    seen = f"QStash's clock is {_span(ahead)} {_ahead_or_behind(ahead)} the clock of this process"
    if -ahead > LIFETIME_SECONDS + conf.clock_skew_seconds:
        return error("clocks.qstash_differs", f"{seen}: every delivery is rejected as expired.", SYNCHRONIZE)
    return warning("clocks.qstash_differs", f"{seen}, more than DJANGO_HOOKFLOW_CLOCK_SKEW_SECONDS.", SYNCHRONIZE)


def _leeway() -> float:
    return max(conf.clock_skew_seconds, TOLERANCE_SECONDS)


def _span(seconds: float) -> str:
    return format_duration(round(abs(seconds)))


def _ahead_or_behind(ahead: float) -> str:
    return "ahead of" if ahead > 0 else "behind"
