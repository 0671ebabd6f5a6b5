-- What a run was started with and what it returned, as of an event, cut. Both events are found by the key of the log: the
-- first one, and the end of the run, which only redactions follow.
SELECT left((first.payload->'data')::text, %(shown)s), length((first.payload->'data')::text),
  first.payload_digest IS NOT NULL,
  left((ended.payload->'result')::text, %(shown)s), length((ended.payload->'result')::text),
  coalesce(ended.payload_digest IS NOT NULL, false)
FROM hookflow_event_readable AS first
LEFT JOIN LATERAL (
  SELECT payload, payload_digest FROM hookflow_event_readable
  WHERE %(is_completed)s AND run_uid = %(run_uid)s AND seq <= %(until)s AND type = 'run.completed'
  ORDER BY seq DESC LIMIT 1
) AS ended ON true
WHERE first.run_uid = %(run_uid)s AND first.seq = 1
