"""``manage.py hookflow_subscribers``: hands events to the functions that subscribe to them."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from django_hookflow.events.database import alias
from django_hookflow.feed.delivering import Delivery
from django_hookflow.feed.listing import list_subscribers
from django_hookflow.feed.subscribers import registered_subscriptions
from django_hookflow.management.base import LogCommand
from django_hookflow.management.signals import stopped_by_signals
from django_hookflow.terminals import counted


class Command(LogCommand):
    help = (
        "Calls @on_event functions with the events they subscribe to, until SIGTERM or SIGINT. You can run several "
        "processes: each subscriber is handled by only one of them at a time."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        how = parser.add_mutually_exclusive_group()
        how.add_argument(
            "--once", action="store_true", help="deliver the events available now and exit, for use from cron"
        )
        how.add_argument("--list", action="store_true", help="list the subscribers with their positions, and exit")

    def handle(self, *args: Any, once: bool, list: bool, **options: Any) -> None:
        alias()  # what refuses that is not a failure of each subscriber
        if list:
            for line in list_subscribers():
                self.stdout.write(line)
            return
        delivery = Delivery(registered_subscriptions())
        with stopped_by_signals(delivery.stop):
            self._run(delivery, once)

    def _run(self, delivery: Delivery, once: bool) -> None:
        if once:
            delivery.run_once()
            if delivery.failed:
                failed = counted(delivery.failed, "subscriber")
                raise CommandError(
                    f"{counted(delivery.handed, 'event')} delivered; {failed} failed and will be retried"
                )
            self.stdout.write(f"Done: {counted(delivery.handed, 'event')} delivered")
            return
        names = ", ".join(subscription.name for subscription in delivery.subscriptions)
        self.stdout.write(f"Subscribers: {names or 'none (no @on_event functions found)'}")
        self.stdout.flush()
        delivery.run_forever()
        self.stdout.write(
            f"Stopped: {counted(delivery.handed, 'event')} delivered, {counted(delivery.failed, 'failed attempt')}"
        )
