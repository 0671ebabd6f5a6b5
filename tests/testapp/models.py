"""What atomic steps write: rows that would show an effect that happened twice, or not at all."""

from __future__ import annotations

from django.db import models


class LedgerEntry(models.Model):
    account = models.TextField()
    amount = models.IntegerField()
    reference = models.TextField(blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.account}: {self.amount}"
