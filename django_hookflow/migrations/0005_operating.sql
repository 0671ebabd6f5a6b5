-- Operating: what people do to runs. Each is one call that locks the run's head, looks whether the request makes sense
-- as the run stands, appends the event that says who asked for it and why, and leaves the outbox as the run then needs it.
--
-- What is asked for a second time changes nothing (`applied` is false); what makes no sense is refused
-- (restrict_violation) with a sentence that says how the run stands.

-- Answers whether anything was changed, and the turn that the caller may publish a message for, if one is announced.
CREATE FUNCTION hookflow_operate(
  p_run_uid uuid, p_action text, p_step_id text, p_details json, p_actor text, p_grace interval
) RETURNS TABLE (applied boolean, seq integer, attempt integer, delay float8) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  head      django_hookflow_head%ROWTYPE;
  run       django_hookflow_workflowrun%ROWTYPE;
  announced django_hookflow_outbox%ROWTYPE;
  remaining float8;
  v_steps   text[];
  v_failed_seq integer;  -- of the failure that a rewind puts right
BEGIN
  SELECT * INTO head FROM django_hookflow_head AS h WHERE h.run_uid = p_run_uid FOR NO KEY UPDATE;
  IF NOT FOUND OR head.archived_at IS NOT NULL THEN
    PERFORM hookflow_refuse(p_run_uid, NULL);
  END IF;
  SELECT * INTO run FROM django_hookflow_workflowrun AS r WHERE r.run_uid = p_run_uid;
  applied := true;

  CASE p_action
  WHEN 'cancel' THEN
    IF run.status = 'cancelled' THEN
      applied := false;
    ELSIF run.status IN ('completed', 'failed') THEN
      PERFORM hookflow_refuse_to(p_action, run);
    ELSE
      PERFORM hookflow_append(p_run_uid, NULL, ARRAY['run.cancelled'], ARRAY[NULL::text], ARRAY[p_details], p_actor);
      DELETE FROM django_hookflow_outbox AS o WHERE o.run_uid = p_run_uid;
    END IF;

  WHEN 'pause' THEN
    IF run.status = 'paused' THEN
      applied := false;
    ELSIF run.status NOT IN ('pending', 'running') THEN
      PERFORM hookflow_refuse_to(p_action, run);
    ELSE
      PERFORM hookflow_append(p_run_uid, NULL, ARRAY['run.paused'], ARRAY[NULL::text], ARRAY[p_details], p_actor);
      -- Held, the announced turn keeps its due time; a message for it finds nothing to do.
      UPDATE django_hookflow_outbox AS o SET kind = 'held', send_at = 'infinity'
        WHERE o.run_uid = p_run_uid AND o.kind = 'turn';
    END IF;

  WHEN 'resume' THEN
    IF run.status IN ('pending', 'running') THEN
      applied := false;
    ELSIF run.status NOT IN ('paused', 'diverged') THEN
      PERFORM hookflow_refuse_to(p_action, run);
    ELSE
      SELECT * INTO announced FROM django_hookflow_outbox AS o WHERE o.run_uid = p_run_uid AND o.kind = 'held';
      remaining := greatest(0, extract(epoch FROM announced.due_at - hookflow_now()));
      DELETE FROM django_hookflow_outbox AS o WHERE o.id = announced.id;
      PERFORM hookflow_append(p_run_uid, NULL, ARRAY['run.resumed'], ARRAY[NULL::text],
        ARRAY[(p_details::jsonb || jsonb_build_object('seconds', remaining))::json], p_actor, false,
        make_interval(secs => coalesce(remaining, 0)), p_grace);
    END IF;

  WHEN 'replay', 'restart' THEN
    IF EXISTS (SELECT FROM django_hookflow_deadletterentry AS d WHERE d.run_uid = p_run_uid
                 AND d.seq = (p_details->>'failed_seq')::integer AND d.is_replayed) THEN
      -- Asked for again, by another click or another admin: the log keeps it, the run goes its way.
      PERFORM hookflow_append(p_run_uid, NULL, ARRAY['run.replay_repeated'], ARRAY[NULL::text], ARRAY[p_details], p_actor);
      applied := false;
    ELSIF run.status <> 'failed' THEN
      PERFORM hookflow_refuse_to(p_action, run);
    ELSIF p_action = 'restart' THEN
      PERFORM hookflow_append(p_run_uid, NULL, ARRAY['run.restarted'], ARRAY[NULL::text], ARRAY[p_details], p_actor);
    ELSIF coalesce(p_step_id, '') = '' THEN
      PERFORM hookflow_append(p_run_uid, head.last_seq, ARRAY['run.replayed'], ARRAY[NULL::text], ARRAY[p_details], p_actor,
        true, interval '0', p_grace);
    ELSE
      -- The step's attempts count from one again.
      PERFORM hookflow_append(p_run_uid, head.last_seq, ARRAY['run.replayed', 'step.superseded'],
        ARRAY[NULL, p_step_id], ARRAY[p_details, NULL::json], p_actor, true, interval '0', p_grace);
    END IF;

  WHEN 'rewind' THEN
    IF run.status = 'cancelled' THEN
      PERFORM hookflow_refuse_to(p_action, run);
    END IF;
    v_steps := hookflow_steps_from(p_run_uid, p_step_id);
    IF v_steps IS NULL THEN
      RAISE EXCEPTION 'hookflow: run % has no step % to rewind to', run.run_id, quote_literal(p_step_id)
        USING ERRCODE = 'restrict_violation', CONSTRAINT = 'django_hookflow_operation_makes_sense';
    END IF;
    -- An open failure is thereby replayed: looked for here, under the lock, since the run may have failed a moment ago.
    SELECT max(d.seq) INTO v_failed_seq FROM django_hookflow_deadletterentry AS d
      WHERE d.run_uid = p_run_uid AND NOT d.is_replayed;
    IF v_failed_seq IS NOT NULL THEN
      p_details := (p_details::jsonb || jsonb_build_object('failed_seq', v_failed_seq))::json;
    END IF;
    -- A worker in mid-turn is fenced off by this append: what it does from here on is refused, an atomic step rolls back.
    PERFORM hookflow_append(p_run_uid, head.last_seq, ARRAY['run.rewound'] || array_fill('step.superseded'::text, ARRAY[cardinality(v_steps)]),
      ARRAY[p_step_id] || v_steps, ARRAY[p_details] || array_fill(NULL::json, ARRAY[cardinality(v_steps)]), p_actor,
      true, interval '0', p_grace);
    DELETE FROM django_hookflow_outbox AS o WHERE o.run_uid = p_run_uid AND o.kind = 'held';

  WHEN 'resolve' THEN
    IF run.status <> 'in_doubt' OR NOT hookflow_is_in_doubt(p_run_uid, p_step_id) THEN
      PERFORM hookflow_refuse_to(p_action, run);
    END IF;
    PERFORM hookflow_append(p_run_uid, head.last_seq, ARRAY['step.resolved', 'step.completed'], ARRAY[p_step_id, p_step_id],
      ARRAY[(p_details::jsonb - 'outcome')::json, p_details->'outcome'], p_actor, true, interval '0', p_grace);
  END CASE;

  SELECT o.seq, o.attempts, greatest(0, extract(epoch FROM o.due_at - hookflow_now())) INTO seq, attempt, delay
    FROM django_hookflow_outbox AS o WHERE o.run_uid = p_run_uid AND o.kind = 'turn';
  RETURN NEXT;
