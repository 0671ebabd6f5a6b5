-- How long a run's log is, and how long it was at a moment.
SELECT max(seq) AS last, max(seq) FILTER (WHERE recorded_at <= %(until)s) AS last_then
FROM django_hookflow_event WHERE run_uid = %(run_uid)s
