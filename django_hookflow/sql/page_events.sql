-- A window of a run's events for its page, in order, with their facts, which are small, and payloads cut. `{direction}` is ASC for the events after a seq and
-- DESC for those before one. Read by the key of the log; a filter looks at no more than the run's own events.
WITH superseded AS (
  SELECT step_id, max(seq) AS seq FROM django_hookflow_event
  WHERE run_uid = %(run_uid)s AND seq <= %(until)s AND type = 'step.superseded' GROUP BY step_id
)
SELECT event.seq, event.type, event.step_id, event.actor, event.recorded_at, event.facts::text,
  CASE WHEN %(payloads)s THEN left(event.payload::text, %(shown)s) END AS payload_text,
  CASE WHEN %(payloads)s THEN length(event.payload::text) END AS payload_size,
  event.payload_digest IS NOT NULL AS is_redacted,
  encode(event.hash, 'hex') AS hash,
  coalesce(event.seq < superseded.seq AND event.type ~ '^step[.]', false) AS is_superseded
FROM (
  SELECT * FROM hookflow_event_readable
  WHERE run_uid = %(run_uid)s AND seq > %(after)s AND seq < %(before)s AND seq <= %(until)s
    AND starts_with(type, %(type)s) AND (%(step_id)s = '' OR step_id = %(step_id)s)
  ORDER BY seq {direction} LIMIT %(limit)s
) AS event
LEFT JOIN superseded USING (step_id)
ORDER BY event.seq
