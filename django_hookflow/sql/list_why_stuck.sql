-- Of the runs of a page, those with an announced turn that nobody works on though it is due: when it was due and is sent
-- again, how often it was sent, and since when the lease of a turn that had begun is over.
SELECT outbox.run_uid, coalesce(outbox.due_at, outbox.announced_at), outbox.send_at, outbox.attempts,
  CASE WHEN outbox.turn_seq IS NOT NULL THEN coalesce(lease.expires_at, outbox.send_at) END
FROM django_hookflow_outbox AS outbox
LEFT JOIN django_hookflow_lease AS lease ON lease.run_uid = outbox.run_uid
WHERE outbox.run_uid = ANY(%(run_uids)s) AND outbox.kind = 'turn'
  AND (outbox.turn_seq IS NOT NULL OR coalesce(outbox.due_at, outbox.announced_at) <= %(now)s - make_interval(secs => %(overdue)s))
  AND NOT coalesce(%(now)s BETWEEN lease.renewed_at AND lease.expires_at, false)
