"""A user's test that has never heard of the test kit (see test_user_suite.py)."""

from __future__ import annotations

from django.test import TransactionTestCase

from django_hookflow import WorkflowContext, workflow
from django_hookflow.models import OutboxMessage, WorkflowRun


@workflow(workflow_id="shop.pay")
def pay(ctx: WorkflowContext) -> None: ...


class PaymentTests(TransactionTestCase):
    def test_payment(self) -> None:
        run = WorkflowRun.objects.get(run_id=pay.trigger())
        assert OutboxMessage.objects.filter(run_uid=run.run_uid).exists()  # announced, and kept for a relay
        assert run.cancel(reason="a test")
