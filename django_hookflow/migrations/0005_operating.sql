-- Operating: what people do to runs. Each is one call that locks the run's head, looks whether the request makes sense
-- as the run stands, appends the event that says who asked for it and why, and announces the turn the run then needs.
--
-- What may be done to a run is decided in one place (hookflow_may), which the function that does it asks and the page that
-- offers it. What is asked for a second time changes nothing (`applied` is false); what makes no sense is refused
-- (restrict_violation) with a sentence that says how the run stands.

-- A step that is recorded and not superseded, if there is one.
CREATE FUNCTION hookflow_first_step(p_run_uid uuid) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT event.step_id FROM django_hookflow_event AS event
  WHERE event.run_uid = p_run_uid AND event.type LIKE 'step.%' AND event.type <> 'step.superseded'
    AND NOT EXISTS (SELECT FROM django_hookflow_event AS superseding
                    WHERE superseding.run_uid = event.run_uid AND superseding.type = 'step.superseded'
                      AND superseding.step_id = event.step_id AND superseding.seq > event.seq)
  ORDER BY event.seq LIMIT 1
$$;

-- What may be done to a run as it stands. `verdict` is 'possible', 'done' (it is so already: asking is allowed and changes
-- nothing) or 'refused'; `reason` says why it is not possible. No row for a run that does not exist.
CREATE FUNCTION hookflow_may(p_run_uid uuid) RETURNS TABLE (action text, verdict text, reason text) LANGUAGE sql STABLE AS $$
  SELECT asked.action,
    CASE WHEN head.archived_at IS NOT NULL THEN 'refused' ELSE asked.verdict END,
    CASE WHEN head.archived_at IS NOT NULL THEN 'it is archived'
         WHEN asked.verdict <> 'possible' THEN coalesce(asked.because, 'it is ' || replace(run.status, '_', ' ')) END
  FROM django_hookflow_head AS head
  LEFT JOIN django_hookflow_workflowrun AS run ON run.id = head.run_uid
  CROSS JOIN LATERAL (
    SELECT coalesce(run.completed_at IS NOT NULL, true) AS has_ended,
      EXISTS (SELECT FROM django_hookflow_wait AS wait WHERE wait.run_uid = head.run_uid AND wait.kind IN ('sleep', 'backoff', 'start')) AS is_timed,
      EXISTS (SELECT FROM django_hookflow_wait AS wait WHERE wait.run_uid = head.run_uid AND wait.kind = 'doubt') AS is_in_doubt,
      -- Who goes on after its end needs the key again that it was started with.
      (SELECT format('run %s is active with the same unique key', other.run_id)
       FROM django_hookflow_event AS first JOIN django_hookflow_head AS other ON other.unique_key = first.facts->>'unique'
       WHERE first.run_uid = head.run_uid AND first.seq = 1 AND run.completed_at IS NOT NULL
         AND other.workflow_id = head.workflow_id AND other.run_uid <> head.run_uid) AS taken
  ) AS state
  LEFT JOIN LATERAL (
    SELECT ended.facts->>'continued_by' AS successor, format('it continues as run %s', ended.facts->>'continued_by') AS gone_on
    FROM django_hookflow_event AS ended
    WHERE ended.run_uid = head.run_uid AND run.status = 'completed'
      AND ended.type = 'run.completed' AND ended.facts->>'continued_by' IS NOT NULL LIMIT 1
  ) AS continued ON true
  -- A failure is replayed once; one whose dead letter has been removed is out of reach.
  LEFT JOIN LATERAL (
    SELECT letter.is_replayed FROM django_hookflow_deadletterentry AS letter
    WHERE letter.run_uid = head.run_uid AND (run.status <> 'failed' OR letter.created_at = run.completed_at)
    ORDER BY letter.seq DESC LIMIT 1
  ) AS letter ON true
  CROSS JOIN LATERAL (
    SELECT CASE WHEN letter.is_replayed THEN 'done' WHEN taken IS NOT NULL THEN 'refused'
                WHEN run.status = 'failed' AND NOT letter.is_replayed THEN 'possible' ELSE 'refused' END AS verdict,
      CASE WHEN letter.is_replayed THEN 'it has already been replayed' WHEN taken IS NOT NULL THEN taken
           WHEN run.status = 'failed' THEN 'the dead letter of its failure has been removed' END AS because
  ) AS failure
  CROSS JOIN LATERAL (VALUES
    ('cancel',  CASE WHEN run.status = 'cancelled' THEN 'done' WHEN has_ended THEN 'refused' ELSE 'possible' END, NULL),
    ('pause',   CASE WHEN run.status = 'paused' THEN 'done' WHEN run.status IN ('pending', 'running') THEN 'possible' ELSE 'refused' END, NULL),
    ('resume',  CASE WHEN run.status IN ('pending', 'running') THEN 'done'
                     WHEN run.status IN ('paused', 'diverged') THEN 'possible' ELSE 'refused' END, NULL),
    ('wake',    CASE WHEN run.status NOT IN ('pending', 'running') THEN 'refused' WHEN is_timed THEN 'possible' ELSE 'done' END,
                CASE WHEN run.status IN ('pending', 'running') THEN 'it is not waiting for a time' END),
    ('rewind',  CASE WHEN run.status = 'cancelled' OR successor IS NOT NULL OR taken IS NOT NULL OR hookflow_first_step(head.run_uid) IS NULL
                  THEN 'refused' ELSE 'possible' END,
                CASE WHEN run.status <> 'cancelled' THEN coalesce(gone_on, taken, 'it has no recorded step') END),
    ('signal',  CASE WHEN has_ended THEN 'refused' ELSE 'possible' END, gone_on),
    ('resolve', CASE WHEN is_in_doubt AND NOT has_ended THEN 'possible' ELSE 'refused' END, NULL),
    ('replay',  failure.verdict, failure.because),
    ('restart', CASE WHEN failure.verdict = 'possible' AND run.data = 'null' THEN 'refused' ELSE failure.verdict END,
                CASE WHEN failure.verdict = 'possible' THEN 'its trigger data has been redacted' ELSE failure.because END),
    ('redact',  CASE WHEN has_ended AND run.id IS NOT NULL THEN 'possible' ELSE 'refused' END, NULL),
    ('rebuild', 'possible', NULL)
  ) AS asked (action, verdict, because)
  WHERE head.run_uid = p_run_uid
