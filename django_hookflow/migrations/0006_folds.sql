-- The folds again, over what may still be told, and redaction.
--
-- A payload can be redacted: it goes, its digest stays, and the chain still verifies. What is left of it, when only a
-- part had to go, stands in an event of its own that says so. The view hookflow_event_told shows each event as it may
-- still be told; whatever makes sense of a history reads that and not the table.
--
-- The texts of the mapping stand here whole and take the place of those in 0002: a later change of the mapping is a
-- later migration with all of it, so that the newest file is the one to read. New in this one: the view as a source; a
-- dead letter can be removed by an event (dead_letter.removed); runs as of a moment; and a fold sorts only the events
-- that matter to it. To give a projection another column: add it to the table (last, nullable), here to its group and
-- to the columns in the order of the table, and run hookflow_rebuild. Until that is through, rows it has not reached
-- have null in the new column, and both old and new code are served.

-- What was retained, by the event it was retained of: a run may have thousands of redacted events, and each looks for its
-- own. Of ordinary events it has none. Making it reads the log once and holds up appends meanwhile; where that would be
-- long, make it on each partition before, with CREATE INDEX CONCURRENTLY: then this only joins them together.
CREATE INDEX django_hookflow_event_retained ON django_hookflow_event (run_uid, ((payload->>'seq')::integer), seq)
  WHERE type = 'event.retained';

-- Each event as it may still be told: like the table, but a redacted event shows what was retained of it.
CREATE VIEW hookflow_event_told AS
SELECT position, run_uid, seq, type, step_id, actor,
  CASE WHEN payload_digest IS NULL THEN payload ELSE (
    SELECT retained.payload->'payload' FROM django_hookflow_event AS retained
    WHERE retained.run_uid = event.run_uid AND retained.seq > event.seq AND retained.type = 'event.retained'
      AND (retained.payload->>'seq')::integer = event.seq
    ORDER BY retained.seq DESC LIMIT 1) END AS payload,
  recorded_at, version, salt, payload_digest, hash
FROM django_hookflow_event AS event;

-- What people know a run by, such as an order's number: given by whoever triggers it, to be found by.
ALTER TABLE django_hookflow_workflowrun ADD COLUMN label varchar(255) NOT NULL DEFAULT '';
-- For searches by how an id or a label begins.
CREATE INDEX django_hookflow_run_id_begins ON django_hookflow_workflowrun (run_id varchar_pattern_ops);
CREATE INDEX django_hookflow_run_by_label ON django_hookflow_workflowrun (label varchar_pattern_ops) WHERE NOT label = '';

