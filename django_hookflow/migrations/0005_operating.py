"""What people do to runs: cancel, pause, resume, wake, replay, rewind, resolve, redact; and signals."""

from pathlib import Path

from django.db import migrations

REVERSE = """
DROP FUNCTION hookflow_operate, hookflow_signal, hookflow_may, hookflow_check, hookflow_refuse_to, hookflow_steps_from,
  hookflow_first_step, hookflow_redact;
"""


class Migration(migrations.Migration):
    dependencies = [("django_hookflow", "0004_writing")]

    operations = [
        migrations.RunSQL(
            sql=Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"),
            reverse_sql=REVERSE,
        ),
    ]
