"""Rows about runs, with every way of a foreign key to them."""

from __future__ import annotations

from django.db import models


class Order(models.Model):
    run = models.ForeignKey("django_hookflow.WorkflowRun", models.SET_NULL, null=True)
    number = models.IntegerField()


class Note(models.Model):
    run = models.ForeignKey("django_hookflow.WorkflowRun", models.CASCADE, related_name="+")
    text = models.TextField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "text"], name="shop_note_once")]


class Receipt(models.Model):
    run = models.OneToOneField("django_hookflow.WorkflowRun", models.PROTECT, related_name="+")


class Mention(models.Model):
    run = models.ForeignKey("django_hookflow.WorkflowRun", models.CASCADE, to_field="run_id", related_name="+")


class Trace(models.Model):
    run = models.ForeignKey("django_hookflow.WorkflowRun", models.DO_NOTHING, db_constraint=False, related_name="+")


class Basket(models.Model):
    runs = models.ManyToManyField("django_hookflow.WorkflowRun", related_name="+")