DO $install$
DECLARE
  -- In every text `event` is one event: a variable where events are appended, a row of the log where they are folded.
  -- The names of a run come from its head, so that they outlive a redaction of its first event.

  -- WorkflowRun. What it was started as, once:
  run_origin CONSTANT text := $$ event.seq = 1 $$;
  run_origin_columns CONSTANT text := $$ run_id, workflow_id, data, created_at, label $$;
  run_origin_is CONSTANT text := $$
    (SELECT head.run_id FROM django_hookflow_head AS head WHERE head.run_uid = event.run_uid)::varchar(255) AS run_id,
    (SELECT head.workflow_id FROM django_hookflow_head AS head WHERE head.run_uid = event.run_uid)::varchar(255) AS workflow_id,
    coalesce((event.payload->'data')::jsonb, 'null') AS data,
    event.recorded_at                                AS created_at,
    coalesce(event.payload->>'label', '')::varchar(255) AS label $$;
  -- how it stands:
  run_state CONSTANT text := $$ hookflow_status_after(event.type) IS NOT NULL $$;
  run_state_columns CONSTANT text := $$ status, result, error_message, completed_at $$;
  run_state_is CONSTANT text := $$
    hookflow_status_after(event.type)::varchar(20) AS status,
    CASE WHEN event.type = 'run.completed' THEN nullif((event.payload->'result')::jsonb, 'null') END AS result,
    CASE WHEN event.type IN ('run.failed', 'run.diverged')
         THEN coalesce(event.payload->'error'->>'message', '') ELSE '' END AS error_message,
    CASE WHEN event.type IN ('run.completed', 'run.failed', 'run.cancelled') THEN event.recorded_at END AS completed_at $$;
  -- and when it last moved and will move by itself. Steps that complete are rows of their own and do not touch the run.
  run_motion CONSTANT text := $$ (hookflow_status_after(event.type) IS NOT NULL OR event.type IN ('sleep.started', 'step.failed', 'turn.failed')) $$;
  run_motion_columns CONSTANT text := $$ updated_at, wake_at $$;
  run_motion_is CONSTANT text := $$
    event.recorded_at AS updated_at,
    CASE WHEN event.type IN ('sleep.started', 'run.resumed')
           THEN event.recorded_at + make_interval(secs => (event.payload->>'seconds')::float8)
         WHEN event.type IN ('step.failed', 'turn.failed') AND event.payload->>'announced' IS DISTINCT FROM 'false'
           THEN event.recorded_at + make_interval(secs => (event.payload->>'retry_in')::float8)
    END AS wake_at $$;
  run_columns CONSTANT text := $$
    run_uid, run_id, workflow_id, status, data, result, error_message, created_at, updated_at, completed_at, wake_at, label $$;

  -- StepExecution: the last completion of a step that no rewind has superseded.
  step_state CONSTANT text := $$ event.type IN ('step.completed', 'step.superseded') $$;
  step_stands CONSTANT text := $$ event.type = 'step.completed' $$;
  step_columns CONSTANT text := $$ id, workflow_run_id, step_id, kind, result, attempts, executed_at, seq $$;
  step_is CONSTANT text := $$
    event.position                                   AS id,
    event.run_uid                                    AS workflow_run_id,
    event.step_id::varchar(255)                      AS step_id,
    coalesce(event.payload->>'kind', '')::varchar(20) AS kind,
    nullif((event.payload->'result')::jsonb, 'null') AS result,
    coalesce((event.payload->>'attempt')::integer, 1) AS attempts,
    event.recorded_at                                AS executed_at,
    event.seq                                        AS seq $$;

  -- DeadLetterEntry, one for each failure of a run. It shows what the run was started with, read from its first event:
  failure CONSTANT text := $$ event.type = 'run.failed' $$;
  failure_columns CONSTANT text := $$
    id, run_uid, seq, workflow_id, run_id, step_id, payload, error_message, error_traceback, attempt_count, created_at $$;
  failure_is CONSTANT text := $$
    event.position                                       AS id,
    event.run_uid                                        AS run_uid,
    event.seq                                            AS seq,
    (SELECT head.workflow_id FROM django_hookflow_head AS head WHERE head.run_uid = event.run_uid)::varchar(255) AS workflow_id,
    (SELECT head.run_id FROM django_hookflow_head AS head WHERE head.run_uid = event.run_uid)::varchar(255) AS run_id,
    coalesce(event.step_id, '')::varchar(255)            AS step_id,
    hookflow_redacted(coalesce(origin.payload::jsonb, 'null')) AS payload,
    coalesce(event.payload->'error'->>'message', '')     AS error_message,
    coalesce(event.payload->'error'->>'traceback', '')   AS error_traceback,
    coalesce((event.payload->>'attempts')::integer, 1)   AS attempt_count,
    event.recorded_at                                    AS created_at $$;
  -- whether it has been replayed, by an event that names the seq of the failure;
  replay CONSTANT text := $$ event.type IN ('run.replayed', 'run.restarted', 'run.rewound')
    AND (event.payload->>'failed_seq')::integer < event.seq $$;
  replay_columns CONSTANT text := $$ is_replayed, replayed_at $$;
  replay_is CONSTANT text := $$ true AS is_replayed, event.recorded_at AS replayed_at $$;
  -- and whether it has been removed, in the same way.
  removal CONSTANT text := $$ event.type = 'dead_letter.removed' AND (event.payload->>'failed_seq')::integer < event.seq $$;
  dead_letter_columns CONSTANT text := $$
    id, run_uid, seq, workflow_id, run_id, step_id, payload, error_message, error_traceback, attempt_count,
    coalesce(is_replayed, false), replayed_at, created_at $$;
  of_failure CONSTANT text := $$ (event.payload->>'failed_seq')::integer $$;

  -- The whole of each projection over a set of events, %1$s.
  runs CONSTANT text := $$
    WITH event AS MATERIALIZED (SELECT * FROM (%1$s) AS event WHERE $$ || run_origin || ' OR ' || run_motion || $$),
    origin AS (SELECT event.run_uid, $$ || run_origin_is || $$ FROM event WHERE $$ || run_origin || $$),
    state AS (SELECT DISTINCT ON (event.run_uid) event.run_uid, $$ || run_state_is || $$
              FROM event WHERE $$ || run_state || $$ ORDER BY event.run_uid, event.seq DESC),
    motion AS (SELECT DISTINCT ON (event.run_uid) event.run_uid, $$ || run_motion_is || $$
               FROM event WHERE $$ || run_motion || $$ ORDER BY event.run_uid, event.seq DESC)
    SELECT $$ || run_columns || $$ FROM origin JOIN state USING (run_uid) JOIN motion USING (run_uid) $$;
  steps CONSTANT text := $$
    SELECT $$ || step_columns || $$
    FROM (SELECT DISTINCT ON (event.run_uid, event.step_id) $$ || step_is || $$, $$ || step_stands || $$ AS stands
          FROM (%1$s) AS event WHERE $$ || step_state || $$ ORDER BY event.run_uid, event.step_id, event.seq DESC) AS step
    WHERE stands $$;
  dead_letters CONSTANT text := $$
    WITH event AS MATERIALIZED (SELECT * FROM (%1$s) AS event
      WHERE event.seq = 1 OR $$ || failure || ' OR ' || replay || ' OR ' || removal || $$),
    replay AS (SELECT DISTINCT ON (event.run_uid, $$ || of_failure || $$) event.run_uid, $$ || of_failure || $$ AS seq, $$ || replay_is || $$
               FROM event WHERE $$ || replay || $$ ORDER BY event.run_uid, $$ || of_failure || $$, event.seq DESC),
    removal AS (SELECT event.run_uid, $$ || of_failure || $$ AS seq FROM event WHERE $$ || removal || $$),
    failure AS (SELECT $$ || failure_is || $$ FROM event JOIN event AS origin ON origin.run_uid = event.run_uid AND origin.seq = 1
                WHERE $$ || failure || $$)
    SELECT $$ || dead_letter_columns || $$
    FROM failure LEFT JOIN replay USING (run_uid, seq)
    WHERE NOT EXISTS (SELECT FROM removal WHERE removal.run_uid = failure.run_uid AND removal.seq = failure.seq) $$;
  -- Only what the mapping asks of an event: hashes and salts would be carried through every sort.
  told CONSTANT text := $$ SELECT position, run_uid, seq, type, step_id, payload, recorded_at FROM hookflow_event_told $$;
  projection record;
