"""A user's test suite, run by Django's own runner in a process of its own (see test_user_suite.py)."""

from __future__ import annotations

import requests
from django.core import mail
from django.db import connection
from django.test import LiveServerTestCase, TransactionTestCase

from django_hookflow.models import WorkflowEvent
from tests.log.calls import append, start, step


class OrdersTestCase(TransactionTestCase):
    """Each test leaves events behind; the flush after it must be allowed to empty the log."""

    def make_order(self) -> None:
        self.assertEqual(WorkflowEvent.objects.count(), 0)
        run = start("order-1")
        append(run["run_uid"], 1, step("a"))
        self.assertEqual(WorkflowEvent.objects.count(), 2)

    def test_first(self) -> None:
        self.make_order()

    def test_second(self) -> None:
        self.make_order()


class SequencesTestCase(OrdersTestCase):
    reset_sequences = True


class LiveServerOrdersTestCase(LiveServerTestCase, OrdersTestCase):
    def test_over_http(self) -> None:
        self.make_order()
        answer = requests.get(f"{self.live_server_url}/workflow/orders/", timeout=10)
        self.assertEqual(answer.status_code, 405)


class LaterConnectionTestCase(TransactionTestCase):
    """A connection of the middle of a test."""

    def test_flush(self) -> None:
        connection.close()
        append(start("order-1")["run_uid"], 1, step("a"))
        self.assertTrue(hasattr(mail, "outbox"))
