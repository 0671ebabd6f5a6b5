"""What atomic steps write, rows that would show an effect that happened twice or not at all, and keys of runs."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models

from django_hookflow.models import WorkflowRun


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


class Referring(models.Model):
    """Models with keys of other tables, whose managers and ids django-stubs does not see in this app."""

    objects: ClassVar[models.Manager[Any]] = models.Manager()

    class Meta:
        abstract = True


class Owned(Referring):
    """Goes with its run; and takes what refers to it along, or is kept by it."""

    run = models.ForeignKey(WorkflowRun, models.CASCADE, related_name="+")

    def __str__(self) -> str:
        return f"owned by {self.pk}"


class OwnedPart(Referring):
    owned = models.ForeignKey(Owned, models.CASCADE)

    def __str__(self) -> str:
        return f"part of {self.pk}"


class OwnedSeal(Referring):
    owned = models.ForeignKey(Owned, models.PROTECT)

    def __str__(self) -> str:
        return f"seal on {self.pk}"


class Loose(Referring):
    run = models.ForeignKey(WorkflowRun, models.SET_NULL, null=True, related_name="+")

    def __str__(self) -> str:
        return f"loose: {self.pk}"


class Protecting(Referring):
    run = models.OneToOneField(WorkflowRun, models.PROTECT, related_name="+")

    def __str__(self) -> str:
        return f"protecting {self.pk}"


class Unanswered(Referring):
    """Of which Django does nothing, and the database refuses."""

    run = models.ForeignKey(WorkflowRun, models.DO_NOTHING, to_field="run_id", related_name="+")

    def __str__(self) -> str:
        return f"unanswered: {self.pk}"


class Dangling(Referring):
    """Of which neither does anything."""

    run = models.ForeignKey(WorkflowRun, models.DO_NOTHING, db_constraint=False, related_name="+")

    def __str__(self) -> str:
        return f"dangling: {self.pk}"


class Elsewhere(Referring):
    """May be in another database than the log."""

    run = models.ForeignKey(WorkflowRun, models.CASCADE, db_constraint=False, related_name="+")

    def __str__(self) -> str:
        return f"elsewhere: {self.pk}"


class Group(Referring):
    runs: models.ManyToManyField[Any, Any] = models.ManyToManyField(WorkflowRun, related_name="+")

    def __str__(self) -> str:
        return f"group {self.pk}"