BEGIN
  -- Over the event being appended.
  EXECUTE format($create$
    CREATE OR REPLACE FUNCTION hookflow_project(event django_hookflow_event) RETURNS void LANGUAGE plpgsql AS $body$
    BEGIN
      IF %1$s THEN
        INSERT INTO django_hookflow_stepexecution AS step (%2$s) SELECT %3$s
        ON CONFLICT (workflow_run_id, step_id) DO UPDATE SET (%2$s) = (SELECT %3$s);
        RETURN;
      ELSIF %4$s THEN
        DELETE FROM django_hookflow_stepexecution WHERE workflow_run_id = event.run_uid AND step_id = event.step_id;
      END IF;
      IF %5$s THEN
        INSERT INTO django_hookflow_workflowrun (run_uid, %6$s, %7$s, %8$s) SELECT event.run_uid, %9$s, %10$s, %11$s;
      ELSIF %12$s THEN
        UPDATE django_hookflow_workflowrun SET (%7$s, %8$s) = (SELECT %10$s, %11$s) WHERE run_uid = event.run_uid;
      ELSIF %13$s THEN
        UPDATE django_hookflow_workflowrun SET (%8$s) = (SELECT %11$s) WHERE run_uid = event.run_uid;
      END IF;
      IF %14$s THEN
        INSERT INTO django_hookflow_deadletterentry (%15$s, is_replayed)
        SELECT %16$s, false FROM hookflow_event_told AS origin WHERE origin.run_uid = event.run_uid AND origin.seq = 1;
      ELSIF %17$s THEN
        UPDATE django_hookflow_deadletterentry SET (%18$s) = (SELECT %19$s)
        WHERE run_uid = event.run_uid AND seq = %20$s;
      ELSIF %21$s THEN
        DELETE FROM django_hookflow_deadletterentry WHERE run_uid = event.run_uid AND seq = %20$s;
      END IF;
    END $body$ $create$,
    step_stands, step_columns, step_is, step_state,
    run_origin, run_origin_columns, run_state_columns, run_motion_columns, run_origin_is, run_state_is, run_motion_is, run_state, run_motion,
    failure, failure_columns, failure_is, replay, replay_columns, replay_is, of_failure, removal);

  -- Over stored events: of a range of runs (rebuild, diff), and of one run up to a seq (as-of).
  FOR projection IN
    SELECT * FROM (VALUES ('runs', runs, 'django_hookflow_workflowrun'), ('steps', steps, 'django_hookflow_stepexecution'),
                          ('dead_letters', dead_letters, 'django_hookflow_deadletterentry')) AS p (name, fold, row_type)
  LOOP
    EXECUTE format('CREATE OR REPLACE FUNCTION hookflow_fold_%s(p_from uuid, p_to uuid) RETURNS SETOF %s LANGUAGE sql STABLE AS %L',
      projection.name, projection.row_type,
      format(projection.fold, told || 'WHERE run_uid BETWEEN p_from AND p_to'));
    EXECUTE format('CREATE OR REPLACE FUNCTION hookflow_fold_%s_as_of(p_run_uid uuid, p_seq integer) RETURNS SETOF %s LANGUAGE sql STABLE AS %L',
      projection.name, projection.row_type,
      format(projection.fold, told || 'WHERE run_uid = p_run_uid AND seq <= p_seq'));
  END LOOP;
  -- And all runs up to a moment. Within a run, events are recorded in the order of their seq, so this is a prefix of each.
  EXECUTE format('CREATE OR REPLACE FUNCTION hookflow_fold_runs_until(p_at timestamptz) RETURNS SETOF django_hookflow_workflowrun LANGUAGE sql STABLE AS %L',
    format(runs, told || 'WHERE recorded_at <= p_at'));