$$;

-- Refuses what may not be done; false for what is done already.
CREATE FUNCTION hookflow_check(p_run_uid uuid, p_action text) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
DECLARE
  asked record;
BEGIN
  SELECT * INTO asked FROM hookflow_may(p_run_uid) AS may WHERE may.action = p_action;
  IF NOT FOUND OR asked.reason = 'it is archived' THEN
    PERFORM hookflow_refuse(p_run_uid, NULL);
  ELSIF asked.verdict = 'refused' THEN
    PERFORM hookflow_refuse_to(p_action, p_run_uid, asked.reason);
  END IF;
  RETURN asked.verdict = 'possible';
END $$;

CREATE FUNCTION hookflow_refuse_to(p_action text, p_run_uid uuid, p_reason text) RETURNS void LANGUAGE plpgsql STABLE AS $$
BEGIN
  RAISE EXCEPTION 'hookflow: cannot % run %: %', p_action,
    (SELECT run_id FROM django_hookflow_head WHERE run_uid = p_run_uid), coalesce(p_reason, 'its state is unknown')
    USING ERRCODE = 'restrict_violation', CONSTRAINT = 'django_hookflow_operation_makes_sense';
END $$;

-- Does what is asked. Answers whether anything was changed, and the turn that the caller may publish a message for, if one
-- is announced. p_facts and p_payload are those of the event; for 'resolve' the payload holds, beside the reason, what the
-- step came to (`outcome`). p_grace and p_reach as for hookflow_append.
CREATE FUNCTION hookflow_operate(
  p_run_uid uuid, p_action text, p_step_id text, p_facts json, p_payload json, p_actor text, p_grace interval, p_reach interval
) RETURNS TABLE (applied boolean, seq integer, attempt integer, delay float8) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  v_type    text;
  v_types   text[];
  v_steps   text[];
  v_wait    django_hookflow_wait%ROWTYPE;
  v_event   record;
  v_seq     integer;
  v_failure integer := (p_facts->>'failed_seq')::integer;
