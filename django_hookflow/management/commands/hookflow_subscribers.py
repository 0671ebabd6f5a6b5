"""``manage.py hookflow_subscribers``: hands events to the functions that subscribe to them."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from django_hookflow.events.database import alias
from django_hookflow.exceptions import HookFlowException
from django_hookflow.feed.delivering import Delivery
from django_hookflow.feed.listing import list_subscribers
from django_hookflow.feed.subscribers import registered_subscriptions
from django_hookflow.management.signals import stopped_by_signals


class Command(BaseCommand):
    help = (
        "Calls the functions marked with @on_event with the events they subscribe to, until SIGTERM or SIGINT, or once "
        "with those there are. Run any number of these: each subscriber is served by one at a time."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        how = parser.add_mutually_exclusive_group()
        how.add_argument("--once", action="store_true", help="hand over what is there now and end, for cron")
        how.add_argument("--list", action="store_true", help="print each subscriber and how far it has come, and end")

    def handle(self, *args: Any, once: bool, list: bool, **options: Any) -> None:
        alias()  # what refuses that is not a failure of each subscriber
        try:
            if list:
                for line in list_subscribers():
                    self.stdout.write(line)
                return
            delivery = Delivery(registered_subscriptions())
            with stopped_by_signals(delivery.stop):
                self._run(delivery, once)
        except HookFlowException as error:
            raise CommandError(str(error)) from error

    def _run(self, delivery: Delivery, once: bool) -> None:
        if once:
            delivery.run_once()
            if delivery.failed:
                raise CommandError(
                    f"handed over {delivery.handed}; {delivery.failed} subscribers failed and will be tried again"
                )
            self.stdout.write(f"handed over {delivery.handed}")
            return
        names = ", ".join(subscription.name for subscription in delivery.subscriptions)
        self.stdout.write(f"serving {names or 'no subscribers: nothing is marked with @on_event'}")
        self.stdout.flush()
        delivery.run_forever()
        self.stdout.write(f"stopped; handed over {delivery.handed}, {delivery.failed} failed attempts")