END $install$;

-- What reads histories reads them as they may be told. The functions stay as 0004 has them but for these words.
DO $edit$
DECLARE
  edit record;
  definition text;
BEGIN
  FOR edit IN SELECT * FROM (VALUES
    ('hookflow_claim', 'FROM django_hookflow_event AS e', 'FROM hookflow_event_told AS e'),
    -- Data that has been redacted cannot be compared: who names the run's id and workflow is given the run.
    -- A label is for people, and the code that makes it may have changed.
    ('hookflow_start', 'head.last_seq > 0 AND p_payload::jsonb IS', 'head.last_seq > 0 AND head.workflow_id = p_workflow_id AND p_payload::jsonb - ''label'' IS'),
    ('hookflow_start', 'SELECT e.payload::jsonb FROM', 'SELECT CASE WHEN e.payload_digest IS NULL THEN e.payload ELSE p_payload END::jsonb - ''label'' FROM'),
    -- What was retained is told in the place of what was redacted, so only who may redact may say what that is.
    ('hookflow_append', 'BEGIN
  FOR i IN', 'BEGIN
  IF p_types && ARRAY[''event.redacted'', ''event.retained'']
     AND NOT has_function_privilege(session_user, ''hookflow_redact(uuid, integer, text[], text, text)'', ''EXECUTE'') THEN
    RAISE EXCEPTION ''hookflow: % may not redact'', session_user USING ERRCODE = ''insufficient_privilege'';
  END IF;
  FOR i IN'),
    -- Of several events the first locks the head and checks, and the last says where they end: to find a row that one
    -- transaction has updated thousands of times takes ever longer.
    ('hookflow_append', '    -- The lock, the check and the new end of the chain in one statement: nothing is drawn or written if it refuses.
    UPDATE django_hookflow_head AS head SET
      last_seq  = last_seq + 1,
      last_at   = greatest(now, last_at),
      fence_seq = CASE WHEN expected IS NULL THEN fence_seq ELSE last_seq + 1 END,
      head_hash = hookflow_event_hash(head_hash, run_uid, last_seq + 1, greatest(now, last_at), 1::smallint,
        p_types[i], p_step_ids[i], p_actor, sha256(event.salt || convert_to(p_payloads[i]::text, ''UTF8'')))
    WHERE run_uid = p_run_uid AND archived_at IS NULL
      AND (expected IS NULL OR expected BETWEEN fence_seq AND last_seq AND (expected = last_seq OR NOT p_ends_turn))
    RETURNING last_seq, last_at, head_hash INTO event.seq, event.recorded_at, event.hash;
    IF NOT FOUND THEN
      PERFORM hookflow_refuse(p_run_uid, expected);
    END IF;
', '    IF i = 1 THEN
      -- The lock, the check and the new end of the chain in one statement: nothing is drawn or written if it refuses.
      UPDATE django_hookflow_head AS head SET
        last_seq  = last_seq + 1,
        last_at   = greatest(now, last_at),
        fence_seq = CASE WHEN expected IS NULL THEN fence_seq ELSE last_seq + 1 END,
        head_hash = hookflow_event_hash(head_hash, run_uid, last_seq + 1, greatest(now, last_at), 1::smallint,
          p_types[i], p_step_ids[i], p_actor, sha256(event.salt || convert_to(p_payloads[i]::text, ''UTF8'')))
      WHERE run_uid = p_run_uid AND archived_at IS NULL
        AND (expected IS NULL OR expected BETWEEN fence_seq AND last_seq AND (expected = last_seq OR NOT p_ends_turn))
      RETURNING last_seq, last_at, head_hash INTO event.seq, event.recorded_at, event.hash;
      IF NOT FOUND THEN
        PERFORM hookflow_refuse(p_run_uid, expected);
      END IF;
    ELSE
      event.seq := event.seq + 1;
      event.hash := hookflow_event_hash(event.hash, p_run_uid, event.seq, event.recorded_at, 1::smallint,
        p_types[i], p_step_ids[i], p_actor, sha256(event.salt || convert_to(p_payloads[i]::text, ''UTF8'')));
    END IF;
'),
    ('hookflow_append', '    expected := CASE WHEN expected IS NULL THEN NULL ELSE event.seq END;
  END LOOP;', '  END LOOP;
  IF cardinality(p_types) > 1 THEN
    UPDATE django_hookflow_head SET last_seq = event.seq, head_hash = event.hash,
      fence_seq = CASE WHEN expected IS NULL THEN fence_seq ELSE event.seq END
    WHERE run_uid = p_run_uid;
  END IF;')
  ) AS e (name, before, after) LOOP
    definition := pg_get_functiondef(edit.name::regproc);
    IF strpos(definition, edit.before) = 0 THEN
      RAISE EXCEPTION 'hookflow: % does not read as expected: it lacks "%"', edit.name, edit.before USING ERRCODE = 'data_exception';
    END IF;
    EXECUTE replace(definition, edit.before, edit.after);
  END LOOP;
END $edit$;

-- Redacts payloads of a run that has ended, and answers how many.
--   p_seq   of this event alone; null: of every event of the run
--   p_path  only the value at this path of the payload goes, such as {data,customer,email}, where there is one; null: all of it
-- Each redaction is an event (event.redacted), which says who and why; what is kept of a payload is one, too
-- (event.retained). The projections follow. Asked for again, it finds nothing more to do.
CREATE FUNCTION hookflow_redact(p_run_uid uuid, p_seq integer, p_path text[], p_reason text, p_actor text)
RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  placeholder CONSTANT jsonb := '"[redacted]"';
  run      django_hookflow_workflowrun%ROWTYPE;
  event    record;
  types    text[] := '{}';  -- of the events that say so, which are appended a hundred at a time
  payloads json[] := '{}';
  number   integer := 0;
BEGIN
  IF p_path = '{}' THEN
    RAISE EXCEPTION 'hookflow: a path with no key in it leads nowhere' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  PERFORM FROM django_hookflow_head WHERE run_uid = p_run_uid AND archived_at IS NULL FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    PERFORM hookflow_refuse(p_run_uid, NULL);
  END IF;
  SELECT * INTO run FROM django_hookflow_workflowrun WHERE run_uid = p_run_uid;
  IF run.completed_at IS NULL THEN
    PERFORM hookflow_refuse_to('redact', run);
  END IF;
  FOR event IN
    SELECT seq, payload::jsonb AS payload FROM hookflow_event_told
    WHERE run_uid = p_run_uid AND seq = coalesce(p_seq, seq) AND type NOT IN ('event.redacted', 'event.retained')
      AND payload IS NOT NULL AND (p_path IS NULL OR payload::jsonb #> p_path <> placeholder)
    ORDER BY seq
  LOOP
    UPDATE django_hookflow_event
    SET payload = NULL, salt = NULL, payload_digest = sha256(salt || convert_to(payload::text, 'UTF8'))
    WHERE run_uid = p_run_uid AND seq = event.seq AND payload IS NOT NULL;
    IF NOT FOUND THEN  -- It was redacted before, and what may still be told of it is what was retained then.
      UPDATE django_hookflow_event
      SET payload = NULL, salt = NULL, payload_digest = sha256(salt || convert_to(payload::text, 'UTF8'))
      WHERE run_uid = p_run_uid AND seq > event.seq AND payload IS NOT NULL
        AND type = 'event.retained' AND (payload->>'seq')::integer = event.seq;
    END IF;
    types := types || 'event.redacted'::text;
    payloads := payloads || json_build_object('seq', event.seq, 'path', p_path, 'reason', p_reason);
    IF p_path IS NOT NULL THEN
      types := types || 'event.retained'::text;
      payloads := payloads || json_build_object(
        'seq', event.seq, 'payload', jsonb_set(event.payload, p_path, placeholder));
    END IF;
    number := number + 1;
    IF cardinality(types) >= 100 THEN
      PERFORM hookflow_append(p_run_uid, NULL, types, array_fill(NULL::text, ARRAY[cardinality(types)]), payloads, p_actor);
      types := '{}';
      payloads := '{}';
    END IF;
  END LOOP;
  IF types <> '{}' THEN
    PERFORM hookflow_append(p_run_uid, NULL, types, array_fill(NULL::text, ARRAY[cardinality(types)]), payloads, p_actor);
  END IF;
  -- A cancelled run may have a worker that is still at its last step: what that returns is not recorded any more.
  UPDATE django_hookflow_head SET fence_seq = last_seq WHERE run_uid = p_run_uid;
  DELETE FROM django_hookflow_workflowrun WHERE run_uid = p_run_uid;
  INSERT INTO django_hookflow_workflowrun SELECT * FROM hookflow_fold_runs(p_run_uid, p_run_uid);
  DELETE FROM django_hookflow_stepexecution WHERE workflow_run_id = p_run_uid;
  INSERT INTO django_hookflow_stepexecution SELECT * FROM hookflow_fold_steps(p_run_uid, p_run_uid);
  DELETE FROM django_hookflow_deadletterentry WHERE run_uid = p_run_uid;
  INSERT INTO django_hookflow_deadletterentry SELECT * FROM hookflow_fold_dead_letters(p_run_uid, p_run_uid);
  RETURN number;
END $$;
