"""The delivering half of the QStash peer: signs, sends, judges the answer and tries again, as qstash.md says QStash does.

Nothing here comes from the package: the token is made by hand with PyJWT, and the tests hold it against the official SDK.
"""

from __future__ import annotations

import base64
import hashlib
import heapq
import http.client
import itertools
import math
import re
import threading
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import jwt

#: What QStash does when a publication does not say otherwise.
DEFAULT_RETRIES = 3
LONGEST_PAUSE = 86_400.0
#: A turn takes at most seconds here; a delivery that hangs for longer than this is a failure of the test.
PATIENCE = 60.0
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True)
class Message:
    """One publication that was accepted. ``headers`` have lower-case names."""

    message_id: str
    url: str
    headers: dict[str, str]
    body: bytes

    @property
    def deduplication_id(self) -> str:
        return self.headers.get("upstash-deduplication-id", "")

    @property
    def retries(self) -> int:
        return int(self.headers.get("upstash-retries", DEFAULT_RETRIES))

    def forwarded(self) -> dict[str, str]:
        prefix = "upstash-forward-"
        return {name.removeprefix(prefix): value for name, value in self.headers.items() if name.startswith(prefix)}

    def delay(self) -> float:
        """Seconds until the first delivery. Raises ValueError for a header QStash would refuse."""
        if "upstash-not-before" in self.headers:
            return max(0.0, float(self.headers["upstash-not-before"]) - time.time())
        return parse_duration(self.headers.get("upstash-delay", "0s"))

    def pause_after(self, retried: int) -> float:
        """Seconds until the next attempt when the answer does not say."""
        expression = self.headers.get("upstash-retry-delay")
        if expression is None:
            return float(min(LONGEST_PAUSE, math.exp(2.5 * (retried + 1))))
        known = {name: getattr(math, name) for name in ("sqrt", "exp", "floor", "ceil")}
        known |= {"min": min, "max": max, "pow": pow, "abs": abs, "round": round, "retried": retried}
        return float(eval(expression, {"__builtins__": {}}, known)) / 1000  # its author is the code under test


@dataclass(frozen=True)
class Attempt:
    """One POST to the app and what came of it; ``status`` is None when there was no answer."""

    message: Message
    retried: int
    port: int
    token: str
    status: int | None
    answer: bytes
    headers: dict[str, str] = field(default_factory=dict)
    started: float = 0.0
    ended: float = 0.0


class Courier:
    """Delivers each message ``copies`` times at once, to the web processes at ``ports`` in turn, eight messages at a time."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.ports: list[int] = []
        self.copies = 1
        self.attempts: list[Attempt] = []
        self.dead: list[Message] = []
        self._turns = itertools.count()
        self._numbers = itertools.count()
        self._queue: list[tuple[float, int, Message, int, int]] = []
        self._changed = threading.Condition()
        self._closing = False
        self._threads: list[threading.Thread] = []
        self.employ(8)

    def employ(self, more: int) -> None:
        """Delivers so many more messages at a time."""
        threads = [threading.Thread(target=self._work) for _ in range(more)]
        for thread in threads:
            thread.start()
        self._threads += threads

    def close(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def accept(self, message: Message) -> None:
        self._schedule(message, 0, self.copies, message.delay())

    def send(self, message: Message, port: int, retried: int = 0) -> Attempt:
        """Delivers once, now, and returns what came of it: nothing is repeated."""
        token = self.sign(message)
        headers = {
            **message.forwarded(),
            "Host": urlsplit(message.url).netloc,
            "Content-Type": message.headers.get("content-type", "text/plain"),
            "User-Agent": "Upstash-QStash",
            "Upstash-Signature": token,
            "Upstash-Message-Id": message.message_id,
            "Upstash-Retried": str(retried),
            "Upstash-Region": "eu-central-1",
        }
        started = time.monotonic()
        status, answer, received = post(port, urlsplit(message.url).path, message.body, headers)
        attempt = Attempt(message, retried, port, token, status, answer, received, started, time.monotonic())
        self.attempts.append(attempt)
        return attempt

    def send_at_once(self, message: Message, ports: Iterable[int]) -> list[Attempt]:
        """Delivers to all of ``ports`` at the same moment."""
        ports = list(ports)
        barrier = threading.Barrier(len(ports))
        attempts: list[Attempt] = []

        def send(port: int) -> None:
            barrier.wait()
            attempts.append(self.send(message, port))

        threads = [threading.Thread(target=send, args=(port,)) for port in ports]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return attempts

    def sign(self, message: Message) -> str:
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": "Upstash",
            "sub": message.url,
            "exp": now + 300,
            "nbf": 0,
            "iat": now,
            "jti": f"jwt_{uuid.uuid4().hex}",
            "body": base64.urlsafe_b64encode(hashlib.sha256(message.body).digest()).decode(),
        }
        return jwt.encode(claims, self.key.encode(), algorithm="HS256")

    def _schedule(self, message: Message, retried: int, copies: int, delay: float) -> None:
        entry = (time.monotonic() + delay, next(self._numbers), message, retried, copies)
        with self._changed:
            heapq.heappush(self._queue, entry)
            self._changed.notify()

    def _work(self) -> None:
        while (taken := self._take()) is not None:
            message, retried, copies = taken
            if not self.ports:
                self._judge(Attempt(message, retried, 0, "", None, b""))
            elif copies == 1:
                self._judge(self.send(message, self._next_port(), retried))
            else:
                for attempt in self.send_at_once(message, [self._next_port() for _ in range(copies)]):
                    self._judge(attempt)

    def _take(self) -> tuple[Message, int, int] | None:
        with self._changed:
            while not self._closing:
                wait = self._queue[0][0] - time.monotonic() if self._queue else None
                if wait is not None and wait <= 0:
                    _, _, message, retried, copies = heapq.heappop(self._queue)
                    return message, retried, copies
                self._changed.wait(wait)
        return None

    def _next_port(self) -> int:
        ports = self.ports
        return ports[next(self._turns) % len(ports)]

    def _judge(self, attempt: Attempt) -> None:
        """Each copy that was not taken is tried again by itself."""
        status, message = attempt.status, attempt.message
        if status is not None and 200 <= status < 300:
            return
        for_good = status == 489 and attempt.headers.get("upstash-nonretryable-error") == "true"
        if for_good or attempt.retried >= message.retries:
            self.dead.append(message)
            return
        asked = parse_retry_after(attempt.headers.get("retry-after"))
        pause = message.pause_after(attempt.retried) if asked is None else asked
        self._schedule(message, attempt.retried + 1, 1, pause)


def post(port: int, path: str, body: bytes, headers: dict[str, str]) -> tuple[int | None, bytes, dict[str, str]]:
    """Status, body and headers (lower-case names) of the answer; status None when the other side broke off."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        return response.status, response.read(), {name.lower(): value for name, value in response.getheaders()}
    except (OSError, http.client.HTTPException):
        return None, b"", {}
    finally:
        connection.close()


def parse_duration(text: str) -> float:
    """``30s``, ``5m``, ``1d10h`` in seconds."""
    if not re.fullmatch(r"(\d+[smhd])+", text):
        raise ValueError(f"invalid duration {text!r}")
    return float(sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)([smhd])", text)))


def parse_retry_after(value: str | None) -> float | None:
    if value is None:
        return None
    seconds = float(value) if value.isdigit() else parsedate_to_datetime(value).timestamp() - time.time()
    return min(max(0.0, seconds), LONGEST_PAUSE)
