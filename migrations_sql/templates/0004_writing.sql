-- Writing: the functions through which the application changes anything. Each is one round trip and, called on its
-- own, one commit. Those that append lock the run's head before anything else of the run, so there is one order of
-- locks and no deadlock among them; renewing touches the row of one turn only.
--
-- A run is started once (hookflow_start). A delivery claims a turn (hookflow_claim), which settles what has come due,
-- and gives the turn the run's history and a fence: from then on whoever knew less of the log is refused. The turn
-- appends what its steps did, one call a step (hookflow_append), extends its lease while a step is long
-- (hookflow_renew), and ends with an append that begins a wait or ends the run, or hands the run back when it cannot go
-- on (hookflow_release). When the next turn is due follows from the run's waits (hookflow_announce) and from nothing else.
--
-- A run that a step starts and waits for (a child) begins in the call that begins the wait (hookflow_start_from). Its end
-- leaves a row in the outbox (hookflow_hand_on), by which the wait is settled in a transaction of its own (hookflow_join):
-- a run and its children are never locked together. By such a row a run, too, cancels those of its children that nothing
-- waits for any more (hookflow_cancel_orphans).

-- Appends events to a run and folds them into the projections. Answers the new length of the log and, where the turn
-- ends with it, in how many seconds the next one is due (null: none is); where the run ends, whether that is to be handed on.
--   p_expected_seq  how much of the log the caller knows; null for an operator, who is not bound to a turn
--   p_ends_turn     the turn is over: refused unless the caller knows the whole log, so that nothing that was done to the
--                   run meanwhile is overlooked. A step's outcome alone (false) is taken also after an operator's event.
--   p_goes_on       the turn is over and there is more to do at once, whatever the run waits for
--   p_grace         how long after it is due a relay sends the message, if the caller promises to and it is due within
--                   p_reach; null: it sends it when due
-- Without seq scans, here and below: a plan is kept that was made while nobody was at work, when leases and waits were a page
-- or none, and a minute later there are a hundred pages of dead ones.
CREATE FUNCTION hookflow_append(
  p_run_uid uuid, p_expected_seq integer, p_types text[], p_step_ids text[], p_facts json[], p_payloads json[],
  p_actor text, p_ends_turn boolean DEFAULT false, p_goes_on boolean DEFAULT false, p_grace interval DEFAULT NULL,
  p_reach interval DEFAULT NULL, OUT seq integer, OUT next_in float8, OUT handed_on boolean
) LANGUAGE plpgsql SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
  event    django_hookflow_event%ROWTYPE;
  v_now    timestamptz := hookflow_now();
  v_digest bytea;
  v_events django_hookflow_event[];
BEGIN
  -- What was retained is read in the place of what was redacted, so only who may redact may say what that is.
  IF p_types && ARRAY['event.redacted', 'event.retained']
     AND NOT has_function_privilege(session_user, 'hookflow_redact(uuid, integer, text[], text, text)', 'EXECUTE') THEN
    RAISE EXCEPTION 'hookflow: % is not allowed to redact', session_user USING ERRCODE = 'insufficient_privilege';
  END IF;
  event.run_uid := p_run_uid;
  event.actor := p_actor;
  FOR i IN 1 .. cardinality(p_types) LOOP
    event.type := p_types[i];
    event.step_id := p_step_ids[i];
    event.facts := p_facts[i];
    IF hookflow_wait_length(event.type) IS NOT NULL THEN
      event.facts := hookflow_with_until(event.facts, hookflow_wait_length(event.type), v_now);
    END IF;
    event.payload := p_payloads[i];
    {{salted}}
    IF i = 1 THEN
      {{chained: p_expected_seq BETWEEN fence_seq AND last_seq AND (p_expected_seq = last_seq OR NOT p_ends_turn)}}
    ELSE
      event.seq := event.seq + 1;
      event.hash := hookflow_event_hash(event.hash, p_run_uid, event.seq, event.recorded_at, 1::smallint,
        event.type, event.step_id, p_actor, event.facts::text, v_digest);
    END IF;
    IF cardinality(p_types) > 1 THEN
      event.position := nextval('django_hookflow_event_position_seq');
      v_events := v_events || event;
    END IF;
  END LOOP;
  IF event.seq IS NULL THEN
    RAISE EXCEPTION 'hookflow: nothing to append to run %', p_run_uid USING ERRCODE = 'not_null_violation';
  END IF;
  IF cardinality(p_types) = 1 THEN
    {{inserted}}
  ELSE
    -- Several events are written by one statement, which costs each of them far less. The first locked the head and checked;
    -- where they end is written once, for to find a row that one transaction has updated thousands of times takes ever longer.
    INSERT INTO django_hookflow_event
      (position, recorded_at, run_uid, seq, version, type, step_id, actor, facts, payload, salt, hash)
    SELECT e.position, e.recorded_at, e.run_uid, e.seq, 1, e.type, e.step_id, e.actor, e.facts, e.payload, e.salt, e.hash
    FROM unnest(v_events) AS e;
    FOREACH event IN ARRAY v_events LOOP
      PERFORM hookflow_project(event);
    END LOOP;
    UPDATE django_hookflow_head AS head SET last_seq = event.seq, head_hash = event.hash,
      fence_seq = CASE WHEN p_expected_seq IS NULL THEN fence_seq ELSE event.seq END
    WHERE run_uid = p_run_uid;
  END IF;
  seq := event.seq;
  IF p_ends_turn THEN
    DELETE FROM django_hookflow_lease WHERE run_uid = p_run_uid;
  ELSIF 'step.suspended' = ANY (p_types) THEN
    seq := hookflow_take_signals(p_run_uid);
  END IF;
  IF 'step.superseded' = ANY (p_types) THEN
    handed_on := hookflow_hand_on(p_run_uid, event.seq);
  END IF;
  IF hookflow_ends_run(event.type) THEN
    DELETE FROM django_hookflow_outbox WHERE run_uid = p_run_uid;
    handed_on := hookflow_hand_on(p_run_uid, event.seq);
    UPDATE django_hookflow_head SET unique_key = NULL WHERE run_uid = p_run_uid AND unique_key IS NOT NULL;
  ELSIF p_ends_turn THEN
    next_in := hookflow_announce(p_run_uid, event.seq, p_goes_on, p_grace, p_reach);
  END IF;
