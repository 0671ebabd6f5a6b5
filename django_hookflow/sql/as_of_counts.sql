-- How many runs stood in each status at a moment.
SELECT status, count(*) AS number
FROM hookflow_fold_runs_until(%(moment)s)
WHERE (%(run_id)s::text IS NULL OR run_id = %(run_id)s) AND (%(workflow_id)s::text IS NULL OR workflow_id = %(workflow_id)s)
  AND (%(status)s::text IS NULL OR status = %(status)s)
GROUP BY status
