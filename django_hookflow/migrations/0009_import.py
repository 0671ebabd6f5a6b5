"""How runs of 0.0.x become runs of the log."""

from pathlib import Path

from django.db import migrations

REVERSE = """
DO $back$ BEGIN
  IF to_regclass('hookflow_0_0_workflowrun') IS NOT NULL THEN
    PERFORM hookflow_convert_references('django_hookflow_workflowrun', 'hookflow_0_0_workflowrun', 'hookflow_old_key');
  END IF;
END $back$;
DROP FUNCTION hookflow_take_over;
DROP PROCEDURE hookflow_import;
DROP FUNCTION hookflow_convert_column, hookflow_convert_references, hookflow_old_key, hookflow_new_key, hookflow_import_next, hookflow_import_runs,
  hookflow_chain, hookflow_old_events, hookflow_old_runs, hookflow_until, hookflow_old_uid, hookflow_old_fingerprint,
  hookflow_old_error_type, hookflow_slept_for, hookflow_untagged;
"""


class Migration(migrations.Migration):
    dependencies = [("django_hookflow", "0008_retention")]

    operations = [
        migrations.RunSQL(
            sql=Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"),
            reverse_sql=REVERSE,
        ),
    ]
