"""The outbox and the leases."""

from pathlib import Path

from django.db import migrations, models

REVERSE = """
DROP TABLE django_hookflow_outbox, django_hookflow_lease;
"""


class Migration(migrations.Migration):
    dependencies = [("django_hookflow", "0002_folds")]

    operations = [
        migrations.RunSQL(
            sql=Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"),
            reverse_sql=REVERSE,
            state_operations=[
                migrations.CreateModel(
                    name="OutboxMessage",
                    fields=[
                        ("id", models.BigAutoField(primary_key=True, serialize=False)),
                        ("run_uid", models.UUIDField()),
                        ("seq", models.IntegerField()),
                        ("kind", models.CharField(default="turn", max_length=20)),
                        ("due_at", models.DateTimeField(null=True)),
                        ("announced_at", models.DateTimeField()),
                        ("send_at", models.DateTimeField()),
                        ("attempts", models.IntegerField(default=0)),
                        ("turn_seq", models.IntegerField(null=True)),
                    ],
                    options={
                        "db_table": "django_hookflow_outbox",
                    },
                ),
                migrations.AddIndex(
                    model_name="outboxmessage",
                    index=models.Index(models.F("send_at"), name="django_hookflow_outbox_next"),
                ),
                migrations.AddIndex(
                    model_name="outboxmessage",
                    index=models.Index(
                        models.F("send_at"), condition=models.Q(seq=1), name="django_hookflow_outbox_new"
                    ),
                ),
                migrations.AddConstraint(
                    model_name="outboxmessage",
                    constraint=models.UniqueConstraint(
                        fields=("run_uid", "kind"), name="django_hookflow_outbox_one_turn_a_run"
                    ),
                ),
                migrations.CreateModel(
                    name="Lease",
                    fields=[
                        ("run_uid", models.UUIDField(editable=False, primary_key=True, serialize=False)),
                        ("token", models.BigIntegerField()),
                        ("owner", models.TextField()),
                        ("renewed_at", models.DateTimeField()),
                        ("expires_at", models.DateTimeField()),
                    ],
                    options={
                        "db_table": "django_hookflow_lease",
                    },
                ),
            ],
        ),
    ]
