"""The area ``keys``: whether the keys that verify deliveries are the ones QStash signs with."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import requests

from django_hookflow.conf import conf
from django_hookflow.delivery.transports.qstash import BearerAuth, base_url
from django_hookflow.doctor.findings import Finding, error, ok, warning
from django_hookflow.doctor.wire import Unreachable, send, without_credentials

if TYPE_CHECKING:
    from django_hookflow.doctor.visit import Visit

COPY = "Copy QSTASH_CURRENT_SIGNING_KEY and QSTASH_NEXT_SIGNING_KEY from the QStash console"


@dataclass(frozen=True)
class QStashAnswer:
    """``problem`` is what kept QStash from telling its keys, None if nothing did; ``ahead`` is by how many seconds its
    clock goes before ours, None if it sent no time."""

    problem: Finding | None = None
    keys: tuple[str, str] | None = None
    ahead: float | None = None


def ask_for_keys() -> QStashAnswer:
    if not conf.qstash_token:
        way_out = "Set it to the token shown in the QStash console."
        return QStashAnswer(error("keys.no_token", "QSTASH_TOKEN is not configured.", way_out))
    asked_at = time.time()
    try:
        with requests.Session() as session:
            response, body = send(session, "GET", f"{base_url()}/v2/keys", auth=BearerAuth())
    except Unreachable as unreachable:
        return QStashAnswer(_say_unreachable(unreachable))
    ahead = _seconds_ahead(response.headers.get("Date", ""), (asked_at + time.time()) / 2)
    if response.status_code != 200:
        return QStashAnswer(_say_status(response.status_code), ahead=ahead)
    keys = _read_keys(body)
    return QStashAnswer(None if keys else _say_foreign(), keys, ahead)


def look_at_keys(visit: Visit) -> Iterator[Finding]:
    if conf.transport != "qstash":
        yield ok("keys.own", f"The {conf.transport} transport does not use QStash keys.")
        return
    answer = visit.qstash
    if answer.problem or not answer.keys:
        yield answer.problem or _say_foreign()
        return
    yield compare((conf.qstash_current_signing_key, conf.qstash_next_signing_key), answer.keys)


def compare(configured: tuple[str | None, str | None], real: tuple[str, str]) -> Finding:
    """What is to be said of these keys, current and next, where QStash has those."""
    if configured == real:
        return ok("keys.match", "The signing keys in the settings match those of QStash.")
    if real[0] not in configured:
        return error(
            "keys.foreign",
            "QStash signs with a key that is not in the settings: every delivery is rejected with 401.",
            f"{COPY}, for the account and region of QSTASH_TOKEN and QSTASH_URL.",
        )
    if real[0] == configured[1] and real[1] != configured[0]:
        return warning(
            "keys.rotated",
            "The keys have been rotated: QStash now signs with QSTASH_NEXT_SIGNING_KEY. Deliveries are accepted until "
            "the next rotation.",
            f"{COPY}, and deploy before the keys are rotated again.",
        )
    if real[1] not in configured:
        return warning(
            "keys.next_unknown",
            "The settings have QStash's current key but not its next key: after the next rotation, every delivery "
            "would be rejected.",
            f"{COPY}.",
        )
    return warning("keys.swapped", "QSTASH_CURRENT_SIGNING_KEY and QSTASH_NEXT_SIGNING_KEY are swapped.", f"{COPY}.")


def _read_keys(body: bytes) -> tuple[str, str] | None:
    try:
        answer: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(answer, dict):
        return None
    current, following = answer.get("current"), answer.get("next")
    return (current, following) if isinstance(current, str) and isinstance(following, str) else None


def _seconds_ahead(date: str, now: float) -> float | None:
    try:
        answer: datetime = parsedate_to_datetime(date)
    except ValueError:
        return None
    return answer.timestamp() + 0.5 - now  # it sends whole seconds


def _say_unreachable(unreachable: Unreachable) -> Finding:
    # Deliveries come in all the same, and what is not published now a relay publishes later.
    return warning(
        "keys.unreachable",
        f"Could not fetch the signing keys from QStash: {unreachable}.",
        f"Check QSTASH_URL ({without_credentials(base_url())}) and that this machine can reach it: messages are "
        "published from here. Use --offline to skip this check.",
    )


def _say_status(status: int) -> Finding:
    if status in (401, 403):
        way_out = "Copy QSTASH_TOKEN from the QStash console, and check QSTASH_URL: each region has its own tokens."
        return error(
            "keys.token_refused",
            f"QStash rejects QSTASH_TOKEN (status {status}): no messages can be published.",
            way_out,
        )
    if status == 429 or status >= 500:
        return warning(
            "keys.busy",
            f"QStash answered {status} to a request for its signing keys.",
            "Run hookflow_doctor again later.",
        )
    return _say_foreign(f"with {status}")


def _say_foreign(how: str = "without the two signing keys") -> Finding:
    return error(
        "keys.no_qstash",
        f"{without_credentials(base_url())} does not look like QStash: it answered {how}.",
        "Set QSTASH_URL to the base URL shown in the QStash console, or remove it to use the public one.",
    )
