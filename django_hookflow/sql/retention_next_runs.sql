-- The next runs to retire: those that ended before %(ended_before)s, oldest first, behind the place where the last look
-- stopped (%(after_at)s, %(after_uid)s); as many as have %(events)s events, but at least one and not more than %(runs)s.
-- Going by the projection, which has the indexes; hookflow_retire makes sure of it from the log.
SELECT run_uid, run_id, workflow_id, last_seq, head_hash, created_at
FROM (
  SELECT due.*, sum(last_seq) OVER (ORDER BY created_at, run_uid) - last_seq AS events_before
  FROM (
    SELECT run.id AS run_uid, head.run_id, head.workflow_id, head.last_seq, head.head_hash, run.created_at
    FROM django_hookflow_workflowrun AS run JOIN django_hookflow_head AS head ON head.run_uid = run.id
    WHERE (run.created_at, run.id) > (%(after_at)s, %(after_uid)s) AND run.created_at < %(ended_before)s
      AND run.status IN ('completed', 'failed', 'cancelled') AND run.completed_at < %(ended_before)s
      AND head.archived_at IS NULL
    ORDER BY run.created_at, run.id
    LIMIT %(runs)s
  ) AS due
) AS due
WHERE events_before < %(events)s
ORDER BY created_at, run_uid
