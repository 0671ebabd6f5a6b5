"""The functions through which the application writes."""

from pathlib import Path

from django.db import migrations

REVERSE = """
DROP FUNCTION hookflow_append, hookflow_complete, hookflow_with_until, hookflow_refuse, hookflow_scopes_due,
  hookflow_announce, hookflow_start,
  hookflow_start_from, hookflow_hand_on, hookflow_rejoin, hookflow_ended_child, hookflow_join, hookflow_cancel_orphans,
  hookflow_settlement, hookflow_settle, hookflow_take_signals, hookflow_time_out, hookflow_expire, hookflow_claim, hookflow_take,
  hookflow_renew, hookflow_release;
"""


class Migration(migrations.Migration):
    dependencies = [("django_hookflow", "0003_delivery")]

    operations = [
        migrations.RunSQL(
            sql=Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"),
            reverse_sql=REVERSE,
        ),
    ]
