-- Has a message that could not be sent sent again, if it is still the one this sender took: a later announcement has
-- another seq, a later taking another attempt, and a turn that has begun holds a lease.
UPDATE django_hookflow_outbox AS outbox
SET send_at = greatest(outbox.due_at, hookflow_now() + make_interval(secs => %(in_seconds)s))
WHERE outbox.run_uid = %(run_uid)s AND outbox.kind = %(kind)s AND outbox.seq = %(seq)s AND outbox.attempts = %(attempt)s
  AND NOT EXISTS (SELECT FROM django_hookflow_lease AS lease
                  WHERE lease.run_uid = outbox.run_uid
                    AND hookflow_now() BETWEEN lease.renewed_at AND lease.expires_at)
