"""The folds over what may still be told of a run, redaction, and runs as of a moment."""

from pathlib import Path

from django.db import migrations, models

FOLDS_BEFORE = Path(__file__).with_name("0002_projections.sql").read_text(encoding="utf-8").partition("DO $install$")
WRITING = Path(__file__).with_name("0004_writing.sql").read_text(encoding="utf-8")
APPEND_BEFORE = "CREATE OR REPLACE FUNCTION hookflow_append" + (
    WRITING.partition("CREATE FUNCTION hookflow_append")[2].partition("END $$;")[0] + "END $$;\n"
)
#: The functions of 0002 and 0004 as they were.
REVERSE = """
DROP FUNCTION hookflow_redact, hookflow_fold_runs_until, hookflow_project, hookflow_fold_runs, hookflow_fold_runs_as_of,
  hookflow_fold_steps, hookflow_fold_steps_as_of, hookflow_fold_dead_letters, hookflow_fold_dead_letters_as_of;
DO $edit$ BEGIN
  EXECUTE replace(pg_get_functiondef('hookflow_claim'::regproc), 'FROM hookflow_event_told AS e', 'FROM django_hookflow_event AS e');
  EXECUTE replace(replace(pg_get_functiondef('hookflow_start'::regproc),
    'head.workflow_id = p_workflow_id AND p_payload::jsonb - ''label''', 'p_payload::jsonb'),
    'CASE WHEN e.payload_digest IS NULL THEN e.payload ELSE p_payload END::jsonb - ''label''', 'e.payload::jsonb');
END $edit$;
DROP VIEW hookflow_event_told;
DROP INDEX django_hookflow_event_retained;
ALTER TABLE django_hookflow_workflowrun DROP COLUMN label;
"""


class Migration(migrations.Migration):
    dependencies = [("django_hookflow", "0005_operating")]

    operations = [
        migrations.RunSQL(
            sql=Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"),
            reverse_sql=REVERSE + APPEND_BEFORE + "".join(FOLDS_BEFORE[1:]),
            state_operations=[
                migrations.AddField("workflowrun", "label", models.CharField(blank=True, default="", max_length=255)),
                migrations.AddIndex(
                    "workflowrun",
                    models.Index(
                        fields=["run_id"], opclasses=["varchar_pattern_ops"], name="django_hookflow_run_id_begins"
                    ),
                ),
                migrations.AddIndex(
                    "workflowrun",
                    models.Index(
                        fields=["label"],
                        opclasses=["varchar_pattern_ops"],
                        condition=models.Q(("label", ""), _negated=True),
                        name="django_hookflow_run_by_label",
                    ),
                ),
            ],
        ),
    ]
