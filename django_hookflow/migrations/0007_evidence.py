"""The chain of checkpoints."""

from pathlib import Path

import pgtrigger.compiler
import pgtrigger.migrations
from django.db import migrations, models

import django_hookflow.guards

REVERSE = """
DROP TABLE django_hookflow_checkpoint;
DROP FUNCTION pgtrigger_checkpoint_guard_fb7c7(), pgtrigger_checkpoint_guard_truncate_aede2();
"""


class Migration(migrations.Migration):
    dependencies = [("django_hookflow", "0006_reading")]

    operations = [
        migrations.RunSQL(
            sql=Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"),
            reverse_sql=REVERSE,
            state_operations=[
                migrations.CreateModel(
                    name="Checkpoint",
                    fields=[
                        ("id", models.BigAutoField(primary_key=True, serialize=False)),
                        ("made_at", models.DateTimeField()),
                        ("runs", models.BigIntegerField()),
                        ("events", models.BigIntegerField()),
                        ("root", models.BinaryField()),
                        ("token_digest", models.BinaryField()),
                    ],
                    options={
                        "db_table": "django_hookflow_checkpoint",
                    },
                ),
                pgtrigger.migrations.AddTrigger(
                    model_name="checkpoint",
                    trigger=pgtrigger.compiler.Trigger(
                        name="checkpoint_guard",
                        sql=django_hookflow.guards.GuardSql(
                            func="RAISE EXCEPTION 'hookflow: the chain of checkpoints is append-only, % is refused', TG_OP\n    USING ERRCODE = 'restrict_violation';",
                            hash="06236a0e2066fb5bcc8812c11c62807efc6d1214",
                            operation="UPDATE OR DELETE",
                            pgid="pgtrigger_checkpoint_guard_fb7c7",
                            table="django_hookflow_checkpoint",
                            when="BEFORE",
                        ),
                    ),
                ),
                pgtrigger.migrations.AddTrigger(
                    model_name="checkpoint",
                    trigger=pgtrigger.compiler.Trigger(
                        name="checkpoint_guard_truncate",
                        sql=django_hookflow.guards.GuardSql(
                            func="IF current_setting('hookflow.allow_truncate', true) = 'on' THEN\n    RETURN NULL;\n  END IF;\n  RAISE EXCEPTION 'hookflow: the chain of checkpoints is append-only, TRUNCATE is refused'\n    USING ERRCODE = 'restrict_violation';",
                            hash="a905cdd0105c167f422cbbc5220e3dc0e20ecb3d",
                            level="STATEMENT",
                            operation="TRUNCATE",
                            pgid="pgtrigger_checkpoint_guard_truncate_aede2",
                            table="django_hookflow_checkpoint",
                            when="BEFORE",
                        ),
                    ),
                ),
            ],
        ),
    ]
