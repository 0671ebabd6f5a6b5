-- Takes due messages for sending: marks them as sent once more and postpones them until the turn would be overdue.
--
-- SKIP LOCKED gives several relays different rows, and keeps clear of rows that an append is just changing. A run with
-- a live lease has its turn begun; the row of that stays and counts again when the lease has run out, or when the run's time is
-- up, which waits for nobody. The clock is read once,
-- in a subquery: hookflow_now() is volatile, and as a bare condition it would keep the index from being used.
WITH clock AS MATERIALIZED (SELECT hookflow_now() AS now),
due AS MATERIALIZED (
  SELECT outbox.id, head.workflow_id, head.run_id
  FROM django_hookflow_outbox AS outbox
    JOIN django_hookflow_head AS head USING (run_uid)
  WHERE outbox.send_at <= (SELECT least(now, %(until)s::timestamptz) FROM clock)
    AND (outbox.kind <> 'turn' OR NOT EXISTS (SELECT FROM django_hookflow_lease AS lease
                     WHERE lease.run_uid = outbox.run_uid
                       AND (SELECT now FROM clock) BETWEEN lease.renewed_at AND lease.expires_at)
         OR EXISTS (SELECT FROM django_hookflow_wait AS wait
                    WHERE wait.run_uid = outbox.run_uid AND wait.step_id = '' AND wait.kind = 'deadline'
                      AND wait.due_at <= (SELECT now FROM clock)))
  ORDER BY outbox.send_at
  LIMIT %(limit)s
  FOR UPDATE OF outbox SKIP LOCKED
)
UPDATE django_hookflow_outbox AS outbox
SET send_at = clock.now + make_interval(secs => %(overdue)s), attempts = outbox.attempts + 1
FROM due, clock
WHERE outbox.id = due.id
RETURNING due.workflow_id, due.run_id, outbox.seq, outbox.run_uid, outbox.attempts, 0::float8, outbox.kind
