-- Runs that have come to a halt unnoticed: an announced turn that has not begun though it was due long ago, or one
-- that has begun and whose lease has run out. Those that have waited longest for a relay come first.
--
-- The index is on send_at, which a relay moves on each time it sends a turn again: by the overdue time, or by what the
-- deliverer asked for. So the search goes an hour into what is still to be sent, and no further than `looked_at` rows.
SELECT announced.run_uid
FROM (
  SELECT run_uid, kind, coalesce(due_at, announced_at) AS due_at, send_at, turn_seq FROM django_hookflow_outbox
  WHERE send_at <= %(now)s + interval '1 hour'
  ORDER BY send_at LIMIT %(looked_at)s
) AS announced
LEFT JOIN django_hookflow_lease AS lease
  ON lease.run_uid = announced.run_uid AND lease.renewed_at <= %(now)s AND lease.expires_at > %(now)s
WHERE announced.kind = 'turn' AND lease.run_uid IS NULL
  AND (announced.turn_seq IS NOT NULL OR announced.due_at <= %(now)s - make_interval(secs => %(overdue)s))
ORDER BY announced.send_at
LIMIT %(limit)s
