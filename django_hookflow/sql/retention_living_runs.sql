-- The runs of a partition that are not retired, behind %(after)s; `ended` says whether they could be.
SELECT head.run_uid, head.run_id, head.workflow_id, head.last_seq, head.head_hash, run.created_at,
  coalesce(run.status IN ('completed', 'failed', 'cancelled'), false) AS ended
FROM hookflow_living_runs(%(from)s, %(to)s) AS head LEFT JOIN django_hookflow_workflowrun AS run ON run.id = head.run_uid
WHERE head.run_uid > %(after)s
ORDER BY head.run_uid
LIMIT %(runs)s
