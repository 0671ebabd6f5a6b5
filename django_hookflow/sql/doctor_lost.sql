-- Turns whose lease has long run out and that nobody has taken up again, and since when, in seconds.
-- There are only as many leases as turns under way, and those of workers that were lost. What is said of the outbox stands
-- in a subquery so that it is asked for each lease, by its key.
SELECT (SELECT head.run_id FROM django_hookflow_head AS head WHERE head.run_uid = lease.run_uid) AS run_id,
  extract(epoch FROM hookflow_now() - lease.expires_at)::float8 AS seconds
FROM (SELECT run_uid, token, expires_at FROM django_hookflow_lease LIMIT %(most)s) AS lease
WHERE lease.expires_at < hookflow_now() - make_interval(secs => %(after)s)
  AND lease.token = (SELECT outbox.turn_seq FROM django_hookflow_outbox AS outbox
                     WHERE outbox.run_uid = lease.run_uid AND outbox.kind = 'turn')
ORDER BY lease.expires_at
