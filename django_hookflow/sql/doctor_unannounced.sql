-- Of the longest living runs with these statuses, those that have no turn announced and nothing to wait for. One under way has: its row stays
-- until the turn ends. Written so that runs come by the index on status (see doctor_waiting), announcements by their key.
SELECT living.run_id
FROM unnest(%(statuses)s::text[]) AS wanted (status)
CROSS JOIN LATERAL (
  SELECT id AS run_uid, run_id FROM django_hookflow_workflowrun AS run
  WHERE run.status >= wanted.status AND run.status <= wanted.status
  ORDER BY run.status DESC, run.created_at LIMIT %(most)s
) AS living
WHERE (SELECT wait.since_seq FROM django_hookflow_wait AS wait
       WHERE wait.run_uid = living.run_uid AND wait.kind <> 'deadline' LIMIT 1) IS NULL
  AND (SELECT outbox.id FROM django_hookflow_outbox AS outbox
       WHERE outbox.run_uid = living.run_uid AND outbox.kind = 'turn') IS NULL
ORDER BY living.run_uid
