-- A slice of a run's events as objects of JSON. Facts and payload are the JSON that was recorded, to the letter; the payload
-- of a redacted event is what was retained, or null.
SELECT seq, row_to_json(line)::text
FROM (
  SELECT seq, type, step_id, actor, recorded_at, payload_digest IS NOT NULL AS redacted,
    encode(hash, 'hex') AS hash, facts, payload
  FROM hookflow_event_readable
  WHERE run_uid = %(run_uid)s AND seq > %(after)s AND seq <= %(until)s
  ORDER BY seq LIMIT %(limit)s
) AS line
ORDER BY seq
