-- The events of a run, up to a seq, with what a story needs of their payloads. A payload that is stored out of line or
-- compressed is not opened for what can be known without it: the kind of a step is in its projection, and the rest of
-- a completed step or run is its result, which may have a megabyte.
SELECT event.seq, event.type, event.step_id, event.actor, event.recorded_at, event.payload_digest IS NOT NULL,
  CASE
    WHEN pg_column_compression(event.payload) IS NULL AND pg_column_size(event.payload) < 2000 THEN event.payload::text
    WHEN event.type IN ('step.completed', 'run.completed', 'run.triggered', 'event.retained') THEN
      (SELECT json_build_object('kind', step.kind)::text FROM django_hookflow_stepexecution AS step
       WHERE step.workflow_run_id = event.run_uid AND step.step_id = event.step_id)
    WHEN json_typeof(event.payload) = 'object' THEN json_build_object(
      'kind', event.payload->'kind', 'attempt', event.payload->'attempt', 'attempts', event.payload->'attempts',
      'retry_in', event.payload->'retry_in', 'announced', event.payload->'announced',
      'seconds', event.payload->'seconds', 'worker', left(event.payload->>'worker', 200),
      'reason', left(event.payload->>'reason', 2000), 'run_id', event.payload->'run_id',
      'recorded', event.payload->'recorded', 'asked', event.payload->'asked',
      'error', CASE WHEN event.payload->'error' IS NOT NULL THEN json_build_object(
        'type', left(event.payload->'error'->>'type', 500), 'message', left(event.payload->'error'->>'message', 2000),
        'traceback', right(event.payload->'error'->>'traceback', 8000)) END)::text
  END
FROM hookflow_event_told AS event
WHERE event.run_uid = %(run_uid)s AND (%(until)s::integer IS NULL OR event.seq <= %(until)s)
ORDER BY event.seq
