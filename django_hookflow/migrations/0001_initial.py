"""The log, its heads and its guards, and the projections that are tables.

The name is that of the only migration of 0.0.4. On a database of that release this one counts as applied, so migrations of
projects that depend on it hold, and the next one does what is to be done.
"""

from pathlib import Path

import django.db.models.deletion
import pgtrigger.compiler
import pgtrigger.migrations
from django.db import migrations, models

import django_hookflow.guards
import django_hookflow.models

#: Of a database of 0.0.x the migration after this one has undone it all. What was put aside has its place again.
REVERSE = """
DO $reverse$
DECLARE
  old record;
BEGIN
  IF to_regclass('django_hookflow_event') IS NOT NULL THEN
    DROP VIEW hookflow_event_readable;
    DROP TABLE django_hookflow_event, django_hookflow_head, django_hookflow_workflowrun, django_hookflow_wait,
      django_hookflow_deadletterentry;
    DROP FUNCTION pgtrigger_guard_23500(), pgtrigger_guard_truncate_89e93(), hookflow_event_hash, hookflow_is_well_formed,
      hookflow_now;
  END IF;
  FOR old IN
    SELECT t.oid::regclass AS relation, 'django_hookflow_' || split_part(relname, 'hookflow_0_0_', 2) AS name
    FROM pg_class AS t
    WHERE relnamespace = to_regnamespace(quote_ident(current_schema()))
      AND relname IN ('hookflow_0_0_workflowrun', 'hookflow_0_0_stepexecution', 'hookflow_0_0_deadletterentry')
  LOOP
    EXECUTE format('ALTER TABLE %s RENAME TO %I', old.relation, old.name);
  END LOOP;
END $reverse$;
"""


