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
        "Calls the functions marked with @on_event with the events that they subscribe to, until SIGTERM or SIGINT. Run "
        "as many as you like: each subscriber is served by one at a time."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        how = parser.add_mutually_exclusive_group()
        how.add_argument("--once", action="store_true", help="deliver what is there now and exit, for cron")
        how.add_argument("--list", action="store_true", help="print each subscriber and how far it has got, and exit")

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
                    f"{counted(delivery.handed, 'event')} delivered; {failed} failed and will be tried again"
                )
            self.stdout.write(f"Done: {counted(delivery.handed, 'event')} delivered")
            return
        names = ", ".join(subscription.name for subscription in delivery.subscriptions)
        self.stdout.write(f"Subscribers: {names or 'none, because no function is marked with @on_event'}")
        self.stdout.flush()
        delivery.run_forever()
        self.stdout.write(
            f"Stopped: {counted(delivery.handed, 'event')} delivered, {counted(delivery.failed, 'failed attempt')}"
        )
