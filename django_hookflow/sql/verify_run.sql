-- All that is needed to say what is wrong with one run, in one snapshot: its head, its events as lines of JSON, and the
-- times and step ids that projections remember of them. The lines are those of event_lines.sql.
SELECT (
    SELECT row_to_json(head)::text FROM (
      SELECT run_id, workflow_id, last_seq, encode(head_hash, 'hex') AS head_hash, archived_at IS NOT NULL AS archived,
        to_char(last_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS last_at
      FROM django_hookflow_head WHERE run_uid BETWEEN %(from)s AND %(to)s
    ) AS head
  ) AS head,
  ARRAY({lines}) AS events,
  ARRAY(
    SELECT to_char(remembered AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
    FROM (
      SELECT unnest(ARRAY[created_at, updated_at, completed_at]) FROM django_hookflow_workflowrun
        WHERE run_uid BETWEEN %(from)s AND %(to)s
      UNION SELECT executed_at FROM django_hookflow_stepexecution WHERE workflow_run_id BETWEEN %(from)s AND %(to)s
      UNION SELECT created_at FROM django_hookflow_deadletterentry WHERE run_uid BETWEEN %(from)s AND %(to)s
    ) AS projection (remembered)
    WHERE remembered IS NOT NULL
  ) AS times,
  ARRAY(SELECT step_id::text FROM django_hookflow_stepexecution WHERE workflow_run_id BETWEEN %(from)s AND %(to)s) AS step_ids