BEGIN
  PERFORM FROM django_hookflow_head AS h WHERE h.run_uid = p_run_uid FOR NO KEY UPDATE;
  IF p_action IN ('replay', 'restart') AND EXISTS (
    SELECT FROM django_hookflow_deadletterentry AS d WHERE d.run_uid = p_run_uid AND d.seq = v_failure AND d.is_replayed) THEN
    -- Asked for again, by another click or another admin: the log keeps it, the run goes its way.
    PERFORM hookflow_append(p_run_uid, NULL, ARRAY['run.replay_repeated'], ARRAY[NULL::text], ARRAY[p_facts],
      ARRAY[p_payload], p_actor);
    applied := false;
  ELSE
    applied := hookflow_check(p_run_uid, p_action);
  END IF;

  IF applied THEN
    v_type := CASE p_action
      WHEN 'cancel' THEN 'run.cancelled' WHEN 'pause' THEN 'run.paused' WHEN 'resume' THEN 'run.resumed'
      WHEN 'wake' THEN 'run.woken' WHEN 'replay' THEN 'run.replayed' WHEN 'restart' THEN 'run.restarted'
      WHEN 'rewind' THEN 'run.rewound' WHEN 'resolve' THEN 'step.resolved' END;
    v_types := ARRAY[v_type];
    v_steps := ARRAY[CASE WHEN p_action IN ('rewind', 'resolve') THEN p_step_id END];

    IF p_action = 'replay' AND p_step_id <> '' THEN
      v_types := v_types || 'step.superseded'::text;  -- its attempts count from one again
      v_steps := v_steps || p_step_id;
    ELSIF p_action = 'rewind' THEN
      v_steps := v_steps || hookflow_steps_from(p_run_uid, p_step_id);
      IF cardinality(v_steps) = 1 THEN
        RAISE EXCEPTION 'hookflow: run % has no step % to rewind to',
          (SELECT run_id FROM django_hookflow_head WHERE run_uid = p_run_uid), quote_literal(p_step_id)
          USING ERRCODE = 'restrict_violation', CONSTRAINT = 'django_hookflow_operation_makes_sense';
      END IF;
      v_types := v_types || array_fill('step.superseded'::text, ARRAY[cardinality(v_steps) - 1]);
      -- An open failure is thereby replayed: looked for here, under the lock, since the run may have failed a moment ago.
      SELECT max(d.seq) INTO v_failure FROM django_hookflow_deadletterentry AS d WHERE d.run_uid = p_run_uid AND NOT d.is_replayed;
      IF v_failure IS NOT NULL THEN
        p_facts := p_facts::jsonb || jsonb_build_object('failed_seq', v_failure);
      END IF;
    ELSIF p_action = 'resolve' AND NOT EXISTS (
      SELECT FROM django_hookflow_wait AS w WHERE w.run_uid = p_run_uid AND w.step_id = p_step_id AND w.kind = 'doubt') THEN
      PERFORM hookflow_refuse_to(p_action, p_run_uid, format('it is not in doubt about step %L', p_step_id));
    END IF;

    -- Going back in its history fences off a worker in mid-turn: what it does from here on is refused, an atomic step rolls
    -- back. Everything else leaves it to record the step it is in.
    SELECT a.seq INTO v_seq FROM hookflow_append(p_run_uid,
      CASE WHEN p_action IN ('replay', 'rewind') THEN (SELECT last_seq FROM django_hookflow_head WHERE run_uid = p_run_uid) END,
      v_types, v_steps, ARRAY[p_facts] || array_fill('{}'::json, ARRAY[cardinality(v_types) - 1]),
      ARRAY[(p_payload::jsonb - 'outcome')::json] || array_fill(NULL::json, ARRAY[cardinality(v_types) - 1]), p_actor) AS a;

    IF p_action IN ('replay', 'rewind') THEN
      DELETE FROM django_hookflow_lease AS l WHERE l.run_uid = p_run_uid;
      UPDATE django_hookflow_head AS h SET unique_key = e.facts->>'unique' FROM django_hookflow_event AS e
        WHERE h.run_uid = p_run_uid AND e.run_uid = p_run_uid AND e.seq = 1
          AND h.unique_key IS DISTINCT FROM e.facts->>'unique';
    ELSIF p_action = 'resolve' THEN
      PERFORM hookflow_settle(p_run_uid, p_step_id, 'doubt', p_payload->'outcome', p_actor, p_grace, p_reach);
    ELSIF p_action = 'wake' THEN
      FOR v_wait IN SELECT * FROM django_hookflow_wait AS w
        WHERE w.run_uid = p_run_uid AND w.kind IN ('sleep', 'backoff') AND w.step_id <> '' ORDER BY w.since_seq
      LOOP
        PERFORM hookflow_settle(p_run_uid, v_wait.step_id, v_wait.kind, NULL, p_actor, p_grace, p_reach);
      END LOOP;
    END IF;
    IF p_action NOT IN ('cancel', 'restart', 'resolve') THEN
      PERFORM hookflow_announce(p_run_uid, (SELECT last_seq FROM django_hookflow_head WHERE run_uid = p_run_uid), false, p_grace, p_reach);
    END IF;
    IF p_action IN ('replay', 'rewind') THEN  -- what it waited for may have ended meanwhile, or it waits for it no longer
      PERFORM hookflow_hand_on(p_run_uid, v_seq);
      PERFORM hookflow_rejoin(p_run_uid);
    END IF;
  END IF;

  SELECT o.seq, o.attempts, greatest(0, coalesce(extract(epoch FROM o.due_at - hookflow_now()), 0)) INTO seq, attempt, delay
    FROM django_hookflow_outbox AS o WHERE o.run_uid = p_run_uid AND o.kind = 'turn';
  RETURN NEXT;
