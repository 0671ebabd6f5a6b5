-- Runs as they were known at a moment, newest first, each with how long its log was then.
SELECT run.*, (SELECT max(event.seq) FROM django_hookflow_event AS event
               WHERE event.run_uid = run.id AND event.recorded_at <= %(moment)s) AS seq
FROM (
  SELECT * FROM hookflow_fold_runs_until(%(moment)s)
  WHERE (%(run_id)s::text IS NULL OR run_id = %(run_id)s) AND (%(workflow_id)s::text IS NULL OR workflow_id = %(workflow_id)s)
    AND (%(status)s::text IS NULL OR status = %(status)s)
  ORDER BY created_at DESC, id LIMIT %(limit)s OFFSET %(offset)s
) AS run
ORDER BY created_at DESC, id
