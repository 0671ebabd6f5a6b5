-- Of the longest living runs with these statuses, those that have no turn announced. One under way has: its row stays
-- until the turn ends. Written so that runs come by the index on status (see doctor_waiting), announcements by their key.
SELECT living.run_id
FROM unnest(%(statuses)s::text[]) AS wanted (status)
CROSS JOIN LATERAL (
  SELECT run_uid, run_id FROM django_hookflow_workflowrun AS run
  WHERE run.status >= wanted.status AND run.status <= wanted.status
  ORDER BY run.status DESC, run.created_at LIMIT %(most)s
) AS living
WHERE (SELECT outbox.id FROM django_hookflow_outbox AS outbox
       WHERE outbox.run_uid = living.run_uid AND outbox.kind = 'turn') IS NULL
ORDER BY living.run_uid
