"""The area ``signature``: what is signed here is accepted here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from django_hookflow.conf import conf
from django_hookflow.delivery.signature import InvalidSignature, sign, verify
from django_hookflow.doctor.findings import Finding, error, info, ok

if TYPE_CHECKING:
    from django_hookflow.doctor.visit import Visit

BODY = b'{"hello":"doctor"}'
URL = "https://doctor.invalid/hookflow/workflow/doctor/"


def look_at_signature(visit: Visit) -> Iterator[Finding]:
    if conf.transport == "inline":
        yield ok("signature.none", "The inline transport does not sign messages.")
        return
    for name, key in (
        ("QSTASH_CURRENT_SIGNING_KEY", conf.qstash_current_signing_key),
        ("QSTASH_NEXT_SIGNING_KEY", conf.qstash_next_signing_key),
    ):
        if key:
            yield _go_round(name, key)
    if not conf.qstash_current_signing_key:
        yield info("signature.no_key", "QSTASH_CURRENT_SIGNING_KEY is not configured.", "See the settings area.")


def _go_round(name: str, key: str) -> Finding:
    try:
        verify(sign(BODY, URL, key=key), BODY, {URL})
    except InvalidSignature as refused:
        return error(
            "signature.refused",
            f"A message signed with {name} is rejected by this process: {refused}.",
            "Compare the keys in the settings of all processes, and check the clock of this machine.",
        )
    return ok("signature.accepted", f"Messages signed with {name} are accepted.")
