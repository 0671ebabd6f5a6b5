"""Retention: runs that have ended become tombstones, and the log is cut into a partition for each month."""

from pathlib import Path

from django.db import migrations

REVERSE = """
DROP PROCEDURE hookflow_detach_partition, hookflow_add_partitions, hookflow_take_moment;
DROP FUNCTION hookflow_refuse_living, hookflow_living_runs, hookflow_split_sql, hookflow_partition_name,
  hookflow_partition_sql, hookflow_partitions, hookflow_month, hookflow_time_of, hookflow_uid_at,
  hookflow_remove_dead_letters, hookflow_retire;
"""


class Migration(migrations.Migration):
    dependencies = [("django_hookflow", "0007_evidence")]

    operations = [
        migrations.RunSQL(
            sql=Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"),
            reverse_sql=REVERSE,
        ),
    ]
