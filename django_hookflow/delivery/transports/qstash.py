"""Published over HTTPS to QStash, which delivers: no worker of the user's own needs to run."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from time import monotonic, sleep
from typing import Any
from uuid import UUID

import requests
from requests.auth import AuthBase

from django_hookflow.conf import conf
from django_hookflow.delivery.messages import Message, webhook_url
from django_hookflow.delivery.transports.base import SendFailed, ThreadSession, Unanswered
from django_hookflow.exceptions import NotConfigured
from django_hookflow.exchange import Answer, Asked, Session, send
from django_hookflow.retry_after import retry_after_seconds
from django_hookflow.test_environment import is_test_environment

# trigger() waits for this after its commit, so all of it is short: connecting and answering take QStash a tenth of it,
# and what is not published now a relay publishes later.
SECONDS = 4.0
CONNECT_SECONDS = 2.0
PAUSES = (0.0, 0.4)
LONGEST_PAUSE = 1.0
PASSING = (429, 500, 502, 503, 504)

#: The free plan holds a message back no longer; what is due later stays in the outbox for a relay.
MAX_DELAY_SECONDS = 7 * 86_400.0
# Three is what every plan allows. QStash's own delays (12 s, 2 min, 30 min) would be at work long after the relay has
# announced the turn again; these, 2, 10 and 50 s, outlast a restart of the app and end well before it is overdue.
RETRIES = "3"
RETRY_DELAY_MS = "min(60000, 2000 * pow(5, retried))"

_REAL_QSTASH = re.compile(r"https?://([^/]*[.@])?upstash\.io(:|/|$)", re.IGNORECASE)
_HINTS = {
    400: "; check that DJANGO_HOOKFLOW_DOMAIN can be reached from the internet",
    401: "; check QSTASH_TOKEN and QSTASH_URL: each region has its own tokens",
    412: "; a limit of your QStash plan was reached",
    429: "; the rate limit or daily limit of your QStash plan was reached",
}


class BearerAuth(AuthBase):
    """An auth object and not a header, in whose place requests would put an entry of ~/.netrc."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {_token()}"
        return request


_sessions = ThreadSession(lambda: Session(BearerAuth()))


class QStashTransport:
    name = "qstash"
    publishes_on_commit = True
    max_delay = MAX_DELAY_SECONDS

    def check_configured(self) -> None:
        if not conf.qstash_token:
            raise NotConfigured("QSTASH_TOKEN", "set it to the token shown in the QStash console")
        webhook_url("")

    def send(self, message: Message) -> None:
        """Returns when QStash has taken the message. A few seconds at most, also when QStash hangs."""
        self.check_configured()
        publish(message.url(), self._headers(message), message.body())

    def withdraw(self, run_uid: UUID) -> None:
        """Cancels the run's messages at QStash, by their label. Raises SendFailed if QStash did not answer with success."""
        _refuse_in_tests()
        # Without a filter QStash would cancel every message of the account: the label is never empty.
        answer = _ask(Asked("DELETE", f"{base_url()}/v2/messages?label={label(run_uid)}", {}, None))
        if not 200 <= answer.status < 300:
            raise SendFailed(_problem(answer))

    def _headers(self, message: Message) -> dict[str, str]:
        # No Upstash-Timeout: without one QStash waits as long as the plan allows, and a step may take that long.
        headers = {
            "Content-Type": "application/json",
            "Upstash-Method": "POST",
            "Upstash-Retries": RETRIES,
            "Upstash-Retry-Delay": RETRY_DELAY_MS,
            "Upstash-Deduplication-Id": message.deduplication_id,
            "Upstash-Label": label(message.run_uid),
        }
        if message.delay > 0:
            headers["Upstash-Delay"] = f"{math.ceil(message.delay)}s"
        return headers


def publish(url: str, headers: Mapping[str, str], body: bytes | None) -> None:
    """Has QStash send a request to ``url``. Returns when it has taken it; raises SendFailed if it has not."""
    _refuse_in_tests()
    answer = _ask(Asked("POST", f"{base_url()}/v2/publish/{url}", headers, body))
    if not 200 <= answer.status < 300:
        raise SendFailed(_problem(answer), retry_after=retry_after_seconds(answer.headers))


def _ask(asked: Asked) -> Answer:
    """QStash's answer, in time. Raises Unanswered.

    Asks again after what passes quickly; the deduplication id makes that safe. A server that hangs, or wants a longer
    pause than a caller can make, is left to the relay at once.
    """
    until = monotonic() + SECONDS
    pauses = iter(PAUSES)
    while True:
        pause = next(pauses, math.inf)
        try:
            answer = send(_sessions.get(), asked, timeout=until - monotonic(), connect=CONNECT_SECONDS)
        except (OSError, ValueError) as error:
            passes = isinstance(error, requests.ConnectionError) and not isinstance(error, requests.Timeout)
            if not passes or pause > until - monotonic():
                raise Unanswered(error) from error
        else:
            pause = max(pause, retry_after_seconds(answer.headers) or 0)
            if answer.status not in PASSING or pause > min(LONGEST_PAUSE, until - monotonic()):
                return answer
        sleep(pause)


def _refuse_in_tests() -> None:
    """Raises SendFailed where a project's own tests would reach the real QStash, and not a server of their own."""
    if is_test_environment() and _REAL_QSTASH.match(base_url()):
        raise SendFailed(
            "tests do not send messages to QStash; use django_hookflow.testing to run workflows in the test process"
        )


def base_url() -> str:
    """QSTASH_URL without what people paste along with it."""
    url = conf.qstash_url.strip().rstrip("/ ")
    return url.removesuffix("/publish").rstrip("/").removesuffix("/v2").rstrip("/")


def label(run_uid: UUID) -> str:
    """Under which QStash can be asked to cancel the messages of this run and of no other."""
    return f"hookflow-{run_uid}"


def _problem(answer: Answer) -> str:
    return f"QStash answered {answer.status}: {_error_text(answer.text)}{_HINTS.get(answer.status, '')}"


def _token() -> str:
    return (conf.qstash_token or "").strip()


def _error_text(text: str) -> str:
    """The ``error`` of a JSON answer or the answer itself, cut short, and never with the token in it."""
    try:
        answer: Any = json.loads(text)
    except (ValueError, RecursionError):
        answer = None
    error = str(answer["error"]) if isinstance(answer, dict) and "error" in answer else text
    if token := _token():
        error = error.replace(token, "…")
    return error[:500]
