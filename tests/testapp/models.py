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


class Owned(models.Model):
    """Goes with its run; and takes what refers to it along, or is kept by it."""

    run = models.ForeignKey("django_hookflow.WorkflowRun", models.CASCADE, related_name="+")

    def __str__(self) -> str:
        return f"owned by {self.run_id}"


class OwnedPart(models.Model):
    owned = models.ForeignKey(Owned, models.CASCADE)

    def __str__(self) -> str:
        return f"part of {self.owned_id}"


class OwnedSeal(models.Model):
    owned = models.ForeignKey(Owned, models.PROTECT)

    def __str__(self) -> str:
        return f"seal on {self.owned_id}"


class Loose(models.Model):
    run = models.ForeignKey("django_hookflow.WorkflowRun", models.SET_NULL, null=True, related_name="+")

    def __str__(self) -> str:
        return f"loose: {self.run_id}"


class Protecting(models.Model):
    run = models.OneToOneField("django_hookflow.WorkflowRun", models.PROTECT, related_name="+")

    def __str__(self) -> str:
        return f"protecting {self.run_id}"


class Unanswered(models.Model):
    """Of which Django does nothing, and the database refuses."""

    run = models.ForeignKey("django_hookflow.WorkflowRun", models.DO_NOTHING, to_field="run_id", related_name="+")

    def __str__(self) -> str:
        return f"unanswered: {self.run_id}"


class Dangling(models.Model):
    """Of which neither does anything."""

    run = models.ForeignKey("django_hookflow.WorkflowRun", models.DO_NOTHING, db_constraint=False, related_name="+")

    def __str__(self) -> str:
        return f"dangling: {self.run_id}"


class Elsewhere(models.Model):
    """May be in another database than the log."""

    run = models.ForeignKey("django_hookflow.WorkflowRun", models.CASCADE, db_constraint=False, related_name="+")

    def __str__(self) -> str:
        return f"elsewhere: {self.run_id}"


class Group(models.Model):
    runs = models.ManyToManyField("django_hookflow.WorkflowRun", related_name="+")

    def __str__(self) -> str:
        return f"group {self.pk}"
