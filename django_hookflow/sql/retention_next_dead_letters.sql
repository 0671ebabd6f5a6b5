-- The next dead letters to remove: those written before %(created_before)s, behind the id %(after)s, %(number)s at most
-- (null: all). With %(of_runs_that_stay)s not those of runs that are due to be retired themselves.
SELECT entry.id
FROM django_hookflow_deadletterentry AS entry
WHERE entry.id > %(after)s AND entry.created_at < %(created_before)s
  AND NOT (%(of_runs_that_stay)s AND EXISTS (
    SELECT FROM django_hookflow_workflowrun AS run
    WHERE run.id = entry.run_uid AND run.status IN ('completed', 'failed', 'cancelled')
      AND run.completed_at < %(created_before)s))
ORDER BY entry.id
LIMIT %(number)s
