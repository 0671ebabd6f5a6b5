-- What has last come of steps in each run of a page: of so many events each, those that completed, failed or suspended one.
-- The facts say which kind of step or wait it was, and how long its last attempt worked; no payload is read.
SELECT run.run_uid, event.type, event.facts->>'kind', coalesce((event.facts->>'took')::float8, 0)
FROM unnest(%(run_uids)s::uuid[]) AS run (run_uid)
CROSS JOIN LATERAL (
  SELECT seq, type, facts FROM django_hookflow_event
  WHERE django_hookflow_event.run_uid = run.run_uid
  ORDER BY seq DESC LIMIT %(limit)s
) AS event
WHERE event.type IN ('step.completed', 'step.failed', 'step.suspended')
ORDER BY run.run_uid, event.seq