END $$;

-- Sends a run a signal, which the oldest wait for its name takes; without one it stays in the history, for the next wait of
-- that name to take. What is sent with an id that a signal of the run has had changes nothing. Answers as hookflow_operate.
CREATE FUNCTION hookflow_signal(
  p_run_uid uuid, p_name text, p_id text, p_value json, p_actor text, p_grace interval, p_reach interval
) RETURNS TABLE (applied boolean, seq integer, attempt integer, delay float8) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  v_seq  integer;
  v_step text;
BEGIN
  PERFORM FROM django_hookflow_head AS h WHERE h.run_uid = p_run_uid FOR NO KEY UPDATE;
  applied := NOT EXISTS (SELECT FROM django_hookflow_event AS e
                         WHERE e.run_uid = p_run_uid AND e.type = 'signal.received' AND e.facts->>'id' = p_id);
  IF applied THEN
    PERFORM hookflow_check(p_run_uid, 'signal');
    SELECT a.seq INTO v_seq FROM hookflow_append(p_run_uid, NULL, ARRAY['signal.received'], ARRAY[NULL::text],
      ARRAY[json_strip_nulls(json_build_object('name', p_name, 'id', p_id))], ARRAY[('{"value":' || p_value || '}')::json], p_actor) AS a;
    SELECT w.step_id INTO v_step FROM django_hookflow_wait AS w
      WHERE w.run_uid = p_run_uid AND w.kind = 'signal' AND w.key = p_name ORDER BY w.since_seq LIMIT 1;
    PERFORM hookflow_settle(p_run_uid, v_step, 'signal', ('{"result":' || p_value || '}')::json, p_actor, p_grace, p_reach, v_seq)
      WHERE v_step IS NOT NULL;
  END IF;
  SELECT o.seq, o.attempts, greatest(0, coalesce(extract(epoch FROM o.due_at - hookflow_now()), 0)) INTO seq, attempt, delay
    FROM django_hookflow_outbox AS o WHERE o.run_uid = p_run_uid AND o.kind = 'turn' AND o.turn_seq IS NULL AND v_step IS NOT NULL;
  RETURN NEXT;
END $$;

-- The steps recorded at or after a step, in the order they were first recorded; null when there is no such step.
CREATE FUNCTION hookflow_steps_from(p_run_uid uuid, p_step_id text) RETURNS text[] LANGUAGE sql STABLE AS $$
  WITH superseded AS (
    SELECT step_id, max(seq) AS seq FROM django_hookflow_event
    WHERE run_uid = p_run_uid AND type = 'step.superseded' GROUP BY step_id
  ), recorded AS (
    SELECT e.step_id, min(e.seq) AS seq FROM django_hookflow_event AS e LEFT JOIN superseded AS s USING (step_id)
    WHERE e.run_uid = p_run_uid AND e.type LIKE 'step.%' AND e.seq > coalesce(s.seq, 0)
    GROUP BY e.step_id
  )
  SELECT array_agg(step_id ORDER BY seq) FROM recorded
  WHERE seq >= (SELECT seq FROM recorded WHERE step_id = p_step_id)
$$;

