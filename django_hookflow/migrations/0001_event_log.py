"""The log, its heads and its guards. WorkflowEvent points at WorkflowRun, so its model state follows in 0002."""

from pathlib import Path

from django.db import migrations, models

REVERSE = """
DROP TABLE django_hookflow_event, django_hookflow_head;
DROP FUNCTION pgtrigger_guard_23500(), pgtrigger_guard_truncate_89e93(), hookflow_event_hash, hookflow_now;
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
                    ],
                    options={
                        "db_table": "django_hookflow_head",
                    },
                )
            ],
        ),
    ]
