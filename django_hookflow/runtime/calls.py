"""The HTTP request of ``ctx.step.call``: what is sent, and what is made of the answer."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Mapping
from typing import Any

from requests.structures import CaseInsensitiveDict

from django_hookflow.conf import conf
from django_hookflow.events import codec
from django_hookflow.exceptions import HookFlowException, NotSerializable
from django_hookflow.exchange import Asked, ResponseTooLarge, UnsafeRedirect, fetch
from django_hookflow.retry_after import retry_after_seconds

__all__ = ["CallFailed", "ResponseTooLarge", "UnsafeRedirect", "request"]

#: Seconds that a call may take in all; ``ctx.step.options(timeout=…)`` sets another.
TIMEOUT = 60.0

#: Charsets of the web (WHATWG's Encoding), by Python's names. Others that Python has are no charsets at all, take the
#: square of the text's length, or raise whatever they are given.
_CHARSET = re.compile(
    r"utf-8|utf-16(-le|-be)?|ascii|iso8859-\d{1,2}|cp(125\d|866|874|932|949|950|936)|koi8-[ru]|mac-(roman|cyrillic)"
    r"|gbk|gb2312|gb18030|hz|big5(hkscs)?|euc_(jp|kr)|iso2022_jp|shift_jis"
)
_CHARSET_NAME = re.compile(r"[A-Za-z0-9._:-]{1,40}")


class CallFailed(HookFlowException):
    """The request of a step was answered with a failing status (400 or more).

    ``status_code`` is the status, ``size`` the bytes of the answer's body, ``retry_after`` the seconds it asks to wait
    or None. The body itself is kept nowhere: it may hold whatever the request sent.
    """

    retry_after: float | None = None

    def __init__(self, asked: Asked, status_code: int, size: int, retry_after: float | None) -> None:
        wait = "" if retry_after is None else f", retry after {retry_after:g} s"
        super().__init__(f"{asked} answered {status_code} ({size} bytes){wait}")
        self.status_code = status_code
        self.size = size
        self.retry_after = retry_after


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

    ``timeout`` is in seconds, for the whole of it. The rest as for :func:`asked_for`; other errors are those of
    :func:`exchange.fetch`.
    """
    asked = asked_for(url, method, body, headers, idempotency_key)
    answer = fetch(asked, timeout=timeout or TIMEOUT, limit=conf.max_payload_size)
    text = decoded(answer.content, answer.encoding)
    return result_of(asked, answer.status, answer.size, retry_after_seconds(answer.headers), text)


def asked_for(url: str, method: str, body: Any, headers: Mapping[str, str] | None, idempotency_key: str) -> Asked:
    """The request that is sent.

    A ``body`` that is text or bytes is sent as it is, any other as JSON. An ``Idempotency-Key`` among ``headers`` wins.
    """
    sent: CaseInsensitiveDict[str] = CaseInsensitiveDict(
        {"Idempotency-Key": idempotency_key, "User-Agent": "django-hookflow"}
    )
    sent.update(headers or {})
    if body is not None and not isinstance(body, (str, bytes)):
        body = json.dumps(body, allow_nan=False)
        sent.setdefault("Content-Type", "application/json")
    return Asked(method.upper(), url, sent, body.encode() if isinstance(body, str) else body)


def result_of(asked: Asked, status: int, size: int, retry_after: float | None, text: str) -> dict[str, Any]:
    """What is made of an answer. Raises CallFailed."""
    if status >= 400:
        raise CallFailed(asked, status, size, retry_after)
    return result(status, text)


def result(status: int, text: str) -> dict[str, Any]:
    """The result of a call that has succeeded, whatever it was answered, such that it can be recorded."""
    found = {"status_code": status, "data": _parsed(text)}
    try:
        codec.encode(found, path="result", limit=conf.max_payload_size)
    except NotSerializable:  # JSON that is nested too deep, or holds NUL or half a surrogate pair
        found["data"] = text.replace("\x00", "\ufffd")
    return found


def decoded(raw: bytes, charset: str | None) -> str:
    """The text of an answer's body."""
    text = raw.decode(_codec_name(charset), "replace")
    return text.removeprefix("\ufeff")


def _codec_name(charset: str | None) -> str:
    """Python's name of a charset, of one that is no charset of the web UTF-8."""
    try:
        name = codecs.lookup(charset).name if charset and _CHARSET_NAME.fullmatch(charset) else ""
    except (LookupError, ValueError):
        return "utf-8"
    return name if _CHARSET.fullmatch(name) else "utf-8"


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
