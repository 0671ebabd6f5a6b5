-- What the outbox holds that nobody works on, of the rows to be sent next: how many seconds ago each was to be sent and
-- was due.
WITH next AS MATERIALIZED (
  SELECT run_uid, coalesce(due_at, announced_at) AS due_at, send_at, attempts
  FROM django_hookflow_outbox ORDER BY send_at LIMIT %(most)s
), clock AS MATERIALIZED (SELECT hookflow_now() AS now)
SELECT (SELECT head.run_id FROM django_hookflow_head AS head WHERE head.run_uid = next.run_uid) AS run_id,
  extract(epoch FROM clock.now - next.send_at)::float8 AS to_be_sent,
  extract(epoch FROM clock.now - next.due_at)::float8 AS due, next.attempts
FROM clock CROSS JOIN next
WHERE NOT EXISTS (SELECT FROM django_hookflow_lease AS lease
                  WHERE lease.run_uid = next.run_uid AND clock.now BETWEEN lease.renewed_at AND lease.expires_at)
ORDER BY next.send_at
