-- The events of a run, up to a seq, with what a story needs of them. Facts are enough for most: a payload is opened only
-- where it holds a reason, an error or a note of progress, also what has been retained of a redacted one, so results stay where they are.
SELECT event.seq, event.type, event.step_id, event.actor, event.recorded_at, event.payload_digest IS NOT NULL, event.facts::text,
  CASE WHEN event.type = ANY (%(reasoned)s) THEN left(event.payload->>'reason', 2000) END,
  CASE WHEN event.type = ANY (%(failed)s) THEN left(event.payload->>'message', 2000) END,
  CASE WHEN event.type = ANY (%(failed)s) THEN right(event.payload->>'traceback', 8000) END,
  CASE WHEN event.type = 'run.progressed' THEN left(event.payload->>'note', 2000) END
FROM hookflow_event_readable AS event
WHERE event.run_uid = %(run_uid)s AND (%(until)s::integer IS NULL OR event.seq <= %(until)s)
ORDER BY event.seq
