-- Runs that wait for a child that has ended, and since when, in seconds; of the waits for children so many are looked at.
SELECT (SELECT head.run_id FROM django_hookflow_head AS head WHERE head.run_uid = wait.run_uid) AS run_id, child.run_id,
  extract(epoch FROM hookflow_now() - child.completed_at)::float8 AS seconds
FROM (SELECT * FROM django_hookflow_wait WHERE kind = 'child' LIMIT %(most)s) AS wait
CROSS JOIN LATERAL hookflow_ended_child(wait::django_hookflow_wait) AS ended (run_uid)
JOIN django_hookflow_workflowrun AS child ON child.id = ended.run_uid
WHERE child.completed_at < hookflow_now() - make_interval(secs => %(after)s)
ORDER BY child.completed_at
