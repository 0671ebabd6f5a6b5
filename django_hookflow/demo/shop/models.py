"""What the shop keeps, and what the payment provider keeps. Amounts are in cents."""

from __future__ import annotations

from django.db import models


class Order(models.Model):
    class Status(models.TextChoices):
        PLACED = "placed", "Placed"
        FULFILLED = "fulfilled", "Fulfilled"

    customer = models.TextField()
    amount = models.PositiveIntegerField()
    status = models.CharField(max_length=20, choices=Status.choices, default=Status.PLACED)
    #: How the customer likes to be written to.
    channel = models.CharField(max_length=20, default="mail")
    #: Once, the worker that books the courier for it is killed in the middle, or the warehouse does not answer.
    is_unlucky = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"order {self.pk} of {self.customer}"

    @property
    def run_id(self) -> str:
        """The run that processes the order: chosen by the shop, so that placing it twice could not start two."""
        return f"order-{self.pk}"


class LedgerEntry(models.Model):
    """Money that came in. Nothing here keeps an order from being booked twice: the atomic step does."""

    order = models.ForeignKey(Order, on_delete=models.PROTECT, related_name="ledger_entries")
    amount = models.IntegerField()
    charge_id = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name_plural = "ledger entries"

    def __str__(self) -> str:
        return f"{self.amount / 100:.2f} for {self.order}"


class Charge(models.Model):
    """The payment provider's book: what was charged, and how often each request for it came in."""

    idempotency_key = models.TextField(unique=True)
    amount = models.PositiveIntegerField()
    requests = models.PositiveIntegerField(default=1)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"charge {self.pk}"
