"""Waking a run before its time, and the permissions of those who look at runs and act on them."""

from pathlib import Path

from django.db import migrations

#: The functions and the view of 0002 and 0009 as they were.
REVERSE = """
DROP FUNCTION hookflow_wake;
DO $edit$ BEGIN
  EXECUTE replace(pg_get_functiondef('hookflow_status_after'::regproc), '    WHEN ''run.woken''     THEN ''running''\n', '');
  EXECUTE 'CREATE OR REPLACE VIEW hookflow_operations AS '
    || replace(pg_get_viewdef('hookflow_operations'::regclass), ', ''run.woken''::text, ''run.rebuilt''::text', '');
END $edit$;
"""


class Migration(migrations.Migration):
    dependencies = [("django_hookflow", "0009_reading")]

    operations = [
        migrations.RunSQL(
            sql=Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"),
            reverse_sql=REVERSE,
            state_operations=[
                migrations.AlterModelOptions(
                    name="workflowrun",
                    options={
                        "ordering": ["-created_at"],
                        "permissions": [
                            ("operate_workflowrun", "Can operate workflow runs"),
                            ("view_payload_workflowrun", "Can see the payloads of workflow runs"),
                        ],
                        "verbose_name": "workflow run",
                    },
                ),
            ],
        ),
    ]
