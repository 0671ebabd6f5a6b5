-- Writing: the functions through which the application changes anything. Each is one round trip and, called on its
-- own, one commit. Those that append lock the run's head before anything else of the run, so there is one order of
-- locks and no deadlock among them; renew and release touch rows of one turn only.
--
-- A run is started once (hookflow_start). A delivery claims a turn (hookflow_claim), which gives it the run's history
-- and a fence: from then on whoever knew less of the log is refused. The turn appends what its steps did, one call a
-- step (hookflow_append), extends its lease while a step is long (hookflow_renew), and ends with an append that says
-- what comes next, or hands the run back when it cannot go on (hookflow_release).

-- Appends events to a run, folds them into the projections and announces the next turn. Answers the new length of the log.
--   p_expected_seq  how much of the log the caller knows; null for an operator, who is not bound to a turn
--   p_ends_turn     the turn is over: refused unless the caller knows the whole log, so that nothing said to the run
--                   meanwhile goes unheard. A step's outcome alone (false) is taken also after an operator's event.
--   p_next_in       when the next turn is due, from now; null for no next turn
--   p_grace         how long after that a relay sends the message, if the caller promises to; null: it sends it when due
CREATE FUNCTION hookflow_append(
  p_run_uid uuid, p_expected_seq integer, p_types text[], p_step_ids text[], p_payloads json[], p_actor text,
  p_ends_turn boolean DEFAULT false, p_next_in interval DEFAULT NULL, p_grace interval DEFAULT NULL
) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  event    django_hookflow_event%ROWTYPE;
  expected integer := p_expected_seq;
  now      timestamptz := hookflow_now();
BEGIN
  FOR i IN 1 .. cardinality(p_types) LOOP
    event.salt := uuid_send(gen_random_uuid());
    -- The lock, the check and the new end of the chain in one statement: nothing is drawn or written if it refuses.
    UPDATE django_hookflow_head AS head SET
      last_seq  = last_seq + 1,
      last_at   = greatest(now, last_at),
      fence_seq = CASE WHEN expected IS NULL THEN fence_seq ELSE last_seq + 1 END,
      head_hash = hookflow_event_hash(head_hash, run_uid, last_seq + 1, greatest(now, last_at), 1::smallint,
        p_types[i], p_step_ids[i], p_actor, sha256(event.salt || convert_to(p_payloads[i]::text, 'UTF8')))
    WHERE run_uid = p_run_uid AND archived_at IS NULL
      AND (expected IS NULL OR expected BETWEEN fence_seq AND last_seq AND (expected = last_seq OR NOT p_ends_turn))
    RETURNING last_seq, last_at, head_hash INTO event.seq, event.recorded_at, event.hash;
    IF NOT FOUND THEN
      PERFORM hookflow_refuse(p_run_uid, expected);
    END IF;
    INSERT INTO django_hookflow_event
    VALUES (nextval('django_hookflow_event_position_seq'), p_run_uid, event.seq, p_types[i], p_step_ids[i], p_actor,
            p_payloads[i], event.recorded_at, 1, event.salt, NULL, event.hash)
    RETURNING * INTO event;
    PERFORM hookflow_project(event);
    expected := CASE WHEN expected IS NULL THEN NULL ELSE event.seq END;
  END LOOP;
  IF event.seq IS NULL THEN
    RAISE EXCEPTION 'hookflow: nothing to append to run %', p_run_uid USING ERRCODE = 'not_null_violation';
  END IF;
  IF p_ends_turn THEN
    DELETE FROM django_hookflow_lease WHERE run_uid = p_run_uid;
  END IF;
  IF p_next_in IS NOT NULL THEN
    INSERT INTO django_hookflow_outbox (run_uid, seq, due_at, send_at, attempts)
    VALUES (p_run_uid, event.seq, event.recorded_at + p_next_in,
            event.recorded_at + p_next_in + coalesce(p_grace, interval '0'), (p_grace IS NOT NULL)::integer)
    ON CONFLICT (run_uid, kind) DO UPDATE SET seq = excluded.seq, due_at = excluded.due_at, send_at = excluded.send_at,
      attempts = excluded.attempts, turn_seq = NULL;
  ELSIF p_ends_turn THEN
    DELETE FROM django_hookflow_outbox WHERE run_uid = p_run_uid
      AND (kind = 'turn' OR event.type IN ('run.completed', 'run.failed'));
  END IF;
  RETURN event.seq;
