"""The folds, and the projection that is a view."""

from pathlib import Path

import django.db.models.deletion
from django.db import migrations, models

REVERSE = """
DROP INDEX django_hookflow_event_acts, django_hookflow_event_acts_of;
DROP FUNCTION hookflow_project, hookflow_fold_runs, hookflow_fold_waits, hookflow_fold_dead_letters,
  hookflow_fold_runs_as_of, hookflow_fold_waits_as_of, hookflow_fold_dead_letters_as_of, hookflow_fold_steps_as_of,
  hookflow_fold_runs_until;
DROP VIEW django_hookflow_stepexecution;
DROP FUNCTION hookflow_status_after, hookflow_ends_run, hookflow_is_act, hookflow_wait_length, hookflow_settles_of_run,
  hookflow_mask;
"""


class Migration(migrations.Migration):
    dependencies = [("django_hookflow", "0002_aside")]

    operations = [
        migrations.RunSQL(
            sql=Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"),
            reverse_sql=REVERSE,
            state_operations=[
                migrations.CreateModel(
                    name="StepExecution",
                    fields=[
                        ("id", models.BigIntegerField(editable=False, primary_key=True, serialize=False)),
                        ("step_id", models.CharField(max_length=255)),
                        ("kind", models.CharField(max_length=20)),
                        ("result", models.JSONField(null=True)),
                        ("attempts", models.IntegerField()),
                        ("took", models.FloatField(null=True)),
                        ("executed_at", models.DateTimeField()),
                        ("seq", models.IntegerField()),
                    ],
                    options={
                        "verbose_name": "step execution",
                        "ordering": ["seq"],
                    },
                ),
                migrations.AddField(
                    model_name="stepexecution",
                    name="workflow_run",
                    field=models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="step_executions",
                        to="django_hookflow.workflowrun",
                    ),
                ),
            ],
        ),
    ]
