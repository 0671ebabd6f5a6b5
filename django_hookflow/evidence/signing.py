"""Signatures of checkpoints. The algorithm is the one of the settings, never what a token says of itself.

With HS256 whoever can verify can also sign. The others come in halves: the private key signs, where checkpoints are made,
and the public one verifies, wherever somebody wants to.
"""

from __future__ import annotations

from typing import Any

import jwt
from django.core.exceptions import ImproperlyConfigured
from jwt.algorithms import has_crypto

from django_hookflow.conf import conf
from django_hookflow.exceptions import HookFlowException, NotConfigured

ISSUER = "django-hookflow"
ASYMMETRIC = ("RS256", "ES256", "EdDSA")
ALGORITHMS = ("HS256", *ASYMMETRIC)
#: Of a secret, in bytes: as many as the hash has (RFC 7518, 3.2). A shorter one could be found by trying.
SHORTEST_SECRET = 32
CLAIMS = ("iss", "iat", "runs", "events", "root", "previous", "database", "first_run")

_ALGORITHM, _KEY, _PUBLIC_KEY = (f"DJANGO_HOOKFLOW_CHECKPOINT_{name}" for name in ("ALGORITHM", "KEY", "PUBLIC_KEY"))


class UnusableKey(HookFlowException, ImproperlyConfigured):
    """The settings name an algorithm or a key with which checkpoints can be neither signed nor verified."""

    def __init__(self, setting: str, fault: str, remedy: str) -> None:
        super().__init__(f"{setting} {fault}: {remedy}")
        self.setting, self.fault, self.remedy = setting, fault, remedy


class ForgedToken(HookFlowException):
    """The token was not signed with the key of this project, or is not one of a checkpoint."""


def sign(claims: dict[str, Any]) -> str:
    """The token of a checkpoint. Raises NotConfigured and UnusableKey."""
    algorithm, key = signing_key()
    try:
        return jwt.encode(claims, key, algorithm=algorithm)
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise _unusable(_KEY, "private", algorithm) from error


def verified_claims(token: str) -> dict[str, Any]:
    """What a token claims, once its signature is verified. Raises ForgedToken, NotConfigured and UnusableKey."""
    algorithm, key = verifying_key()
    options: Any = {"require": list(CLAIMS[:2]), "verify_iat": False}  # made by the database's clock, read by another
    try:
        claims: dict[str, Any] = jwt.decode(token, key, algorithms=[algorithm], issuer=ISSUER, options=options)
    except jwt.InvalidKeyError as error:
        raise _unusable(_PUBLIC_KEY, "public", algorithm) from error
    except jwt.InvalidTokenError as error:
        raise ForgedToken(
            f"its signature could not be verified with {algorithm} and the key in the settings ({error})"
        ) from error
    except (ValueError, TypeError) as error:
        raise _unusable(_PUBLIC_KEY, "public", algorithm) from error
    missing = [name for name in CLAIMS if name not in claims]
    if missing:
        raise ForgedToken(f"its token is not a checkpoint token: missing {', '.join(missing)}")
    return claims


def signing_key() -> tuple[str, str]:
    """The algorithm and the key to sign with."""
    algorithm = usable_algorithm()
    if conf.checkpoint_key is None:
        what = (
            "a secret of at least 32 bytes" if algorithm == "HS256" else f"a private key for {algorithm} in PEM format"
        )
        raise NotConfigured(_KEY, f"checkpoints are signed with it; set it to {what}")
    if algorithm == "HS256":
        _refuse_short_secret(conf.checkpoint_key)
    return algorithm, conf.checkpoint_key


def verifying_key() -> tuple[str, str]:
    """The algorithm and the key to verify with."""
    algorithm = usable_algorithm()
    if algorithm == "HS256":
        return signing_key()
    if conf.checkpoint_public_key is None:
        raise NotConfigured(
            _PUBLIC_KEY,
            f"checkpoint signatures are verified with it; set it to a public key for {algorithm} in PEM format",
        )
    return algorithm, conf.checkpoint_public_key


def usable_algorithm() -> str:
    """The algorithm of the settings. Raises UnusableKey for one that is not known or not installed."""
    algorithm = conf.checkpoint_algorithm
    if algorithm not in ALGORITHMS:
        raise UnusableKey(_ALGORITHM, f"is {algorithm!r}", f"use one of {', '.join(ALGORITHMS)}")
    if algorithm in ASYMMETRIC and not has_crypto:
        raise UnusableKey(
            _ALGORITHM,
            f"is {algorithm!r}, but the package cryptography is not installed",
            'run pip install "django-hookflow[cryptography]", or use HS256',
        )
    return algorithm


def find_faults() -> list[UnusableKey]:
    """What is wrong with the settings, without a look at keys in PEM. No keys at all is not wrong."""
    try:
        if usable_algorithm() == "HS256" and conf.checkpoint_key is not None:
            _refuse_short_secret(conf.checkpoint_key)
    except UnusableKey as error:
        return [error]
    return []


def _refuse_short_secret(secret: str) -> None:
    size = len(secret.encode())
    if size < SHORTEST_SECRET:
        raise UnusableKey(
            _KEY, f"has {size} bytes", f"use a random secret of at least {SHORTEST_SECRET} bytes for HS256"
        )


def _unusable(setting: str, half: str, algorithm: str) -> UnusableKey:
    return UnusableKey(
        setting, f"is not a {half} key for {algorithm}", "set it to one in PEM format, starting with -----BEGIN"
    )