END $$;

CREATE FUNCTION hookflow_refuse_to(p_action text, p_run django_hookflow_workflowrun) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'hookflow: cannot % run %, it is %', p_action, p_run.run_id, replace(p_run.status, '_', ' ')
    USING ERRCODE = 'restrict_violation', CONSTRAINT = 'django_hookflow_operation_makes_sense';
END $$;

-- The steps recorded at or after a step, in the order they were first recorded; null when there is no such step.
CREATE FUNCTION hookflow_steps_from(p_run_uid uuid, p_step_id text) RETURNS text[] LANGUAGE sql STABLE AS $$
  WITH superseded AS (
    SELECT step_id, max(seq) AS seq FROM django_hookflow_event
    WHERE run_uid = p_run_uid AND type = 'step.superseded' GROUP BY step_id
  ), recorded AS (
    SELECT e.step_id, min(e.seq) AS seq FROM django_hookflow_event AS e LEFT JOIN superseded AS s USING (step_id)
    WHERE e.run_uid = p_run_uid AND (e.type LIKE 'step.%' OR e.type = 'sleep.started') AND e.seq > coalesce(s.seq, 0)
    GROUP BY e.step_id
  )
  SELECT array_agg(step_id ORDER BY seq) FROM recorded
  WHERE seq >= (SELECT seq FROM recorded WHERE step_id = p_step_id)
$$;

CREATE FUNCTION hookflow_is_in_doubt(p_run_uid uuid, p_step_id text) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT (SELECT type = 'step.doubted' AND step_id = p_step_id FROM django_hookflow_event
          WHERE run_uid = p_run_uid AND hookflow_status_after(type) IS NOT NULL ORDER BY seq DESC LIMIT 1)
$$;

-- Fails a run whose time is up, for the timeout row of the outbox. Answers 'failed', 'early', or 'stale' when the run has
-- ended or has no timeout.
CREATE FUNCTION hookflow_expire(p_workflow_id text, p_run_id text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  head     django_hookflow_head%ROWTYPE;
  deadline django_hookflow_outbox%ROWTYPE;
BEGIN
  SELECT * INTO head FROM django_hookflow_head WHERE run_id = p_run_id AND workflow_id = p_workflow_id FOR NO KEY UPDATE;
  SELECT * INTO deadline FROM django_hookflow_outbox WHERE run_uid = head.run_uid AND kind = 'timeout';
  IF NOT FOUND THEN
    RETURN 'stale';
  ELSIF deadline.due_at > hookflow_now() THEN
    RETURN 'early';
  END IF;
  PERFORM hookflow_append(head.run_uid, NULL, ARRAY['run.failed'], ARRAY[NULL::text], ARRAY[json_build_object(
    'error', json_build_object('type', 'RunTimedOut', 'message', 'the run did not end within its timeout', 'traceback', ''),
    'attempts', 1)], NULL);
  DELETE FROM django_hookflow_outbox WHERE run_uid = head.run_uid;
  RETURN 'failed';
END $$;
