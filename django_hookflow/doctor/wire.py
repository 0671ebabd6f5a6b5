"""Requests that look at other servers: short, without redirects, and reported without what might be a secret."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError

TIMEOUT_SECONDS = 5.0
#: What is read of an answer. Ours are far shorter.
ANSWER_BYTES = 65_536


class Unreachable(Exception):
    """No answer came. ``kind``: ``dns``, ``tls``, ``timeout``, ``refused`` or ``connection``; the text says what was seen."""

    def __init__(self, kind: str, seen: str) -> None:
        super().__init__(seen)
        self.kind = kind


def send(session: requests.Session, method: str, url: str, **arguments: Any) -> tuple[requests.Response, bytes]:
    """The response and the beginning of its body. Raises Unreachable."""
    try:
        request = session.prepare_request(requests.Request(method, url, **arguments))
        settings = session.merge_environment_settings(request.url or url, {}, True, None, None)
        with session.send(request, timeout=TIMEOUT_SECONDS, allow_redirects=False, **settings) as response:
            return response, response.raw.read(ANSWER_BYTES, decode_content=True)
    except (requests.RequestException, HTTPError) as error:
        raise _as_unreachable(error, host_of(url)) from error


def host_of(url: str) -> str:
    return urlsplit(url).hostname or url


def without_credentials(url: str) -> str:
    """A URL as it may be shown: without a password, and without a query, which may be one."""
    return re.sub(r"//[^/@]*@", "//", url).partition("?")[0]


def _as_unreachable(error: Exception, host: str) -> Unreachable:
    """By the kind of what lies behind the error: its text differs between versions of all that is involved."""
    causes = list(_causes_of(error))
    for cause in causes:
        if isinstance(cause, socket.gaierror):
            return Unreachable("dns", f"{host} could not be resolved ({cause.strerror})")
        if isinstance(cause, ssl.SSLError):
            reason = getattr(cause, "verify_message", "") or cause.reason or type(cause).__name__
            return Unreachable("tls", f"the TLS handshake with {host} failed ({reason})")
    if any(isinstance(cause, (requests.Timeout, TimeoutError)) for cause in causes):
        return Unreachable("timeout", f"{host} did not answer within {TIMEOUT_SECONDS:g} s")
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return Unreachable("refused", f"{host} refused the connection")
    return Unreachable("connection", f"the request to {host} failed ({type(error).__name__})")


def _causes_of(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