-- Redacts payloads of a run that has ended, and answers how many.
--   p_seq   of this event alone; null: of every event of the run
--   p_path  only the value at this path of the payload goes, such as {data,customer,email}, where there is one; null: all of it
-- Each redaction is an event (event.redacted), which says who asked for it, why, and who the database thought it was; what
-- is kept of a payload is one, too (event.retained). Facts stay: they hold nothing of a user's. The projections follow.
-- Asked for again, it finds nothing more to do.
CREATE FUNCTION hookflow_redact(p_run_uid uuid, p_seq integer, p_path text[], p_reason text, p_actor text)
RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  placeholder CONSTANT jsonb := '"[redacted]"';
  event    record;
  types    text[] := '{}';  -- of the events that say so, which are appended a hundred at a time
  facts    json[] := '{}';
  payloads json[] := '{}';
  number   integer := 0;
BEGIN
  IF p_path = '{}' THEN
    RAISE EXCEPTION 'hookflow: the path must not be empty' USING ERRCODE = 'invalid_parameter_value';
  ELSIF btrim(coalesce(p_reason, ''), E' \t\r\n') = '' THEN
    RAISE EXCEPTION 'hookflow: a redaction needs a reason' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  PERFORM FROM django_hookflow_head WHERE run_uid = p_run_uid FOR NO KEY UPDATE;
  PERFORM hookflow_check(p_run_uid, 'redact');
  FOR event IN
    SELECT seq, payload::jsonb AS payload FROM hookflow_event_readable
    WHERE run_uid = p_run_uid AND seq = coalesce(p_seq, seq) AND type NOT IN ('event.redacted', 'event.retained')
      AND payload IS NOT NULL AND (p_path IS NULL OR payload::jsonb #> p_path <> placeholder)
    ORDER BY seq
  LOOP
    UPDATE django_hookflow_event
    SET payload = NULL, salt = NULL, payload_digest = sha256(salt || convert_to(payload::text, 'UTF8'))
    WHERE run_uid = p_run_uid AND seq = event.seq AND payload IS NOT NULL;
    IF NOT FOUND THEN  -- It was redacted before, and what may still be read of it is what was retained then.
      UPDATE django_hookflow_event
      SET payload = NULL, salt = NULL, payload_digest = sha256(salt || convert_to(payload::text, 'UTF8'))
      WHERE run_uid = p_run_uid AND seq > event.seq AND payload IS NOT NULL
        AND type = 'event.retained' AND (django_hookflow_event.facts->>'seq')::integer = event.seq;
    END IF;
    types := types || 'event.redacted'::text;
    facts := facts || json_build_object('seq', event.seq, 'path', p_path, 'login', session_user);
    payloads := payloads || json_build_object('reason', p_reason);
    IF p_path IS NOT NULL THEN
      types := types || 'event.retained'::text;
      facts := facts || json_build_object('seq', event.seq);
      payloads := payloads || json_build_object('payload', jsonb_set(event.payload, p_path, placeholder));
    END IF;
    number := number + 1;
    IF cardinality(types) >= 100 THEN
      PERFORM hookflow_append(p_run_uid, NULL, types, array_fill(NULL::text, ARRAY[cardinality(types)]), facts, payloads, p_actor);
      types := '{}';
      facts := '{}';
      payloads := '{}';
    END IF;
  END LOOP;
  IF types <> '{}' THEN
    PERFORM hookflow_append(p_run_uid, NULL, types, array_fill(NULL::text, ARRAY[cardinality(types)]), facts, payloads, p_actor);
  END IF;
  -- A cancelled run may have a worker that is still at its last step: what that returns is not recorded any more.
  UPDATE django_hookflow_head SET fence_seq = last_seq WHERE run_uid = p_run_uid;
  -- What comes from payloads. In its place, because rows of the project may refer to the run.
  UPDATE django_hookflow_workflowrun AS run SET (data, label, result, error_message) =
    (SELECT fold.data, fold.label, fold.result, fold.error_message FROM hookflow_fold_runs(p_run_uid, p_run_uid) AS fold)
  WHERE run.id = p_run_uid;
  UPDATE django_hookflow_deadletterentry AS letter
  SET (payload, error_message, error_traceback) = (fold.payload, fold.error_message, fold.error_traceback)
  FROM hookflow_fold_dead_letters(p_run_uid, p_run_uid) AS fold
  WHERE letter.run_uid = p_run_uid AND letter.seq = fold.seq;
  RETURN number;
END $$;
