"""The relay signs and POSTs to the webhook itself, as QStash would: no account, no network beyond the app's own."""

from __future__ import annotations

from urllib.parse import urljoin
from uuid import UUID

from django_hookflow.conf import conf
from django_hookflow.delivery.messages import Message, webhook_url
from django_hookflow.delivery.signature import sign
from django_hookflow.delivery.transports.base import (
    SendFailed,
    ThreadSession,
    Unanswered,
    Undeliverable,
)
from django_hookflow.exceptions import NotConfigured
from django_hookflow.exchange import Answer, Asked, Session, named, send
from django_hookflow.retry_after import retry_after_seconds

CONNECT_SECONDS = 5.0
#: A turn goes on starting steps for its budget, and the last of them may take as long as QStash would wait for it.
LAST_STEP_SECONDS = 900.0
#: Sent by a receiver for what can never succeed, in QStash's convention.
NON_RETRYABLE = 489


#: The app is next door: a proxy for the outside world, which the environment may name, is not the way to it.
_NO_PROXIES = {"http": None, "https": None, "all": None}
_sessions = ThreadSession(Session)


class HttpTransport:
    name = "http"
    publishes_on_commit = False
    max_delay = 0.0

    def check_configured(self) -> None:
        webhook_url("")
        if not conf.qstash_current_signing_key:
            raise NotConfigured(
                "QSTASH_CURRENT_SIGNING_KEY",
                "the http transport signs messages with it; set it to a long random string",
            )

    def withdraw(self, run_uid: UUID) -> None:
        """Nothing is under way: a relay sends what the outbox holds, and a run that has ended has nothing there."""

    def send(self, message: Message) -> None:
        """Returns when the turn is over; the webhook answers only then."""
        url, body = message.url(), message.body()
        try:
            answer = send(
                _sessions.get(),
                Asked("POST", url, self._headers(message, sign(body, url)), body),
                timeout=conf.turn_budget + LAST_STEP_SECONDS,
                connect=CONNECT_SECONDS,
                proxies=_NO_PROXIES,
            )
        except (OSError, ValueError) as error:
            raise Unanswered(error) from error
        self._judge(url, answer)

    def _headers(self, message: Message, token: str) -> dict[str, str]:
        return {
            "Content-Type": "application/json",
            "User-Agent": "Upstash-QStash",
            "Upstash-Signature": token,
            # The same over every delivery of one announcement, as QStash's is.
            "Upstash-Message-Id": f"msg_{message.run_uid}-{message.seq}",
            "Upstash-Retried": str(message.attempt - 1),
        }

    def _judge(self, url: str, answer: Answer) -> None:
        status, location = answer.status, answer.headers.get("Location")
        if 200 <= status < 300:
            return
        problem = f"POST {named(url)} returned {status}: {answer.text:.500}"
        if status == NON_RETRYABLE:
            raise Undeliverable(problem)
        if 300 <= status < 400 and location:
            problem = (
                f"POST {named(url)} was redirected to {_target(url, location)!r:.300}: set DJANGO_HOOKFLOW_DOMAIN and "
                "DJANGO_HOOKFLOW_WEBHOOK_PATH to a URL that does not redirect (SECURE_SSL_REDIRECT requires https)"
            )
        raise SendFailed(problem, retry_after=retry_after_seconds(answer.headers))


def _target(url: str, location: str) -> str:
    try:
        return named(urljoin(url, location))
    except ValueError:
        return named(location)
