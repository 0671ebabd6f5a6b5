-- Waking: an operator ends a sleep, or the wait before the next attempt, at once.
--
-- That nothing wakes early is a promise about the clock, and an operator may know better: the payment has come, the
-- service is back. It takes an event of its own (run.woken), which says who and why; the sleep has ended when that was
-- recorded, and a replay reads so from the log. A message that was sent for the old time finds its turn no longer
-- announced.

-- As in 0002, but for run.woken: it leaves a run running, as it was, and clears when it wakes, as every event does that
-- sets a status and names no time. The folds take it from here and stay as they are.
CREATE OR REPLACE FUNCTION hookflow_status_after(p_type text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE p_type
    WHEN 'run.triggered' THEN 'pending'    WHEN 'turn.started'  THEN 'running'
    WHEN 'run.completed' THEN 'completed'  WHEN 'run.failed'    THEN 'failed'
    WHEN 'run.cancelled' THEN 'cancelled'  WHEN 'run.diverged'  THEN 'diverged'
    WHEN 'run.paused'    THEN 'paused'     WHEN 'run.resumed'   THEN 'running'
    WHEN 'run.replayed'  THEN 'running'    WHEN 'run.rewound'   THEN 'running'
    WHEN 'step.doubted'  THEN 'in_doubt'   WHEN 'step.resolved' THEN 'running'
    WHEN 'run.woken'     THEN 'running'
  END
$$;

-- Has a run that waits for a time go on now. It is an operation as those of hookflow_operate are, in the same order of
-- locks and with the same answer; a function of its own, so that nothing in use is replaced by this migration.
-- `applied` is false for a run that waits for no time: it goes on by itself, or is already at work.
CREATE FUNCTION hookflow_wake(p_run_uid uuid, p_details json, p_actor text, p_grace interval)
RETURNS TABLE (applied boolean, seq integer, attempt integer, delay float8) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  head      django_hookflow_head%ROWTYPE;
  run       django_hookflow_workflowrun%ROWTYPE;
  announced django_hookflow_outbox%ROWTYPE;
  remaining float8;
BEGIN
  SELECT * INTO head FROM django_hookflow_head AS h WHERE h.run_uid = p_run_uid FOR NO KEY UPDATE;
  IF NOT FOUND OR head.archived_at IS NOT NULL THEN
    PERFORM hookflow_refuse(p_run_uid, NULL);
  END IF;
  SELECT * INTO run FROM django_hookflow_workflowrun AS r WHERE r.run_uid = p_run_uid;
  IF run.status NOT IN ('pending', 'running') THEN
    PERFORM hookflow_refuse_to('wake', run);
  END IF;
  SELECT * INTO announced FROM django_hookflow_outbox AS o
    WHERE o.run_uid = p_run_uid AND o.kind = 'turn' AND o.turn_seq IS NULL;
  remaining := extract(epoch FROM announced.due_at - hookflow_now());
  applied := coalesce(remaining > 0, false);
  IF applied THEN
    -- Nobody works on a run whose turn is not due, so there is no worker to fence off.
    PERFORM hookflow_append(p_run_uid, NULL, ARRAY['run.woken'], ARRAY[NULL::text],
      ARRAY[(p_details::jsonb || jsonb_build_object('seconds', remaining))::json], p_actor, false, interval '0', p_grace);
  END IF;
  SELECT o.seq, o.attempts, greatest(0, extract(epoch FROM o.due_at - hookflow_now())) INTO seq, attempt, delay
    FROM django_hookflow_outbox AS o WHERE o.run_uid = p_run_uid AND o.kind = 'turn';
  RETURN NEXT;
END $$;

-- As in 0009, with what is new: run.woken, and run.rebuilt (an operator had the projections of the run made again).
CREATE OR REPLACE VIEW hookflow_operations AS
SELECT event.run_uid, head.run_id, head.workflow_id, event.seq,
  event.type AS operation,
  event.step_id,
  event.actor,
  nullif(event.payload->>'reason', '') AS reason,
  event.recorded_at AS operated_at
FROM hookflow_event_told AS event
JOIN django_hookflow_head AS head ON head.run_uid = event.run_uid
WHERE event.type IN ('run.cancelled', 'run.paused', 'run.resumed', 'run.replayed', 'run.replay_repeated', 'run.restarted',
                     'run.rewound', 'step.resolved', 'event.redacted', 'dead_letter.removed', 'run.woken', 'run.rebuilt')
   OR event.type = 'run.triggered' AND event.actor IS NOT NULL;
