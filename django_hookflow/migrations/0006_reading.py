"""Reading the log: subscribers, and views for analysts."""

from pathlib import Path

from django.db import migrations, models

REVERSE = """
DROP VIEW hookflow_operations, hookflow_failures, hookflow_step_durations, hookflow_run_durations;
DROP TABLE django_hookflow_subscriber;
"""


class Migration(migrations.Migration):
    dependencies = [("django_hookflow", "0005_operating")]

    operations = [
        migrations.RunSQL(
            sql=Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"),
            reverse_sql=REVERSE,
            state_operations=[
                migrations.CreateModel(
                    name="Subscriber",
                    fields=[
                        ("name", models.CharField(max_length=200, primary_key=True, serialize=False)),
                        ("checkpoint", models.JSONField()),
                        ("failures", models.IntegerField(default=0)),
                        ("retry_at", models.DateTimeField(null=True)),
                        ("last_error", models.TextField(blank=True)),
                        ("updated_at", models.DateTimeField()),
                    ],
                    options={
                        "db_table": "django_hookflow_subscriber",
                        "ordering": ["name"],
                    },
                ),
            ],
        ),
    ]
