-- The last failure of a run up to an event, its traceback cut to the end, where the error is.
SELECT seq, type, step_id, payload_digest IS NOT NULL AS is_redacted,
  coalesce(payload->'error'->>'type', '') AS error_type,
  left(coalesce(payload->'error'->>'message', ''), %(shown)s) AS message,
  right(coalesce(payload->'error'->>'traceback', ''), %(shown_traceback)s) AS traceback,
  length(coalesce(payload->'error'->>'traceback', '')) AS traceback_size,
  coalesce(payload->>'attempts', payload->>'attempt') AS attempts
FROM hookflow_event_told
WHERE run_uid = %(run_uid)s AND seq <= %(until)s AND type = ANY(%(types)s)
ORDER BY seq DESC LIMIT 1
