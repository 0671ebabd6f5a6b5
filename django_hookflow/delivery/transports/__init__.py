"""How a message is sent: ``qstash`` (QStash delivers it), ``http`` (the relay does), ``inline`` (the relay runs the turn).

One seam, :class:`Transport`, and one conformance suite for all three (``tests/delivery/test_transports.py``).
"""

from __future__ import annotations

from django_hookflow.conf import TRANSPORTS, conf
from django_hookflow.delivery.transports.base import Receive, SendFailed, Transport, Undeliverable, hand_over
from django_hookflow.delivery.transports.http import HttpTransport
from django_hookflow.delivery.transports.inline import InlineTransport
from django_hookflow.delivery.transports.qstash import QStashTransport
from django_hookflow.exceptions import NotConfigured

__all__ = ["TRANSPORTS", "SendFailed", "Transport", "Undeliverable", "get_transport", "hand_over"]


def get_transport(name: str | None = None, *, receive: Receive | None = None) -> Transport:
    """The transport ``name``, by default DJANGO_HOOKFLOW_TRANSPORT; only a relay's inline transport needs ``receive``."""
    name = conf.transport if name is None else name
    if name == "qstash":
        return QStashTransport()
    if name == "http":
        return HttpTransport()
    if name == "inline":
        return InlineTransport(receive)
    raise NotConfigured("DJANGO_HOOKFLOW_TRANSPORT", f"{name!r} is none of {', '.join(TRANSPORTS)}")
