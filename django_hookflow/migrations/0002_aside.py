"""On a database of 0.0.x, where 0001 counts as applied: puts its tables aside and makes ours. On any other: nothing."""

from importlib import import_module
from pathlib import Path

from django.db import migrations

WHOLE = Path(__file__).with_name("0001_initial.sql").read_text(encoding="utf-8")
REVERSE = import_module("django_hookflow.migrations.0001_initial").REVERSE


class Migration(migrations.Migration):
    dependencies = [("django_hookflow", "0002_alter_stepexecution_step_id_alter_workflowrun_data")]

    operations = [
        migrations.RunSQL(
            sql=f"""DO $predecessor$ BEGIN IF to_regclass('django_hookflow_event') IS NULL THEN EXECUTE $whole$
{WHOLE}
$whole$; END IF; END $predecessor$;""",
            # Where 0.0.x has been, 0001 stays recorded: what is left is a database of 0.0.4, ready to be used by it.
            reverse_sql=f"""DO $predecessor$ BEGIN IF to_regclass('hookflow_0_0_workflowrun') IS NOT NULL THEN EXECUTE $whole$
{REVERSE}
$whole$; END IF; END $predecessor$;""",
        ),
    ]
