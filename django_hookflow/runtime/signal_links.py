"""Links that send a signal: what ``ctx.signal_url`` makes, and how things stand with one that is opened.

A link holds the run, the signal's name and id and when it ends, signed with the project's ``SECRET_KEY`` (or one of
``SECRET_KEY_FALLBACKS``): who has it may send this one signal, and nothing else. No moment of signing is in it, so that
the same call makes the same link in every replay.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple
from uuid import UUID

from django.core.signing import BadSignature, Signer

from django_hookflow.delivery.messages import public_url
from django_hookflow.durations import LONGEST_SECONDS
from django_hookflow.events.database import cursor
from django_hookflow.exceptions import HookFlowException
from django_hookflow.sql import load

#: How long a link can be used where nothing else is said.
DEFAULT_EXPIRY = datetime.timedelta(days=7)
_SALT = "django_hookflow.signal_link"

#: ``open``: it can be used. Otherwise why not: it has been, its run has ended, its time is up, its run is not there.
State = Literal["open", "used", "over", "expired", "unknown"]


class InvalidLink(HookFlowException):
    """A link was not made by this project, or not all of it is there."""

    def __init__(self) -> None:
        super().__init__("the link was not created by this site, or part of it is missing")


class LinkStanding(NamedTuple):
    """How things stand with a link, and which run it is of."""

    state: State
    workflow_id: str = ""
    run_id: str = ""


@dataclass(frozen=True)
class SignalLink:
    """The right to send a run the signal ``name`` once. ``until`` is in seconds since 1970, by the database's clock."""

    run_uid: UUID
    name: str
    id: str
    until: float

    def url(self) -> str:
        """Raises NotConfigured without DJANGO_HOOKFLOW_DOMAIN."""
        token = _signer().sign_object([self.run_uid.hex, self.name, self.id, self.until])
        return public_url(f"signal/{token}/")

    @classmethod
    def read(cls, token: str) -> SignalLink:
        """The link with this token. Raises InvalidLink."""
        try:
            run_uid, *rest = _signer().unsign_object(token)
        except (BadSignature, ValueError) as error:
            raise InvalidLink from error
        return cls(UUID(run_uid), *rest)

    def stand(self) -> LinkStanding:
        """What can be done with it at this moment."""
        with cursor() as c:
            c.execute(load("signal_link"), {"run_uid": self.run_uid, "id": self.id, "until": self.until})
            row = c.fetchone()
        return LinkStanding("unknown") if row is None else LinkStanding(*row)


def end_of(expires: Any, now: datetime.datetime) -> float:
    """When a link ends, in seconds since 1970: ``expires`` is seconds or a timedelta from ``now`` on, or an aware datetime.

    Raises TypeError and ValueError, which say what it may be.
    """
    if isinstance(expires, datetime.datetime):
        if expires.utcoffset() is None:
            raise ValueError(
                f"expires must be an aware datetime, but {expires!r} has no time zone: use django.utils.timezone"
            )
        return expires.timestamp()
    if isinstance(expires, datetime.timedelta):
        expires = expires.total_seconds()
    if isinstance(expires, bool) or not isinstance(expires, (int, float)):
        raise TypeError(f"expires must be a number of seconds, a timedelta or an aware datetime, not {expires!r:.100}")
    if not 0 < expires <= LONGEST_SECONDS:
        raise ValueError(f"expires must be above 0 and at most ten years, not {expires!r:.100} seconds")
    return now.timestamp() + expires


def _signer() -> Signer:
    return Signer(salt=_SALT)