END $$;

-- The commonest append, by the shortest way: that a step completed, in a turn that goes on. Answers the new length of the log.
CREATE FUNCTION hookflow_complete(
  p_run_uid uuid, p_expected_seq integer, p_step_id text, p_facts json, p_payload json
) RETURNS integer LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  event    django_hookflow_event%ROWTYPE;
  v_now    timestamptz := hookflow_now();
  v_digest bytea;
BEGIN
  event.run_uid := p_run_uid;
  event.type := 'step.completed';
  event.step_id := p_step_id;
  event.facts := p_facts;
  event.payload := p_payload;
  {{salted}}
  {{chained: p_expected_seq BETWEEN fence_seq AND last_seq}}
  {{inserted}}
  RETURN event.seq;
END $$;

-- The facts of an event that begins a wait, with the moment at which it is due, counted from now by the database's clock.
-- Not from recorded_at: that never goes back within a run, and after the clock has, it is ahead. A moment that is given stays.
CREATE FUNCTION hookflow_with_until(p_facts json, p_length text, p_now timestamptz) RETURNS json LANGUAGE plpgsql STABLE AS $$
BEGIN
  IF p_facts->>p_length IS NULL OR p_facts->>'until' IS NOT NULL THEN
    RETURN p_facts;
  END IF;
  RETURN p_facts::jsonb || jsonb_build_object('until',
    to_char((p_now + make_interval(secs => (p_facts->>p_length)::float8)) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'));
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

-- When the first of a run's groups has nothing left to wait for, as far as that comes by itself: each when its last wait is
-- over. An attempt that is to be made again does not wait for the others.
CREATE FUNCTION hookflow_scopes_due(p_run_uid uuid) RETURNS timestamptz LANGUAGE sql STABLE AS $$
  SELECT min(due_at) FROM (
    SELECT CASE WHEN bool_and(due_at IS NOT NULL) THEN max(due_at) END AS due_at
    FROM django_hookflow_wait WHERE run_uid = p_run_uid AND scope <> 'task' AND kind <> 'backoff' GROUP BY scope
  ) AS scopes
$$;

-- Announces the next turn of a run that nobody works on, as its waits have it, in the place of what was announced before.
-- Answers in how many seconds it is due, 0 for at once; null: none is, since the run waits for somebody or something.
-- While a run is held or has diverged, only its deadline counts. p_goes_on, p_grace and p_reach as for hookflow_append.
CREATE FUNCTION hookflow_announce(
  p_run_uid uuid, p_seq integer, p_goes_on boolean, p_grace interval, p_reach interval
) RETURNS float8 LANGUAGE plpgsql AS $$
DECLARE
  v_now     timestamptz := hookflow_now();
  v_due     timestamptz;
  v_at_once boolean;
  v_is_sent boolean;  -- the caller sends it
BEGIN
  SELECT p_goes_on OR count(*) FILTER (WHERE kind <> 'deadline') = 0,
    CASE WHEN bool_or(kind IN ('hold', 'divergence')) THEN min(due_at) FILTER (WHERE kind = 'deadline')
         ELSE least(min(due_at) FILTER (WHERE scope IS NULL OR scope = 'task' OR kind = 'backoff'), hookflow_scopes_due(p_run_uid)) END
    INTO v_at_once, v_due
    FROM django_hookflow_wait WHERE run_uid = p_run_uid;
  IF v_at_once THEN
    v_due := NULL;
  ELSIF v_due IS NULL THEN
    DELETE FROM django_hookflow_outbox WHERE run_uid = p_run_uid AND kind = 'turn';
    RETURN NULL;
  END IF;
  v_is_sent := p_grace IS NOT NULL AND coalesce(v_due - v_now, interval '0') <= p_reach;
  INSERT INTO django_hookflow_outbox (run_uid, seq, due_at, announced_at, send_at, attempts)
  VALUES (p_run_uid, p_seq, v_due, v_now, coalesce(v_due, v_now) + CASE WHEN v_is_sent THEN p_grace ELSE interval '0' END,
          v_is_sent::integer)
  ON CONFLICT (run_uid, kind) DO UPDATE SET seq = excluded.seq, due_at = excluded.due_at,
    announced_at = excluded.announced_at, send_at = excluded.send_at, attempts = excluded.attempts, turn_seq = NULL;
  RETURN greatest(0, coalesce(extract(epoch FROM v_due - v_now), 0));
END $$;

-- Starts a run, once for each run_id, and announces its first turn. Answers the run that has the id, whether this call
-- made it, and if not, whether it was started with the same workflow and data. An archived run is refused: its id is not
-- used again. What its first event says of the run's names is what its head says: both are made here of one argument.
--   p_unique        while a run of the workflow with this key is under way, it is the answer, whatever its data are
--   p_delay, p_at   the first turn is due in so many seconds, or then; the run's timeout counts from that moment
CREATE FUNCTION hookflow_start(
  p_run_uid uuid, p_run_id text, p_workflow_id text, p_facts json, p_payload json, p_actor text,
  p_grace interval DEFAULT NULL, p_reach interval DEFAULT NULL, p_unique text DEFAULT NULL,
  p_delay float8 DEFAULT NULL, p_at timestamptz DEFAULT NULL
) RETURNS TABLE (run_uid uuid, created boolean, same boolean, seq integer, run_id text, due_in float8) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  head     django_hookflow_head%ROWTYPE;
  event    django_hookflow_event%ROWTYPE;
  v_now    timestamptz := hookflow_now();
  v_start  timestamptz := greatest(v_now, coalesce(p_at, v_now + make_interval(secs => p_delay)));
  v_digest bytea;
BEGIN
  event.run_uid := p_run_uid;
  event.seq := 1;
  event.type := 'run.triggered';
  event.actor := p_actor;
  event.facts := hookflow_with_until((p_facts::jsonb || jsonb_build_object('run_id', p_run_id, 'workflow', p_workflow_id)
    || CASE WHEN p_unique IS NULL THEN '{}' ELSE jsonb_build_object('unique', p_unique) END)::json,
    hookflow_wait_length(event.type), v_start);
  event.payload := p_payload;
  event.recorded_at := v_now;
  {{salted}}
  event.hash := hookflow_event_hash(sha256(uuid_send(p_run_uid)), p_run_uid, 1, v_now, 1::smallint,
    event.type, NULL, p_actor, event.facts::text, v_digest);
  LOOP
    INSERT INTO django_hookflow_head AS h (run_uid, run_id, workflow_id, last_seq, fence_seq, last_at, head_hash, unique_key)
    VALUES (p_run_uid, p_run_id, p_workflow_id, 1, 0, v_now, event.hash, p_unique)
    ON CONFLICT DO NOTHING;
    IF FOUND THEN
      {{inserted}}
      seq := 1;
      due_in := 0;
      IF v_start > v_now THEN
        SELECT a.seq INTO seq FROM hookflow_append(p_run_uid, NULL, ARRAY['run.delayed'], ARRAY[NULL]::text[],
          ARRAY[hookflow_with_until('{"timeout": 0}', 'timeout', v_start)::jsonb - 'timeout']::json[], ARRAY[NULL]::json[], p_actor) AS a;
        due_in := hookflow_announce(p_run_uid, seq, false, p_grace, p_reach);
      ELSE
        -- Nobody has yet given it anything to wait for: as hookflow_announce would, at a third of its price.
        INSERT INTO django_hookflow_outbox (run_uid, seq, announced_at, send_at, attempts)
        VALUES (p_run_uid, 1, v_now, v_now + coalesce(p_grace, interval '0'), (p_grace IS NOT NULL)::integer);
      END IF;
      RETURN QUERY SELECT p_run_uid, true, true, seq, p_run_id, due_in;
      RETURN;
    END IF;
    SELECT * INTO head FROM django_hookflow_head AS h WHERE h.run_id = p_run_id;
    EXIT WHEN FOUND;
    RETURN QUERY SELECT h.run_uid, false, true, h.last_seq, h.run_id, NULL::float8
      FROM django_hookflow_head AS h WHERE h.workflow_id = p_workflow_id AND h.unique_key = p_unique;
    IF FOUND THEN
      RETURN;
    END IF;  -- Whatever was in the way has gone in between.
  END LOOP;
  IF head.archived_at IS NOT NULL THEN
    PERFORM hookflow_refuse(head.run_uid, NULL);
  END IF;
  -- Data that has been redacted cannot be compared: who names the run's id and workflow is given the run. A label is for
  -- people, and the code that makes it may have changed.
  RETURN QUERY SELECT head.run_uid, false, head.last_seq > 0 AND head.workflow_id = p_workflow_id AND (
    SELECT e.payload_digest IS NOT NULL OR (e.payload->'data')::jsonb IS NOT DISTINCT FROM (p_payload->'data')::jsonb
    FROM django_hookflow_event AS e WHERE e.run_uid = head.run_uid AND e.seq = 1), head.last_seq, head.run_id, NULL::float8;
END $$;

-- The event that ends a wait: what `p_outcome`, the payload, says it came to; null for one that is merely over. `p_by` is the
-- seq of the event that brought it; `p_failure` the facts of its failure, if it came to one.
CREATE FUNCTION hookflow_settlement(
  p_wait django_hookflow_wait, p_outcome json, p_by integer, p_failure json, OUT type text, OUT facts json, OUT payload json
) LANGUAGE plpgsql STABLE AS $$
DECLARE
  v_began json := (SELECT event.facts FROM django_hookflow_event AS event
                   WHERE event.run_uid = p_wait.run_uid AND event.seq = p_wait.since_seq);
BEGIN
  IF p_wait.kind = 'backoff' THEN
    type := 'step.retried';
    facts := json_build_object('attempt', (v_began->>'attempt')::integer + 1);
    RETURN;
  ELSIF p_wait.kind = 'callback' AND v_began->>'step_kind' IS NOT NULL AND p_outcome->'result' IS NULL THEN  -- the attempt goes on
    type := 'step.retried';
    facts := json_build_object('attempt', (v_began->>'attempt')::integer,
      CASE WHEN p_outcome IS NULL THEN 'timed_out' ELSE 'answered' END, true);
    payload := p_outcome;
    RETURN;
  END IF;
  type := 'step.completed';
  facts := json_build_object('kind', coalesce(v_began->>'step_kind', p_wait.kind),
    'attempt', coalesce((v_began->>'attempt')::integer, 1), 'took', 0);
  IF p_failure IS NOT NULL THEN
    type := 'step.failed';
    facts := facts::jsonb || jsonb_build_object('of', facts->'attempt') || p_failure::jsonb;
  ELSIF p_wait.kind = 'doubt' THEN
    facts := facts::jsonb || '{"resolved": true}';
  ELSIF p_by IS NOT NULL THEN
    facts := facts::jsonb || jsonb_build_object('by', p_by);
  ELSIF p_wait.kind <> 'sleep' AND p_outcome IS NULL THEN
    facts := facts::jsonb || '{"timed_out": true}';
  END IF;
  payload := coalesce(p_outcome, '{"result":null}');
END $$;

-- Settles the wait of a step: appends the event that ends it and announces the turn that goes on with it, unless one is
-- under way or there is more to wait for (unless the scope of the wait is 'task', of which each is awaited by itself). False: the step does not wait so.
CREATE FUNCTION hookflow_settle(
  p_run_uid uuid, p_step_id text, p_kind text, p_outcome json, p_actor text, p_grace interval, p_reach interval,
  p_by integer DEFAULT NULL, p_failure json DEFAULT NULL
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  v_wait  django_hookflow_wait%ROWTYPE;
  v_event record;
  v_seq   integer;
BEGIN
  PERFORM FROM django_hookflow_head WHERE run_uid = p_run_uid AND archived_at IS NULL FOR NO KEY UPDATE;
  SELECT * INTO v_wait FROM django_hookflow_wait WHERE run_uid = p_run_uid AND step_id = p_step_id AND kind = p_kind;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  v_event := hookflow_settlement(v_wait, p_outcome, p_by, p_failure);
  SELECT seq INTO v_seq FROM hookflow_append(p_run_uid, NULL, ARRAY[v_event.type], ARRAY[p_step_id],
    ARRAY[v_event.facts], ARRAY[v_event.payload], p_actor);
  PERFORM hookflow_announce(p_run_uid, v_seq, v_wait.scope IS NOT DISTINCT FROM 'task', p_grace, p_reach)
  WHERE NOT EXISTS (SELECT FROM django_hookflow_outbox WHERE run_uid = p_run_uid AND kind = 'turn' AND turn_seq IS NOT NULL);
  RETURN true;
END $$;

-- Settles waits for signals with what has come already: a turn that does not end with them knew nothing of it when it began
-- to wait. Answers the length of the log.
CREATE FUNCTION hookflow_take_signals(p_run_uid uuid) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  v_signal record;
  v_step   text;
BEGIN
  FOR v_signal IN
    SELECT received.seq, received.facts->>'name' AS name, received.payload->'value' AS value
    FROM django_hookflow_event AS received
    WHERE received.run_uid = p_run_uid AND received.type = 'signal.received' AND received.payload IS NOT NULL
      AND received.facts->>'name' IN (SELECT key FROM django_hookflow_wait WHERE run_uid = p_run_uid AND kind = 'signal')
      AND NOT EXISTS (
        SELECT FROM django_hookflow_event AS taken
        WHERE taken.run_uid = p_run_uid AND taken.type = 'step.completed' AND (taken.facts->>'by')::integer = received.seq
          AND NOT EXISTS (SELECT FROM django_hookflow_event AS superseding
                          WHERE superseding.run_uid = p_run_uid AND superseding.type = 'step.superseded'
                            AND superseding.step_id = taken.step_id AND superseding.seq > taken.seq))
    ORDER BY received.seq
  LOOP
    SELECT step_id INTO v_step FROM django_hookflow_wait
      WHERE run_uid = p_run_uid AND kind = 'signal' AND key = v_signal.name ORDER BY since_seq LIMIT 1;
    IF FOUND THEN
      PERFORM hookflow_settle(p_run_uid, v_step, 'signal', ('{"result":' || v_signal.value || '}')::json, NULL, NULL, NULL,
        v_signal.seq);
    END IF;
  END LOOP;
  RETURN (SELECT last_seq FROM django_hookflow_head WHERE run_uid = p_run_uid);
END $$;

-- Starts runs out of a run, in the call that appends to it what each follows from. p_seq is how long its log is then. A run:
--   {run_uid, run_id, workflow, facts, payload} as for hookflow_start and, if a step waits for it, {step, refusal}
-- A child whose id another run has is not started, and `refusal` ({facts, payload} of the failure) settles the step's wait; if
-- this very step had started that run before, it is waited for. Any other run goes on in the place of the run, which has
-- ended, with the signals that no step of it has taken: `signals`, of each its {seq} and, where it is not to be copied, the
-- {payload}. Answers which were started, and what hookflow_append says of the run as it stands then.
CREATE FUNCTION hookflow_start_from(
  p_seq integer, p_next_in float8, p_run_uid uuid, p_runs json, p_grace interval, p_reach interval,
  OUT seq integer, OUT next_in float8, OUT started uuid[]
) LANGUAGE plpgsql AS $$
DECLARE
  v_new    json;
  v_known  django_hookflow_head%ROWTYPE;
  v_actor  text;
BEGIN
  started := '{}';
  seq := p_seq;
  next_in := p_next_in;
  FOR v_new IN SELECT value FROM json_array_elements(p_runs) AS runs (value) LOOP
    SELECT * INTO v_known FROM django_hookflow_head WHERE run_id = v_new->>'run_id';
    IF NOT FOUND THEN
      SELECT actor INTO v_actor FROM django_hookflow_event AS event WHERE event.run_uid = p_run_uid AND event.seq = 1;
      IF (SELECT created FROM hookflow_start((v_new->>'run_uid')::uuid, v_new->>'run_id', v_new->>'workflow', v_new->'facts',
            v_new->'payload', v_actor, p_grace, p_reach, v_new->>'unique')) THEN
        started := started || (v_new->>'run_uid')::uuid;
        PERFORM hookflow_append((v_new->>'run_uid')::uuid, NULL, ARRAY[sent.type], ARRAY[sent.step_id], ARRAY[sent.facts],
            ARRAY[coalesce(signal->'payload', sent.payload)], sent.actor)
          FROM json_array_elements(v_new->'signals') AS kept (signal)
          JOIN hookflow_event_readable AS sent ON sent.run_uid = p_run_uid AND sent.seq = (signal->>'seq')::integer
          ORDER BY sent.seq;
        CONTINUE;
      END IF;
      SELECT * INTO v_known FROM django_hookflow_head WHERE run_id = v_new->>'run_id';
    END IF;
    IF v_new->>'step' IS NULL THEN
      RAISE EXCEPTION 'hookflow: run % cannot continue as %: another run has that ID',
        (SELECT run_id FROM django_hookflow_head WHERE run_uid = p_run_uid), quote_literal(v_new->>'run_id')
        USING ERRCODE = 'unique_violation', CONSTRAINT = 'django_hookflow_head_run_id_once';
    ELSIF EXISTS (SELECT FROM django_hookflow_workflowrun AS run
                  WHERE run.id = v_known.run_uid AND run.parent_uid = p_run_uid AND run.parent_step = v_new->>'step') THEN
      PERFORM hookflow_rejoin(p_run_uid);
    ELSE
      PERFORM hookflow_settle(p_run_uid, v_new->>'step', 'child', v_new->'refusal'->'payload', NULL, p_grace, p_reach, NULL,
        v_new->'refusal'->'facts');
      SELECT last_seq INTO seq FROM django_hookflow_head WHERE run_uid = p_run_uid;
      SELECT greatest(0, coalesce(extract(epoch FROM due_at - hookflow_now()), 0)) INTO next_in
        FROM django_hookflow_outbox WHERE run_uid = p_run_uid AND kind = 'turn' AND turn_seq IS NULL;
    END IF;
  END LOOP;
END $$;

-- What has become of a run concerns others: the run that waits for it, and the living runs that it started. A row in the
-- outbox says so; whoever commits it acts on it right after, and a relay does if it does not. False: it concerns nobody.
CREATE FUNCTION hookflow_hand_on(p_run_uid uuid, p_seq integer) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  v_now timestamptz := hookflow_now();
BEGIN
  INSERT INTO django_hookflow_outbox (run_uid, seq, kind, announced_at, send_at)
  SELECT p_run_uid, p_seq, 'ended', v_now, v_now + interval '5 seconds'
  FROM django_hookflow_workflowrun AS run
  WHERE run.id = p_run_uid AND (run.parent_uid IS NOT NULL AND run.completed_at IS NOT NULL OR EXISTS (
    SELECT FROM django_hookflow_workflowrun AS child WHERE child.parent_uid = p_run_uid AND child.completed_at IS NULL))
  ON CONFLICT (run_uid, kind) DO UPDATE SET seq = excluded.seq, announced_at = excluded.announced_at,
    send_at = excluded.send_at, attempts = 0;
  RETURN FOUND;
END $$;

-- Hands on once more the ends of runs that are still waited for: it came when nobody waited, or the row that said so is lost.
-- Of the children of one run or, for null, of all. Answers how many.
CREATE FUNCTION hookflow_rejoin(p_run_uid uuid) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  v_now    timestamptz := hookflow_now();
  v_number bigint;
BEGIN
  INSERT INTO django_hookflow_outbox (run_uid, seq, kind, announced_at, send_at)
  SELECT ended.run_uid, head.last_seq, 'ended', v_now, v_now
  FROM django_hookflow_wait AS wait CROSS JOIN LATERAL hookflow_ended_child(wait) AS ended (run_uid)
  JOIN django_hookflow_head AS head ON head.run_uid = ended.run_uid
  WHERE wait.kind = 'child' AND (p_run_uid IS NULL OR wait.run_uid = p_run_uid)
  ON CONFLICT (run_uid, kind) DO NOTHING;
  GET DIAGNOSTICS v_number = ROW_COUNT;
  RETURN v_number;
END $$;

-- The child that a wait is for, if it has ended: of a run that went on as others, the last of them.
CREATE FUNCTION hookflow_ended_child(p_wait django_hookflow_wait) RETURNS SETOF uuid LANGUAGE sql STABLE AS $$
  SELECT child.id FROM django_hookflow_workflowrun AS child
  JOIN django_hookflow_event AS started ON started.run_uid = child.id AND started.seq = 1
  WHERE child.parent_uid = p_wait.run_uid AND child.parent_step = p_wait.step_id AND child.completed_at IS NOT NULL
    AND started.facts->'origin'->>'key' = p_wait.key
    AND NOT EXISTS (SELECT FROM django_hookflow_event AS ended
                    WHERE ended.run_uid = child.id AND ended.type = 'run.completed' AND ended.facts->>'continued_by' IS NOT NULL)
$$;

-- Settles the wait of a step for the child, or other p_kind, that p_key names: with the payload of its result or, if p_failure
-- is not null, of its failure. `applied` is false if no such wait stands (any more); the rest as hookflow_operate answers it.
CREATE FUNCTION hookflow_join(
  p_run_uid uuid, p_step_id text, p_key text, p_failure json, p_payload json, p_grace interval, p_reach interval,
  p_kind text DEFAULT 'child'
) RETURNS TABLE (applied boolean, seq integer, attempt integer, delay float8) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  v_last integer;
BEGIN
  PERFORM FROM django_hookflow_head AS h WHERE h.run_uid = p_run_uid FOR NO KEY UPDATE;
  applied := EXISTS (SELECT FROM django_hookflow_wait AS w WHERE w.run_uid = p_run_uid AND w.step_id = p_step_id
                     AND w.kind = p_kind AND w.key = p_key)
    AND hookflow_settle(p_run_uid, p_step_id, p_kind, p_payload, NULL, p_grace, p_reach, NULL, p_failure);
  SELECT h.last_seq INTO v_last FROM django_hookflow_head AS h WHERE h.run_uid = p_run_uid;
  SELECT o.seq, o.attempts, greatest(0, coalesce(extract(epoch FROM o.due_at - hookflow_now()), 0)) INTO seq, attempt, delay
    FROM django_hookflow_outbox AS o WHERE o.run_uid = p_run_uid AND o.kind = 'turn' AND o.turn_seq IS NULL AND o.seq = v_last;
  RETURN NEXT;
END $$;

-- Cancels up to p_most of the living runs that a run started and does not wait for any more, but for those it let go and those
-- that have ended before and live by an operator's will; answers which. It has ended, or gone back to before the step, or the step's time was up. When there are no more, all is done that
-- the row in the outbox is about, and it goes, if it is still the one of p_seq.
CREATE FUNCTION hookflow_cancel_orphans(p_run_uid uuid, p_seq integer, p_most integer) RETURNS SETOF uuid LANGUAGE plpgsql AS $$
DECLARE
  v_child  uuid;
  v_number integer := 0;
  v_reason json := json_build_object('reason', format('run %s, which started it, does not wait for it any more',
    (SELECT run_id FROM django_hookflow_head WHERE run_uid = p_run_uid)));
BEGIN
  FOR v_child IN
    SELECT child.id FROM django_hookflow_workflowrun AS child
    JOIN django_hookflow_event AS started ON started.run_uid = child.id AND started.seq = 1
    WHERE child.parent_uid = p_run_uid AND child.completed_at IS NULL
      AND started.facts->'origin'->>'on_cancel' IS DISTINCT FROM 'abandon'
      AND NOT EXISTS (SELECT FROM django_hookflow_event AS ended WHERE ended.run_uid = child.id AND hookflow_ends_run(ended.type))
      AND NOT EXISTS (SELECT FROM django_hookflow_wait AS wait
                      WHERE wait.run_uid = p_run_uid AND wait.step_id = child.parent_step AND wait.kind = 'child'
                        AND wait.key = started.facts->'origin'->>'key')
    ORDER BY child.id LIMIT p_most
  LOOP
    PERFORM FROM django_hookflow_head WHERE run_uid = v_child FOR NO KEY UPDATE;
    PERFORM hookflow_operate(v_child, 'cancel', NULL, '{}', v_reason, NULL, NULL, NULL)
    WHERE EXISTS (SELECT FROM django_hookflow_workflowrun WHERE id = v_child AND completed_at IS NULL);
    v_number := v_number + 1;
    RETURN NEXT v_child;
  END LOOP;
  IF v_number < p_most THEN
    DELETE FROM django_hookflow_outbox WHERE run_uid = p_run_uid AND kind = 'ended' AND seq = p_seq;
  END IF;
END $$;

-- Fails a run whose deadline has passed; false if it has none or not yet. The caller holds the head.
CREATE FUNCTION hookflow_time_out(p_run_uid uuid) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM django_hookflow_wait
                 WHERE run_uid = p_run_uid AND step_id = '' AND kind = 'deadline' AND due_at <= hookflow_now()) THEN
    RETURN false;
  END IF;
  PERFORM hookflow_append(p_run_uid, NULL, ARRAY['run.failed'], ARRAY[NULL::text],
    ARRAY[json_build_object('attempts', 1, 'error', 'RunTimedOut',
      'fingerprint', left(encode(sha256(convert_to('RunTimedOut', 'UTF8')), 'hex'), 16))],
    ARRAY[json_build_object('message', 'the run did not end within its timeout', 'traceback', '')], NULL);
  RETURN true;
END $$;

-- The same for a message that says so: 'failed', 'early', or 'stale' when the run has ended or has no deadline.
CREATE FUNCTION hookflow_expire(p_workflow_id text, p_run_id text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  v_run_uid uuid;
BEGIN
  SELECT run_uid INTO v_run_uid FROM django_hookflow_head
    WHERE run_id = p_run_id AND workflow_id = p_workflow_id AND archived_at IS NULL FOR NO KEY UPDATE;
  RETURN CASE
    WHEN hookflow_time_out(v_run_uid) THEN 'failed'
    WHEN EXISTS (SELECT FROM django_hookflow_wait WHERE run_uid = v_run_uid AND step_id = '' AND kind = 'deadline') THEN 'early'
    ELSE 'stale' END;
END $$;

-- Asks whether a delivery may run a turn, and begins the turn if it may.
-- Answers one row for each event of the run's history when `answer` is 'run', else one row with the answer alone:
--   unknown   the workflow has no such run       finished  the run has ended
--   failed    the run's time was up              stale     the turn announced at p_seq is over, a later one may be announced
--   early     the turn is due in `later` seconds busy      another worker holds the lease for `later` seconds more
-- What has come due is settled before the history is read, so a turn compares no clocks. A turn that was begun and neither
-- ended nor was handed back, and whose lease has run out, is recorded as abandoned. p_sent: 1 if the caller takes the message
-- with the turn, which so has been sent once more. Where some runs are long, PostgreSQL would plan the reading of a history
-- anew each time, at twice the cost of the whole.
CREATE FUNCTION hookflow_claim(
  p_workflow_id text, p_run_id text, p_seq integer, p_owner text, p_lease interval, p_turn json, p_sent integer DEFAULT 0
) RETURNS TABLE (
  answer text, run_uid uuid, turn_seq integer, later float8,
  seq integer, type text, step_id text, facts text, payload text
) LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
  head       django_hookflow_head%ROWTYPE;
  announced  django_hookflow_outbox%ROWTYPE;
  lease      django_hookflow_lease%ROWTYPE;
  wait       django_hookflow_wait%ROWTYPE;
  v_event    record;
  v_now      timestamptz;
  v_turn     integer;
  v_types    text[] := '{}';
  v_step_ids text[] := '{}';
  v_facts    json[] := '{}';
  v_payloads json[] := '{}';
  v_is_given_up boolean := false;
BEGIN
  SELECT * INTO head FROM django_hookflow_head AS h WHERE h.run_id = p_run_id AND h.workflow_id = p_workflow_id
    FOR NO KEY UPDATE;
  v_now := hookflow_now();
  IF NOT FOUND THEN
    answer := 'unknown';
    RETURN NEXT; RETURN;
  END IF;
  run_uid := head.run_uid;
  SELECT * INTO announced FROM django_hookflow_outbox AS o
    WHERE o.run_uid = head.run_uid AND o.kind = 'turn' AND o.seq = p_seq;
  IF NOT FOUND THEN
    SELECT CASE WHEN r.completed_at IS NULL THEN 'stale' ELSE 'finished' END INTO answer
      FROM django_hookflow_workflowrun AS r WHERE r.id = head.run_uid;
    answer := coalesce(answer, 'stale');
    RETURN NEXT; RETURN;
  ELSIF hookflow_time_out(head.run_uid) THEN
    answer := 'failed';
    RETURN NEXT; RETURN;
  ELSIF announced.due_at > v_now THEN
    answer := 'early';
    later := extract(epoch FROM announced.due_at - v_now);
    RETURN NEXT; RETURN;
  END IF;
  SELECT * INTO lease FROM django_hookflow_lease AS l WHERE l.run_uid = head.run_uid;
  IF FOUND AND lease.renewed_at <= v_now AND lease.expires_at > v_now THEN
    answer := 'busy';
    later := extract(epoch FROM lease.expires_at - v_now);
    RETURN NEXT; RETURN;
  END IF;
  FOR wait IN SELECT * FROM django_hookflow_wait AS w
    WHERE w.run_uid = head.run_uid AND w.due_at <= v_now AND w.step_id <> '' ORDER BY w.since_seq
  LOOP
    v_event := hookflow_settlement(wait, NULL, NULL, NULL);
    v_is_given_up := v_is_given_up OR wait.kind = 'child';
    v_types := v_types || v_event.type;
    v_step_ids := v_step_ids || wait.step_id::text;
    v_facts := v_facts || v_event.facts;
    v_payloads := v_payloads || v_event.payload;
  END LOOP;
  IF announced.turn_seq IS NOT NULL THEN
    v_types := v_types || 'turn.abandoned'::text;
    v_step_ids := v_step_ids || NULL::text;
    v_facts := v_facts || json_build_object('turn_seq', announced.turn_seq);
    v_payloads := v_payloads || NULL::json;
  END IF;
  SELECT a.seq INTO v_turn FROM hookflow_append(head.run_uid, head.last_seq, v_types || 'turn.started'::text,
    v_step_ids || NULL::text, v_facts || p_turn, v_payloads || NULL::json, NULL) AS a;
  INSERT INTO django_hookflow_lease AS l (run_uid, token, owner, renewed_at, expires_at)
  VALUES (head.run_uid, v_turn, p_owner, v_now, v_now + p_lease)
  ON CONFLICT (run_uid) DO UPDATE SET token = excluded.token, owner = excluded.owner, renewed_at = excluded.renewed_at,
    expires_at = excluded.expires_at;
  -- A turn that has begun was due: should it be lost, the next may begin whatever the clock says then.
  UPDATE django_hookflow_outbox AS o SET turn_seq = v_turn, due_at = NULL, announced_at = v_now, attempts = o.attempts + p_sent,
    send_at = least(v_now + p_lease, (
      SELECT w.due_at FROM django_hookflow_wait AS w WHERE w.run_uid = head.run_uid AND w.step_id = '' AND w.kind = 'deadline'))
    WHERE o.id = announced.id;
  IF v_is_given_up THEN
    PERFORM hookflow_hand_on(head.run_uid, v_turn);
  END IF;
  RETURN QUERY
    SELECT 'run'::text, head.run_uid, v_turn, NULL::float8, e.seq, e.type, e.step_id, e.facts::text, e.payload::text
    FROM hookflow_event_readable AS e
    WHERE e.run_uid = head.run_uid AND e.type <> 'turn.started'
    ORDER BY e.seq;
END $$;

-- Takes up to p_limit due messages for one caller to send: counts them as sent once more and puts them off until the turn would
-- be overdue. Of the workflows p_workflows, which the caller runs itself, it begins the turns with that, as hookflow_claim
-- says, in one commit and in one writing of the outbox; p_turn gets each message's attempt.
-- Answers a row for each message whose turn was not begun here, and for each event of the history of one that was.
--
-- What has been due longest comes first; with p_new, runs that have not begun do, the newest of them first.
-- p_until: what was due then.
-- SKIP LOCKED gives several relays different messages, and keeps clear of runs that an append is just changing: outbox and
-- head are locked in the other order there, and nobody waits here. A run with a live lease has its turn begun; its row stays
-- and counts again when the lease has run out, or when the run's time is up, which waits for nobody. One message a statement:
-- of any number, a plan that is kept might read and sort all that is due.
CREATE FUNCTION hookflow_take(
  p_limit integer, p_until timestamptz, p_overdue interval, p_new boolean DEFAULT false,
  p_workflows text[] DEFAULT NULL, p_owner text DEFAULT NULL, p_lease interval DEFAULT NULL, p_turn json DEFAULT NULL
) RETURNS TABLE (
  workflow_id text, run_id text, announced_seq integer, run_uid uuid, attempt integer, kind text,
  turn_seq integer, seq integer, type text, step_id text, facts text, payload text
) LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
  v_now    timestamptz := hookflow_now();
  v_oldest timestamptz := '-infinity';
  v_newest timestamptz := least(v_now, p_until);
  taken    record;
BEGIN
  FOR i IN 1 .. p_limit LOOP
    IF p_new THEN
      {{due: BETWEEN '-infinity' AND v_newest AND o.seq = 1 ORDER BY o.send_at DESC}}
      p_new := taken.id IS NOT NULL;
      v_newest := coalesce(taken.send_at, least(v_now, p_until));
    END IF;
    IF NOT p_new THEN
      {{due: BETWEEN v_oldest AND v_newest ORDER BY o.send_at}}
      v_oldest := taken.send_at;
    END IF;
    EXIT WHEN taken.id IS NULL;
    IF taken.kind = 'turn' AND taken.workflow_id = ANY (p_workflows) THEN
      RETURN QUERY
        SELECT taken.workflow_id, taken.run_id, taken.seq, taken.run_uid, taken.attempt, taken.kind,
          c.turn_seq, c.seq, c.type, c.step_id, c.facts, c.payload
        FROM hookflow_claim(taken.workflow_id, taken.run_id, taken.seq, p_owner, p_lease,
          (p_turn::jsonb || jsonb_build_object('attempt', taken.attempt))::json, 1) AS c
        WHERE c.answer = 'run';
      CONTINUE WHEN FOUND;
    END IF;
    UPDATE django_hookflow_outbox AS o SET send_at = v_now + p_overdue, attempts = taken.attempt WHERE o.id = taken.id;
    IF FOUND THEN  -- else the claim has found that the run's time was up
      RETURN QUERY SELECT taken.workflow_id, taken.run_id, taken.seq, taken.run_uid, taken.attempt, taken.kind,
        NULL::integer, NULL::integer, NULL::text, NULL::text, NULL::text, NULL::text;
    END IF;
  END LOOP;
END $$;

-- Extends the lease of a turn that is still the run's turn. False: it is not, the run has gone to another worker.
CREATE FUNCTION hookflow_renew(p_run_uid uuid, p_turn_seq integer, p_lease interval) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  v_now timestamptz := hookflow_now();
BEGIN
  UPDATE django_hookflow_lease SET renewed_at = v_now, expires_at = v_now + p_lease
    WHERE run_uid = p_run_uid AND token = p_turn_seq;
  RETURN FOUND;
END $$;

-- Hands a run back in mid-turn, without an event: what it waits for, or else the turn, is announced again, not to be sent
-- before p_retry_in. False: the turn is not the run's any more, or there is nothing to go on with. If another turn is
-- announced, it need not wait for a lease now.
CREATE FUNCTION hookflow_release(
  p_run_uid uuid, p_turn_seq integer, p_retry_in interval, p_goes_on boolean DEFAULT false
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  v_now timestamptz := hookflow_now();
  v_seq integer;
BEGIN
  PERFORM FROM django_hookflow_head WHERE run_uid = p_run_uid FOR NO KEY UPDATE;
  DELETE FROM django_hookflow_lease WHERE run_uid = p_run_uid AND token = p_turn_seq;
  SELECT seq INTO v_seq FROM django_hookflow_outbox WHERE run_uid = p_run_uid AND kind = 'turn' AND turn_seq = p_turn_seq;
  IF NOT FOUND THEN
    UPDATE django_hookflow_outbox SET send_at = greatest(due_at, least(send_at, v_now + p_retry_in))
      WHERE run_uid = p_run_uid AND kind = 'turn' AND turn_seq IS NULL;
    RETURN false;
  END IF;
  PERFORM hookflow_announce(p_run_uid, v_seq, p_goes_on, NULL, NULL);
  UPDATE django_hookflow_outbox SET send_at = greatest(send_at, v_now + p_retry_in)
    WHERE run_uid = p_run_uid AND kind = 'turn';
  RETURN FOUND;
END $$;

--@ The parts of an append that hookflow_append, hookflow_complete and hookflow_start share. `event` is the event that is appended.
--@ salted
event.salt := CASE WHEN event.payload IS NULL THEN NULL ELSE uuid_send(gen_random_uuid()) END;
v_digest := sha256(event.salt || convert_to(event.payload::text, 'UTF8'));
--@ The argument is what a turn that appends must know.
--@ chained
-- The lock, the check and the new end of the chain in one statement: nothing is drawn or written if it refuses.
UPDATE django_hookflow_head AS head SET
  last_seq  = last_seq + 1,
  last_at   = greatest(v_now, last_at),
  fence_seq = CASE WHEN p_expected_seq IS NULL THEN fence_seq ELSE last_seq + 1 END,
  head_hash = hookflow_event_hash(head_hash, run_uid, last_seq + 1, greatest(v_now, last_at), 1::smallint,
    event.type, event.step_id, event.actor, event.facts::text, v_digest)
WHERE run_uid = p_run_uid AND archived_at IS NULL
  AND (p_expected_seq IS NULL OR {{which}})
RETURNING last_seq, last_at, head_hash INTO event.seq, event.recorded_at, event.hash;
IF NOT FOUND THEN
  PERFORM hookflow_refuse(p_run_uid, p_expected_seq);
END IF;
--@ inserted
INSERT INTO django_hookflow_event
  (recorded_at, run_uid, seq, version, type, step_id, actor, facts, payload, salt, hash)
VALUES (event.recorded_at, event.run_uid, event.seq, 1, event.type, event.step_id, event.actor, event.facts, event.payload,
        event.salt, event.hash)
RETURNING position INTO event.position;
PERFORM hookflow_project(event);
--@ The argument says which of what is due.
--@ due
SELECT o.id, o.run_uid, o.seq, o.kind::text AS kind, o.send_at, o.attempts + 1 AS attempt, head.workflow_id, head.run_id
  INTO taken
  FROM django_hookflow_outbox AS o JOIN django_hookflow_head AS head ON head.run_uid = o.run_uid
  WHERE (o.kind <> 'turn' OR (SELECT v_now BETWEEN lease.renewed_at AND lease.expires_at
          FROM django_hookflow_lease AS lease WHERE lease.run_uid = o.run_uid) IS NOT TRUE
      OR (SELECT wait.due_at <= v_now
          FROM django_hookflow_wait AS wait WHERE wait.run_uid = o.run_uid AND wait.step_id = '' AND wait.kind = 'deadline'))
    AND o.send_at {{which}}
  LIMIT 1 FOR UPDATE OF o SKIP LOCKED FOR NO KEY UPDATE OF head SKIP LOCKED;
