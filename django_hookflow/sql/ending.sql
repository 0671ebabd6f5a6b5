-- What the row of a run's end is about: who waits for it, if it has ended and somebody does, and how it has ended. A run that
-- goes on as another has not come to anything yet; who waits for it waits for that one.
SELECT ended.seq, run.run_id, run.status, wait.run_uid, parent.run_id, parent.workflow_id, wait.step_id, wait.key,
  outcome.facts::text, outcome.payload::text
FROM django_hookflow_outbox AS ended
JOIN django_hookflow_workflowrun AS run ON run.id = ended.run_uid
JOIN django_hookflow_event AS started ON started.run_uid = run.id AND started.seq = 1
LEFT JOIN LATERAL (
  SELECT event.facts, event.payload FROM hookflow_event_readable AS event
  WHERE event.run_uid = run.id AND run.completed_at IS NOT NULL AND run.parent_uid IS NOT NULL AND hookflow_ends_run(event.type)
  ORDER BY event.seq DESC LIMIT 1
) AS outcome ON true
LEFT JOIN django_hookflow_wait AS wait
  ON wait.run_uid = run.parent_uid AND wait.step_id = run.parent_step AND wait.kind = 'child'
  AND wait.key = started.facts->'origin'->>'key' AND outcome.facts->>'continued_by' IS NULL AND run.completed_at IS NOT NULL
LEFT JOIN django_hookflow_head AS parent ON parent.run_uid = wait.run_uid
WHERE ended.run_uid = %(run_uid)s AND ended.kind = 'ended'
