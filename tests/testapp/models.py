"""What atomic steps write, rows that would show an effect that happened twice or not at all, and keys of runs."""

from __future__ import annotations

from django.db import models


class LedgerEntry(models.Model):
    account = models.TextField()
    amount = models.IntegerField()
    reference = models.TextField(blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.account}: {self.amount}"


class RunKey(models.Model):
    """The key that what a run carries is sealed with, as the README's example keeps it."""

    run_uid = models.UUIDField(primary_key=True)
    key = models.BinaryField()

    def __str__(self) -> str:
        return f"key of {self.run_uid}"
