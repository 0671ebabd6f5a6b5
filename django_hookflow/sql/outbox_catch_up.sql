-- Messages that are due, put off by a clock that was ahead of the present one, are to be sent now. What may begin at once
-- shows that by when it was announced; who has seen the clock go back (is_back) need not be shown.
UPDATE django_hookflow_outbox SET send_at = clock.now, announced_at = least(announced_at, clock.now)
FROM (SELECT hookflow_now() AS now) AS clock
WHERE send_at > clock.now
  AND ((due_at IS NULL AND announced_at > clock.now) OR (%(is_back)s AND coalesce(due_at, clock.now) <= clock.now))