END $$;

-- Says why an append was refused. SQLSTATEs are standard ones, which Django turns into IntegrityError.
CREATE FUNCTION hookflow_refuse(p_run_uid uuid, p_expected_seq integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  head django_hookflow_head%ROWTYPE;
BEGIN
  SELECT * INTO head FROM django_hookflow_head WHERE run_uid = p_run_uid;
  IF NOT FOUND OR head.archived_at IS NOT NULL THEN
    RAISE EXCEPTION 'hookflow: run % is %', coalesce(head.run_id, p_run_uid::text),
      CASE WHEN head.run_id IS NULL THEN 'unknown' ELSE 'archived' END
      USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'django_hookflow_event_of_a_living_run';
  END IF;
  RAISE EXCEPTION 'hookflow: run % is at seq %, expected %', head.run_id, head.last_seq, p_expected_seq
    USING ERRCODE = 'unique_violation', CONSTRAINT = 'django_hookflow_event_pk', DETAIL = head.last_seq::text;
END $$;

-- Starts a run, once for each run_id, and announces its first turn and, with p_timeout, its end. Answers the run that has the id, whether this call made it, and if not, whether
-- it was started with the same workflow and data. An archived run is refused: its id is not used again.
CREATE FUNCTION hookflow_start(
  p_run_uid uuid, p_run_id text, p_workflow_id text, p_payload json, p_actor text,
  p_next_in interval DEFAULT interval '0', p_grace interval DEFAULT NULL, p_timeout interval DEFAULT NULL
) RETURNS TABLE (run_uid uuid, created boolean, same boolean, seq integer) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  head django_hookflow_head%ROWTYPE;
BEGIN
  INSERT INTO django_hookflow_head AS h (run_uid, run_id, workflow_id, last_seq, fence_seq, last_at, head_hash)
  VALUES (p_run_uid, p_run_id, p_workflow_id, 0, 0, '-infinity', sha256(uuid_send(p_run_uid)))
  ON CONFLICT (run_id) DO NOTHING;
  IF FOUND THEN
    IF p_timeout IS NOT NULL THEN
      INSERT INTO django_hookflow_outbox (run_uid, seq, kind, due_at, send_at, attempts)
      VALUES (p_run_uid, 0, 'timeout', hookflow_now() + p_timeout,
              hookflow_now() + p_timeout + coalesce(p_grace, interval '0'), (p_grace IS NOT NULL)::integer);
    END IF;
    RETURN QUERY SELECT p_run_uid, true, true, hookflow_append(p_run_uid, NULL, ARRAY['run.triggered'], ARRAY[NULL::text],
      ARRAY[p_payload], p_actor, false, p_next_in, p_grace);
    RETURN;
  END IF;
  SELECT * INTO head FROM django_hookflow_head AS h WHERE h.run_id = p_run_id;
  IF head.archived_at IS NOT NULL THEN
    PERFORM hookflow_refuse(head.run_uid, NULL);
  END IF;
  RETURN QUERY SELECT head.run_uid, false, head.last_seq > 0 AND p_payload::jsonb IS NOT DISTINCT FROM (
    SELECT e.payload::jsonb FROM django_hookflow_event AS e WHERE e.run_uid = head.run_uid AND e.seq = 1), head.last_seq;
END $$;

-- Asks whether a delivery may run a turn, and begins the turn if it may.
-- Answers one row for each event of the run's history when `answer` is 'run', else one row with the answer alone:
--   unknown   the workflow has no such run       finished  the run has ended
--   stale     the turn announced at p_seq is over, a later one may be announced
--   early     the turn is not due before due_at  busy      another worker holds the lease until due_at
-- A turn that was begun and neither ended nor was handed back, and whose lease has run out, is recorded as abandoned.
CREATE FUNCTION hookflow_claim(
  p_workflow_id text, p_run_id text, p_seq integer, p_owner text, p_lease interval, p_turn json
) RETURNS TABLE (
  answer text, run_uid uuid, turn_seq integer, due_at timestamptz, now timestamptz,
  seq integer, type text, step_id text, payload text, recorded_at timestamptz
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  head      django_hookflow_head%ROWTYPE;
  announced django_hookflow_outbox%ROWTYPE;
  lease     django_hookflow_lease%ROWTYPE;
  v_now     timestamptz;
  v_turn    integer;
BEGIN
  SELECT * INTO head FROM django_hookflow_head AS h WHERE h.run_id = p_run_id AND h.workflow_id = p_workflow_id
    FOR NO KEY UPDATE;
  v_now := hookflow_now();
  IF NOT FOUND THEN
    answer := 'unknown';
    RETURN NEXT; RETURN;
  END IF;
  run_uid := head.run_uid;
  now := v_now;
  SELECT * INTO announced FROM django_hookflow_outbox AS o
    WHERE o.run_uid = head.run_uid AND o.kind = 'turn' AND o.seq = p_seq;
  IF NOT FOUND THEN
    SELECT CASE WHEN r.completed_at IS NULL THEN 'stale' ELSE 'finished' END INTO answer
      FROM django_hookflow_workflowrun AS r WHERE r.run_uid = head.run_uid;
    answer := coalesce(answer, 'stale');
    RETURN NEXT; RETURN;
  ELSIF announced.due_at > v_now THEN
    answer := 'early';
    due_at := announced.due_at;
    RETURN NEXT; RETURN;
  END IF;
  SELECT * INTO lease FROM django_hookflow_lease AS l WHERE l.run_uid = head.run_uid;
  IF FOUND AND lease.expires_at > v_now THEN
    answer := 'busy';
    due_at := lease.expires_at;
    RETURN NEXT; RETURN;
  END IF;
  IF announced.turn_seq IS NULL THEN
    v_turn := hookflow_append(head.run_uid, head.last_seq, ARRAY['turn.started'], ARRAY[NULL::text], ARRAY[p_turn], NULL);
  ELSE
    v_turn := hookflow_append(head.run_uid, head.last_seq, ARRAY['turn.abandoned', 'turn.started'], ARRAY[NULL, NULL::text],
      ARRAY[json_build_object('turn_seq', announced.turn_seq), p_turn], NULL);
  END IF;
  INSERT INTO django_hookflow_lease AS l (run_uid, token, owner, expires_at)
  VALUES (head.run_uid, v_turn, p_owner, v_now + p_lease)
  ON CONFLICT (run_uid) DO UPDATE SET token = excluded.token, owner = excluded.owner, expires_at = excluded.expires_at;
  UPDATE django_hookflow_outbox AS o SET turn_seq = v_turn, send_at = v_now + p_lease WHERE o.id = announced.id;
  RETURN QUERY
    SELECT 'run'::text, head.run_uid, v_turn, announced.due_at, v_now,
           e.seq, e.type, e.step_id, e.payload::text, e.recorded_at
    FROM django_hookflow_event AS e
    WHERE e.run_uid = head.run_uid AND e.type <> 'turn.started'
    ORDER BY e.seq;
END $$;

-- Extends the lease of a turn that is still the run's turn. False: it is not, the run has gone to another worker.
CREATE FUNCTION hookflow_renew(p_run_uid uuid, p_turn_seq integer, p_lease interval) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  UPDATE django_hookflow_lease SET expires_at = hookflow_now() + p_lease WHERE run_uid = p_run_uid AND token = p_turn_seq;
  RETURN FOUND;
END $$;

-- Hands a run back in mid-turn, without an event: the turn stays announced and can be taken up again after p_retry_in.
-- False: the turn is not the run's any more. If another one is announced, it need not wait for a lease now.
CREATE FUNCTION hookflow_release(p_run_uid uuid, p_turn_seq integer, p_retry_in interval) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  v_released boolean;
BEGIN
  DELETE FROM django_hookflow_lease WHERE run_uid = p_run_uid AND token = p_turn_seq;
  SELECT kind = 'turn' INTO v_released FROM django_hookflow_outbox WHERE run_uid = p_run_uid AND turn_seq = p_turn_seq;
  UPDATE django_hookflow_outbox SET turn_seq = NULL,
    send_at = CASE WHEN kind = 'turn' THEN greatest(due_at, least(send_at, hookflow_now() + p_retry_in)) ELSE send_at END
    WHERE run_uid = p_run_uid AND kind IN ('turn', 'held') AND (turn_seq = p_turn_seq OR turn_seq IS NULL);
  RETURN coalesce(v_released, false);
END $$;
