-- What steps returned, from the events that completed them, cut.
SELECT seq, payload_digest IS NOT NULL AS is_redacted,
  left((payload->'result')::text, %(shown)s) AS result_text,
  length((payload->'result')::text) AS result_size
FROM hookflow_event_readable
WHERE run_uid = %(run_uid)s AND seq = ANY(%(seqs)s::integer[])
