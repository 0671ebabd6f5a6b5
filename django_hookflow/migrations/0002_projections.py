"""The projections and their folds; with them the model state of the log, whose table 0001 made."""

from pathlib import Path

import django.db.models.deletion
import pgtrigger.compiler
import pgtrigger.migrations
from django.db import migrations, models

import django_hookflow.guards
import django_hookflow.models

REVERSE = """
DROP FUNCTION hookflow_project, hookflow_fold_runs, hookflow_fold_steps, hookflow_fold_dead_letters,
  hookflow_fold_runs_as_of, hookflow_fold_steps_as_of, hookflow_fold_dead_letters_as_of, hookflow_status_after, hookflow_redacted;
DROP TABLE django_hookflow_workflowrun, django_hookflow_stepexecution, django_hookflow_deadletterentry;
"""


class Migration(migrations.Migration):
    dependencies = [("django_hookflow", "0001_event_log")]

    operations = [
        migrations.RunSQL(
            sql=Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"),
            reverse_sql=REVERSE,
            state_operations=[
                migrations.CreateModel(
                    name="WorkflowRun",
                    fields=[
                        ("run_uid", models.UUIDField(editable=False, primary_key=True, serialize=False)),
                        ("run_id", models.CharField(max_length=255, unique=True)),
                        ("workflow_id", models.CharField(max_length=255)),
                        (
                            "status",
                            models.CharField(
                                choices=[
                                    ("pending", "Pending"),
                                    ("running", "Running"),
                                    ("completed", "Completed"),
                                    ("failed", "Failed"),
                                    ("cancelled", "Cancelled"),
                                    ("paused", "Paused"),
                                    ("in_doubt", "In doubt"),
                                    ("diverged", "Diverged"),
                                ],
                                max_length=20,
                            ),
                        ),
                        ("data", models.JSONField()),
                        ("result", models.JSONField(null=True)),
                        ("error_message", models.TextField(blank=True)),
                        ("created_at", models.DateTimeField()),
                        ("updated_at", models.DateTimeField()),
                        ("completed_at", models.DateTimeField(null=True)),
                        ("wake_at", models.DateTimeField(null=True)),
                    ],
                    options={
                        "verbose_name": "workflow run",
                        "ordering": ["-created_at"],
                        "indexes": [
                            models.Index(
                                models.OrderBy(models.F("created_at"), descending=True),
                                name="django_hookflow_run_newest",
                            ),
                            models.Index(
                                models.F("status"),
                                models.OrderBy(models.F("created_at"), descending=True),
                                name="django_hookflow_run_by_status",
                            ),
                            models.Index(
                                models.F("workflow_id"),
                                models.F("status"),
                                models.OrderBy(models.F("created_at"), descending=True),
                                name="django_hookflow_run_by_flow",
                            ),
                        ],
                    },
                ),
                migrations.CreateModel(
                    name="StepExecution",
                    fields=[
                        ("id", models.BigIntegerField(editable=False, primary_key=True, serialize=False)),
                        ("step_id", models.CharField(max_length=255)),
                        ("kind", models.CharField(max_length=20)),
                        ("result", models.JSONField(null=True)),
                        ("attempts", models.IntegerField()),
                        ("executed_at", models.DateTimeField()),
                        ("seq", models.IntegerField()),
                        (
                            "workflow_run",
                            models.ForeignKey(
                                db_constraint=False,
                                db_index=False,
                                on_delete=django.db.models.deletion.DO_NOTHING,
                                related_name="step_executions",
                                to="django_hookflow.workflowrun",
                            ),
                        ),
                    ],
                    options={
                        "verbose_name": "step execution",
                        "ordering": ["seq"],
                    },
                ),
                migrations.AddConstraint(
                    model_name="stepexecution",
                    constraint=models.UniqueConstraint(
                        fields=("workflow_run", "step_id"), name="django_hookflow_step_once"
                    ),
                ),
                migrations.CreateModel(
                    name="DeadLetterEntry",
                    fields=[
                        ("id", models.BigIntegerField(editable=False, primary_key=True, serialize=False)),
                        ("run_uid", models.UUIDField()),
                        ("seq", models.IntegerField()),
                        ("workflow_id", models.CharField(max_length=255)),
                        ("run_id", models.CharField(max_length=255)),
                        ("step_id", models.CharField(blank=True, max_length=255)),
                        ("payload", models.JSONField()),
                        ("error_message", models.TextField()),
                        ("error_traceback", models.TextField(blank=True)),
                        ("attempt_count", models.IntegerField()),
                        ("is_replayed", models.BooleanField()),
                        ("replayed_at", models.DateTimeField(null=True)),
                        ("created_at", models.DateTimeField()),
                    ],
                    options={
                        "verbose_name": "dead letter entry",
                        "verbose_name_plural": "dead letter entries",
                        "ordering": ["-created_at"],
                        "indexes": [
                            models.Index(
                                models.OrderBy(models.F("created_at"), descending=True),
                                name="django_hookflow_dead_newest",
                            ),
                            models.Index(models.F("run_id"), name="django_hookflow_dead_by_run"),
                            models.Index(
                                models.F("workflow_id"),
                                models.OrderBy(models.F("created_at"), descending=True),
                                name="django_hookflow_dead_by_flow",
                            ),
                            models.Index(
                                models.OrderBy(models.F("created_at"), descending=True),
                                condition=models.Q(("is_replayed", False)),
                                name="django_hookflow_dead_open",
                            ),
                        ],
                        "constraints": [
                            models.UniqueConstraint(
                                fields=("run_uid", "seq"), name="django_hookflow_deadletter_once_per_failure"
                            )
                        ],
                    },
                ),
                migrations.CreateModel(
                    name="WorkflowEvent",
                    fields=[
                        ("position", models.BigIntegerField(editable=False, primary_key=True, serialize=False)),
                        ("seq", models.IntegerField()),
                        ("type", models.TextField()),
                        ("step_id", models.TextField(null=True)),
                        ("actor", models.TextField(null=True)),
                        ("payload", django_hookflow.models.VerbatimJSONField(null=True)),
                        ("recorded_at", models.DateTimeField()),
                        ("version", models.SmallIntegerField()),
                        ("salt", models.BinaryField(null=True)),
                        ("payload_digest", models.BinaryField(null=True)),
                        ("hash", models.BinaryField()),
                        (
                            "workflow_run",
                            models.ForeignKey(
                                db_column="run_uid",
                                db_constraint=False,
                                db_index=False,
                                null=True,
                                on_delete=django.db.models.deletion.DO_NOTHING,
                                related_name="events",
                                to="django_hookflow.workflowrun",
                            ),
                        ),
                    ],
                    options={
                        "verbose_name": "workflow event",
                        "db_table": "django_hookflow_event",
                        "ordering": ["workflow_run", "seq"],
                    },
                ),
                pgtrigger.migrations.AddTrigger(
                    model_name="workflowevent",
                    trigger=pgtrigger.compiler.Trigger(
                        name="guard",
                        sql=django_hookflow.guards.GuardSql(
                            func="IF TG_OP = 'UPDATE' THEN\n    IF OLD.payload IS NOT NULL AND NEW.payload IS NULL AND NEW.salt IS NULL\n       AND NEW.payload_digest = sha256(OLD.salt || convert_to(OLD.payload::text, 'UTF8'))\n       AND (NEW.position, NEW.run_uid, NEW.seq, NEW.type, NEW.step_id, NEW.actor, NEW.recorded_at, NEW.version, NEW.hash)\n         IS NOT DISTINCT FROM\n           (OLD.position, OLD.run_uid, OLD.seq, OLD.type, OLD.step_id, OLD.actor, OLD.recorded_at, OLD.version, OLD.hash)\n    THEN\n      RETURN NEW;\n    END IF;\n  ELSE\n    EXECUTE format('SELECT true FROM %I.django_hookflow_head WHERE run_uid = $1 AND archived_at IS NOT NULL', TG_TABLE_SCHEMA)\n      INTO archived USING OLD.run_uid;\n    IF archived THEN\n      RETURN OLD;\n    END IF;\n  END IF;\n  RAISE EXCEPTION 'hookflow: the event log is append-only, % of %/% is refused', TG_OP, OLD.run_uid, OLD.seq\n    USING ERRCODE = 'restrict_violation';",
                            hash="a7fd9544f0a06ae1d046c35794c18eb01efb925e",
                            operation="UPDATE OR DELETE",
                            pgid="pgtrigger_guard_23500",
                            table="django_hookflow_event",
                            when="BEFORE",
                        ),
                    ),
                ),
                pgtrigger.migrations.AddTrigger(
                    model_name="workflowevent",
                    trigger=pgtrigger.compiler.Trigger(
                        name="guard_truncate",
                        sql=django_hookflow.guards.GuardSql(
                            func="IF current_setting('hookflow.allow_truncate', true) = 'on' THEN\n    RETURN NULL;\n  END IF;\n  RAISE EXCEPTION 'hookflow: the event log is append-only, TRUNCATE is refused'\n    USING ERRCODE = 'restrict_violation';",
                            hash="f5ff9721c4cb566379b68bbde7776d7188073051",
                            level="STATEMENT",
                            operation="TRUNCATE",
                            pgid="pgtrigger_guard_truncate_89e93",
                            table="django_hookflow_event",
                            when="BEFORE",
                        ),
                    ),
                ),
            ],
        ),
    ]
