"""The HTTP request of ``ctx.step.call``: bounded in time and size, with an idempotency key, careful with credentials."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.structures import CaseInsensitiveDict

from django_hookflow.clock import clock
from django_hookflow.conf import conf
from django_hookflow.exceptions import HookFlowException
from django_hookflow.retry_after import retry_after_seconds

CONNECT_TIMEOUT = 10.0
#: Seconds the answer may take in all; ``ctx.step.options(timeout=…)`` sets another.
READ_TIMEOUT = 60.0
MAX_REDIRECTS = 5
_CHUNK = 64 * 1024


class CallFailed(HookFlowException):
    """The request of a step was answered with a failing status (400 or more).

    ``status_code`` is the status, ``retry_after`` the seconds the answer asks to wait, ``body`` its first 500 characters.
    """

    def __init__(self, method: str, url: str, status_code: int, retry_after: float | None, body: str) -> None:
        super().__init__(f"{method} {_without_query(url)} answered {status_code}: {body or '(empty body)'}")
        self.status_code = status_code
        self.retry_after = retry_after
        self.body = body


class UnsafeRedirect(HookFlowException):
    """The answer redirects to another origin, where the request's credentials do not belong."""

    def __init__(self, url: str, target: str) -> None:
        super().__init__(
            f"{_without_query(url)} redirects to another origin, {_without_query(target)}: "
            f"it is not followed, because the request's headers may hold credentials; call that URL itself"
        )


class ResponseTooLarge(HookFlowException):
    """The answer has more bytes than DJANGO_HOOKFLOW_MAX_PAYLOAD_SIZE."""

    def __init__(self, url: str, limit: int) -> None:
        super().__init__(
            f"{_without_query(url)} answered with more than {limit:,} bytes (DJANGO_HOOKFLOW_MAX_PAYLOAD_SIZE): "
            f"fetch it in a step.run that stores it elsewhere and returns a reference"
        )


class _Session(requests.Session):
    """Follows redirects within an origin (scheme, host, port) and refuses all others."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        target = super().get_redirect_target(resp)
        if target is not None:
            absolute = requests.compat.urljoin(resp.url, target)
            if _origin(absolute) != _origin(resp.url):
                resp.close()
                raise UnsafeRedirect(resp.url, absolute)
        return target


def request(
    url: str,
    method: str,
    body: Any,
    headers: Mapping[str, str] | None,
    *,
    idempotency_key: str,
    timeout: float | None = None,
) -> dict[str, Any]:
    """``{"status_code": int, "data": parsed JSON, text or None}``. Raises CallFailed on a failing status.

    A ``body`` that is text or bytes is sent as it is, any other as JSON. An ``Idempotency-Key`` among ``headers`` wins.
    """
    sent = CaseInsensitiveDict({"Idempotency-Key": idempotency_key, "User-Agent": "django-hookflow"})
    sent.update(headers or {})
    content: dict[str, Any] = {"data": body} if isinstance(body, (str, bytes)) else {"json": body}
    patience = timeout or READ_TIMEOUT
    deadline = clock.monotonic() + patience
    with _Session() as session:
        session.max_redirects = MAX_REDIRECTS
        with session.request(
            method.upper(),
            url,
            headers=sent,
            timeout=(min(CONNECT_TIMEOUT, patience), patience),
            stream=True,
            **(content if body is not None else {}),
        ) as response:
            raw = _read(response, conf.max_payload_size, deadline)
    text = _decoded(raw, response.encoding)
    if response.status_code >= 400:
        wait = retry_after_seconds(response.headers)
        raise CallFailed(method.upper(), url, response.status_code, wait, text[:500])
    return {"status_code": response.status_code, "data": _parsed(text)}


def _read(response: requests.Response, limit: int, deadline: float) -> bytes:
    raw = bytearray()
    for chunk in response.iter_content(_CHUNK):
        raw += chunk
        if len(raw) > limit:
            raise ResponseTooLarge(response.url, limit)
        if clock.monotonic() > deadline:
            raise requests.ReadTimeout(f"{_without_query(response.url)} was still sending when the time was up")
    return bytes(raw)


def _decoded(raw: bytes, encoding: str | None) -> str:
    try:
        return raw.decode(encoding or "utf-8", "replace")
    except LookupError:  # an encoding nobody knows
        return raw.decode("utf-8", "replace")


def _parsed(text: str) -> Any:
    """The JSON value of ``text``, else ``text``: also where it is deeper than the parser goes or holds NaN."""
    if not text:
        return None
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return text


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _without_query(url: str) -> str:
    """A URL fit for a message: no query, no user and password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"