class Migration(migrations.Migration):
    initial = True
    dependencies = []

    operations = [
        migrations.RunSQL(
            sql=Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"),
            reverse_sql=REVERSE,
            state_operations=[
                migrations.CreateModel(
                    name="Head",
                    fields=[
                        ("run_uid", models.UUIDField(editable=False, primary_key=True, serialize=False)),
                        ("run_id", models.TextField(unique=True)),
                        ("workflow_id", models.TextField()),
                        ("last_seq", models.IntegerField()),
                        ("fence_seq", models.IntegerField()),
                        ("last_at", models.DateTimeField()),
                        ("head_hash", models.BinaryField()),
                        ("archived_at", models.DateTimeField(null=True)),
                        ("tombstone", django_hookflow.models.VerbatimJSONField(null=True)),
                        ("tombstone_hash", models.BinaryField(null=True)),
                        ("unique_key", models.TextField(null=True)),
                    ],
                    options={
                        "db_table": "django_hookflow_head",
                        "constraints": [
                            models.UniqueConstraint(
                                condition=models.Q(("unique_key__isnull", False)),
                                fields=("workflow_id", "unique_key"),
                                name="django_hookflow_head_unique_key",
                            )
                        ],
                    },
                ),
                migrations.CreateModel(
                    name="WorkflowRun",
                    fields=[
                        ("id", models.UUIDField(editable=False, primary_key=True, serialize=False)),
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
                        ("error_type", models.TextField(blank=True)),
                        ("error_message", models.TextField(blank=True)),
                        ("label", models.CharField(blank=True, max_length=255)),
                        ("subjects", models.JSONField(null=True)),
                        ("created_at", models.DateTimeField()),
                        ("updated_at", models.DateTimeField()),
                        ("completed_at", models.DateTimeField(null=True)),
                        (
                            "parent",
                            django_hookflow.models.ParentField(
                                db_column="parent_uid",
                                db_constraint=False,
                                db_index=False,
                                null=True,
                                on_delete=django.db.models.deletion.DO_NOTHING,
                                related_name="children",
                                to="django_hookflow.workflowrun",
                            ),
                        ),
                        ("parent_step", models.CharField(blank=True, max_length=255)),
                    ],
                    options={
                        "verbose_name": "workflow run",
                        "ordering": ["-created_at"],
                        "permissions": [
                            ("operate_workflowrun", "Can operate workflow runs"),
                            ("view_payload_workflowrun", "Can see the payloads of workflow runs"),
                            ("trigger_workflowrun", "Can trigger workflows"),
                        ],
                    },
                ),
                migrations.AddIndex(
                    model_name="workflowrun",
                    index=models.Index(
                        models.OrderBy(models.F("created_at"), descending=True), name="django_hookflow_run_newest"
                    ),
                ),
                migrations.AddIndex(
                    model_name="workflowrun",
                    index=models.Index(
                        models.F("status"),
                        models.OrderBy(models.F("created_at"), descending=True),
                        name="django_hookflow_run_by_status",
                    ),
                ),
                migrations.AddIndex(
                    model_name="workflowrun",
                    index=models.Index(
                        models.F("workflow_id"),
                        models.F("status"),
                        models.OrderBy(models.F("created_at"), descending=True),
                        name="django_hookflow_run_by_flow",
                    ),
                ),
                migrations.AddIndex(
                    model_name="workflowrun",
                    index=models.Index(
                        models.F("parent"),
                        models.F("parent_step"),
                        condition=models.Q(("parent__isnull", False)),
                        name="django_hookflow_run_by_parent",
                    ),
                ),
                migrations.AddIndex(
                    model_name="workflowrun",
                    index=models.Index(
                        fields=["run_id"], name="django_hookflow_run_id_begins", opclasses=["varchar_pattern_ops"]
                    ),
                ),
                migrations.AddIndex(
                    model_name="workflowrun",
                    index=models.Index(
                        condition=models.Q(("label", ""), _negated=True),
                        fields=["label"],
                        name="django_hookflow_run_by_label",
                        opclasses=["varchar_pattern_ops"],
                    ),
                ),
                migrations.CreateModel(
                    name="WorkflowEvent",
                    fields=[
                        ("position", models.BigIntegerField(editable=False, primary_key=True, serialize=False)),
                        ("seq", models.IntegerField()),
                        ("type", models.TextField()),
                        ("step_id", models.TextField(null=True)),
                        ("actor", models.TextField(null=True)),
                        ("facts", django_hookflow.models.VerbatimJSONField()),
                        ("payload", django_hookflow.models.VerbatimJSONField(null=True)),
                        ("recorded_at", models.DateTimeField()),
                        ("version", models.SmallIntegerField()),
                        ("salt", models.BinaryField(null=True)),
                        ("payload_digest", models.BinaryField(null=True)),
                        ("hash", models.BinaryField()),
                        ("xid", django_hookflow.models.TransactionIdField(editable=False)),
                    ],
                    options={
                        "verbose_name": "workflow event",
                        "db_table": "django_hookflow_event",
                        "ordering": ["workflow_run_id", "seq"],
                    },
                ),
                migrations.AddField(
                    model_name="workflowevent",
                    name="workflow_run",
                    field=models.ForeignKey(
                        db_column="run_uid",
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="events",
                        to="django_hookflow.workflowrun",
                    ),
                ),
                migrations.AddField(
                    model_name="workflowevent",
                    name="head",
                    field=models.ForeignObject(
                        editable=False,
                        from_fields=("workflow_run",),
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        serialize=False,
                        to="django_hookflow.head",
                        to_fields=("run_uid",),
                    ),
                ),
                pgtrigger.migrations.AddTrigger(
                    model_name="workflowevent",
                    trigger=pgtrigger.compiler.Trigger(
                        name="guard",
                        sql=django_hookflow.guards.GuardSql(
                            func="IF TG_OP = 'UPDATE' THEN\n    IF OLD.payload IS NOT NULL AND NEW.payload IS NULL AND NEW.salt IS NULL\n       AND NEW.payload_digest = sha256(OLD.salt || convert_to(OLD.payload::text, 'UTF8'))\n       AND (NEW.position, NEW.run_uid, NEW.seq, NEW.type, NEW.step_id, NEW.actor, NEW.facts::text, NEW.recorded_at,\n            NEW.version, NEW.hash, NEW.xid)\n         IS NOT DISTINCT FROM\n           (OLD.position, OLD.run_uid, OLD.seq, OLD.type, OLD.step_id, OLD.actor, OLD.facts::text, OLD.recorded_at,\n            OLD.version, OLD.hash, OLD.xid)\n    THEN\n      RETURN NEW;\n    END IF;\n  ELSE\n    EXECUTE format('SELECT true FROM %I.django_hookflow_head WHERE run_uid = $1 AND archived_at IS NOT NULL', TG_TABLE_SCHEMA)\n      INTO archived USING OLD.run_uid;\n    IF archived THEN\n      RETURN OLD;\n    END IF;\n  END IF;\n  RAISE EXCEPTION 'hookflow: the event log is append-only, % of %/% is refused', TG_OP, OLD.run_uid, OLD.seq\n    USING ERRCODE = 'restrict_violation';",
                            hash="c6e0b1e5ec7bdd0846af0b3caf55748ce470bdb6",
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
                migrations.CreateModel(
                    name="Wait",
                    fields=[
                        ("id", models.BigIntegerField(editable=False, primary_key=True, serialize=False)),
                        ("step_id", models.CharField(blank=True, max_length=255)),
                        ("kind", models.CharField(max_length=20)),
                        ("due_at", models.DateTimeField(null=True)),
                        ("key", models.TextField(null=True)),
                        ("scope", models.TextField(null=True)),
                        ("since_seq", models.IntegerField()),
                    ],
                    options={
                        "db_table": "django_hookflow_wait",
                        "ordering": ["run_id", "since_seq"],
                    },
                ),
                migrations.AddField(
                    model_name="wait",
                    name="run",
                    field=models.ForeignKey(
                        db_column="run_uid",
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="waits",
                        to="django_hookflow.workflowrun",
                    ),
                ),
                migrations.AddIndex(
                    model_name="wait",
                    index=models.Index(models.F("kind"), models.F("due_at"), name="django_hookflow_wait_by_kind"),
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
                        ("error_type", models.TextField(blank=True)),
                        ("error_message", models.TextField()),
                        ("error_traceback", models.TextField(blank=True)),
                        ("fingerprint", models.CharField(blank=True, max_length=16)),
                        ("attempt_count", models.IntegerField()),
                        ("is_replayed", models.BooleanField()),
                        ("replayed_at", models.DateTimeField(null=True)),
                        ("created_at", models.DateTimeField()),
                    ],
                    options={
                        "verbose_name": "dead letter entry",
                        "verbose_name_plural": "dead letter entries",
                        "ordering": ["-created_at"],
                    },
                ),
                migrations.AddIndex(
                    model_name="deadletterentry",
                    index=models.Index(
                        models.OrderBy(models.F("created_at"), descending=True), name="django_hookflow_dead_newest"
                    ),
                ),
                migrations.AddIndex(
                    model_name="deadletterentry",
                    index=models.Index(models.F("run_id"), name="django_hookflow_dead_by_run"),
                ),
                migrations.AddIndex(
                    model_name="deadletterentry",
                    index=models.Index(
                        models.F("workflow_id"),
                        models.OrderBy(models.F("created_at"), descending=True),
                        name="django_hookflow_dead_by_flow",
                    ),
                ),
                migrations.AddIndex(
                    model_name="deadletterentry",
                    index=models.Index(
                        models.F("fingerprint"),
                        models.OrderBy(models.F("created_at"), descending=True),
                        name="django_hookflow_dead_by_cause",
                    ),
                ),
                migrations.AddIndex(
                    model_name="deadletterentry",
                    index=models.Index(
                        models.OrderBy(models.F("created_at"), descending=True),
                        condition=models.Q(("is_replayed", False)),
                        name="django_hookflow_dead_open",
                    ),
                ),
                migrations.AddConstraint(
                    model_name="deadletterentry",
                    constraint=models.UniqueConstraint(
                        fields=("run_uid", "seq"), name="django_hookflow_deadletter_once_per_failure"
                    ),
                ),
            ],
        ),
    ]
