-- For how many seconds the first of the next events has been there, looked for in as many positions as a reader's first
-- slice has, so that the index on position narrows it down.
SELECT extract(epoch FROM hookflow_now() - min(recorded_at))::float8
FROM django_hookflow_event WHERE position > %(reached)s AND position <= %(reached)s + 1000
