-- The events of a run, up to a seq, with what a story needs of their payloads. A payload that is stored out of line or
-- compressed is not opened for what can be known without it: the kind of a step is in its projection, and the rest of
-- a completed step or run is its result, which may have a megabyte.
--
-- The table and not the view hookflow_event_told: that looks for what was retained once for each redacted event. Here
-- it comes along, also from beyond the seq, and the reader puts it in its place.
SELECT event.seq, event.type, event.step_id, event.actor, event.recorded_at, event.payload_digest IS NOT NULL,
  CASE
    WHEN pg_column_compression(event.payload) IS NULL AND pg_column_size(event.payload) < 2000 THEN event.payload::text
    WHEN event.type IN ('step.completed', 'run.completed', 'run.triggered') THEN
      (SELECT json_build_object('kind', step.kind)::text FROM django_hookflow_stepexecution AS step
       WHERE step.workflow_run_id = event.run_uid AND step.step_id = event.step_id)
    WHEN json_typeof(told.payload) = 'object' THEN (
      SELECT json_build_object(
        'seq', event.payload->'seq', 'kind', p.kind, 'attempt', p.attempt, 'attempts', p.attempts,
        'retry_in', p.retry_in, 'announced', p.announced, 'seconds', p.seconds, 'worker', left(p.worker, 200),
        'reason', left(p.reason, 2000), 'run_id', p.run_id, 'recorded', p.recorded, 'asked', p.asked,
        'error', CASE WHEN json_typeof(p.error) = 'object' THEN (
          SELECT json_build_object('type', left(e.type, 500), 'message', left(e.message, 2000),
            'traceback', right(e.traceback, 8000))
          FROM json_to_record(p.error) AS e (type text, message text, traceback text)) END)::text
      FROM json_to_record(told.payload) AS p (kind json, attempt json, attempts json, retry_in json, announced json,
        seconds json, worker text, reason text, run_id json, recorded json, asked json, error json))
  END
FROM django_hookflow_event AS event
CROSS JOIN LATERAL (
  SELECT CASE event.type WHEN 'event.retained' THEN event.payload->'payload' ELSE event.payload END AS payload
) AS told
WHERE event.run_uid = %(run_uid)s
  AND (%(until)s::integer IS NULL OR event.seq <= %(until)s OR event.type = 'event.retained')
ORDER BY event.seq
