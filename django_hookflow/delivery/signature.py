"""Who sent a delivery: the JWT in ``Upstash-Signature``, as QStash makes it and as our own relay makes it.

The token is signed with HS256 by one of two keys (the next one takes over when QStash rotates them) and binds the
delivery to its URL (``sub``), its body (``body``, the base64url of its SHA-256) and five minutes of time. Times are
real time on both sides, not the clock that tests move.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
import uuid
from collections.abc import Collection
from typing import Any

import jwt

from django_hookflow.conf import conf
from django_hookflow.exceptions import HookFlowException, NotConfigured

ISSUER = "Upstash"
LIFETIME_SECONDS = 300
#: A genuine token has about 500 bytes and the URL twice; servers refuse larger headers anyway, but not all of them.
MAX_TOKEN_LENGTH = 8192


class InvalidSignature(HookFlowException):
    """A delivery did not prove who sent it. The message says what did not fit, and holds no key."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"signature refused: {problem}")


def verify(token: str, body: bytes, urls: Collection[str]) -> None:
    """Returns if ``token`` was signed for this body and for one of ``urls``. Raises InvalidSignature, and nothing else."""
    keys = _read_keys()
    if not keys:
        raise InvalidSignature(
            "no key to verify it with; set QSTASH_CURRENT_SIGNING_KEY and QSTASH_NEXT_SIGNING_KEY to the keys of the "
            "account"
        )
    if not token:
        raise InvalidSignature("the Upstash-Signature header is missing or empty")
    if len(token) > MAX_TOKEN_LENGTH:
        raise InvalidSignature(f"the token has {len(token)} characters, which is too long")
    claims = _decode(token, keys)
    _check_destination(claims, urls)
    _check_body(claims, body)


def sign(body: bytes, url: str, *, key: str | None = None) -> str:
    """A token for ``body`` sent to ``url``, with the claims QStash makes; ``key`` is by default the current one."""
    key = key or conf.qstash_current_signing_key
    if not key:
        raise NotConfigured(
            "QSTASH_CURRENT_SIGNING_KEY",
            "the relay signs messages with it; use a long random string, shared with the web processes",
        )
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "sub": url,
        "exp": now + LIFETIME_SECONDS,
        "nbf": 0,
        "iat": now,
        "jti": f"jwt_{uuid.uuid4().hex}",
        "body": body_digest(body),
    }
    return jwt.encode(claims, key, algorithm="HS256")


def body_digest(body: bytes) -> str:
    """The ``body`` claim: base64url of the SHA-256 of the raw bytes, padded."""
    return base64.urlsafe_b64encode(hashlib.sha256(body).digest()).decode("ascii")


def _read_keys() -> list[str]:
    try:
        return [key for key in (conf.qstash_current_signing_key, conf.qstash_next_signing_key) if key]
    except HookFlowException as error:
        raise InvalidSignature(f"no key to verify it with; {error}") from error


def _decode(token: str, keys: list[str]) -> dict[str, Any]:
    for key in keys:
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=["HS256"],
                issuer=ISSUER,
                leeway=conf.clock_skew_seconds,  # an argument: inside `options` PyJWT ignores it
                # Not when it was issued: a clock of ours that is slow would refuse every delivery, and a key's holder may say
                # what it likes.
                options={"require": ["iss", "sub", "exp", "body"], "verify_iat": False},
            )
        except jwt.InvalidSignatureError:
            continue
        # PyJWT lets RecursionError, OverflowError, TypeError and UnicodeEncodeError out of hostile tokens.
        except Exception as error:
            raise InvalidSignature(f"{type(error).__name__}: {error}"[:300]) from error
        return claims
    raise InvalidSignature(
        "it was not made with QSTASH_CURRENT_SIGNING_KEY or QSTASH_NEXT_SIGNING_KEY; compare them with the keys of "
        "the sending account (each region has its own)"
    )


def _check_destination(claims: dict[str, Any], urls: Collection[str]) -> None:
    exp, sub = claims["exp"], claims["sub"]
    if isinstance(exp, bool) or not isinstance(exp, (int, float)) or not isinstance(sub, str):
        raise InvalidSignature("a claim has the wrong type: exp must be a number, sub a string")
    if sub not in urls:
        raise InvalidSignature(
            f"it was made for {sub!r:.500}, not for {' or '.join(map(repr, urls)):.1000}; "
            "check DJANGO_HOOKFLOW_DOMAIN and DJANGO_HOOKFLOW_WEBHOOK_PATH"
        )


def _check_body(claims: dict[str, Any], body: bytes) -> None:
    claimed = claims["body"]
    if not isinstance(claimed, str):
        raise InvalidSignature("a claim has the wrong type: body must be a string")
    expected = body_digest(body).rstrip("=").encode("ascii")
    if not hmac.compare_digest(claimed.rstrip("=").encode("utf-8", "replace"), expected):
        raise InvalidSignature("it was made for a different body: a proxy may have changed it")
