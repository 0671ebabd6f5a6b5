"""``manage.py hookflow_relay``: sends what is due in the outbox until it is stopped, or once."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from django_hookflow.delivery.relay import Relay
from django_hookflow.delivery.transports import TRANSPORTS
from django_hookflow.management.base import LogCommand
from django_hookflow.management.signals import stopped_by_signals
from django_hookflow.runtime import stopping
from django_hookflow.runtime.receiving import receive
from django_hookflow.runtime.turn import beginning

#: Each is a thread with a connection of its own.
MAX_CONCURRENCY = 1_000


class Command(LogCommand):
    help = (
        "Sends due messages: all of them with the http and inline transports, and with qstash those that were not "
        "published or got lost. You can run several relays at once. On SIGTERM or SIGINT, the relay finishes what it "
        "is sending (with inline, the current step) and exits."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="send what is due now and exit, for use from cron")
        parser.add_argument(
            "--transport", choices=TRANSPORTS, help="transport to use (default: DJANGO_HOOKFLOW_TRANSPORT)"
        )
        parser.add_argument(
            "--concurrency", type=int, default=8, metavar="N", help="number of messages to send at a time (default: 8)"
        )

    def handle(self, *, once: bool, transport: str | None, concurrency: int, **options: Any) -> None:
        if not 1 <= concurrency <= MAX_CONCURRENCY:
            raise CommandError(f"--concurrency must be at least 1 and at most {MAX_CONCURRENCY:,}")
        relay = Relay(transport, receive, concurrency, beginning=beginning)
        relay.transport.check_configured()
        # A turn in flight in this very process finishes the step it is in; the rest of the run is announced for others.
        with stopped_by_signals(lambda: _stop(relay), afterwards=stopping.forget):
            if once:
                self._run_once(relay)
            else:
                self._run_forever(relay)

    def _run_once(self, relay: Relay) -> None:
        sent = relay.run_once()
        if relay.failed:
            raise CommandError(f"{sent} sent, {relay.failed} failed and will be retried", returncode=1)
        self.stdout.write(f"Done: {sent} sent")

    def _run_forever(self, relay: Relay) -> None:
        self.stdout.write(
            f"Relay started: transport {relay.transport.name}, {relay.concurrency} at a time. Press Ctrl-C to stop."
        )
        self.stdout.flush()
        relay.run_forever()
        self.stdout.write(f"Relay stopped: {relay.sent} sent, {relay.failed} failed")


def _stop(relay: Relay) -> None:
    """Lets the relay finish what is in flight."""
    stopping.request_stop()
    relay.stop()
