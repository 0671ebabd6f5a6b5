-- The present, folded from the log.
--
-- WorkflowRun, StepExecution and DeadLetterEntry hold nothing that is not in the events. Their columns come in groups,
-- and a group is two texts: which events write it, and what such an event writes. Of several writers the last by seq
-- wins, so it makes no difference whether events are folded one by one or all together. The texts stand once, at the
-- end of this file, where three functions of each are made from them: over the events being appended, over all events
-- of a range of runs, and over one run's events up to a seq. A mapping reads events only, never the clock.

CREATE TABLE django_hookflow_workflowrun (
  run_uid       uuid        NOT NULL,
  run_id        varchar(255) NOT NULL,
  workflow_id   varchar(255) NOT NULL,
  status        varchar(20) NOT NULL,
  data          jsonb       NOT NULL,
  result        jsonb,
  error_message text        NOT NULL,
  created_at    timestamptz NOT NULL,
  updated_at    timestamptz NOT NULL,
  completed_at  timestamptz,
  wake_at       timestamptz,           -- when a sleeping or retrying run goes on; null when it does not wait for time
  CONSTRAINT django_hookflow_workflowrun_pk PRIMARY KEY (run_uid),
  CONSTRAINT django_hookflow_workflowrun_run_id_once UNIQUE (run_id)
) WITH (fillfactor = 80);
CREATE INDEX django_hookflow_run_newest ON django_hookflow_workflowrun (created_at DESC);
CREATE INDEX django_hookflow_run_by_status ON django_hookflow_workflowrun (status, created_at DESC);
CREATE INDEX django_hookflow_run_by_flow ON django_hookflow_workflowrun (workflow_id, status, created_at DESC);

CREATE TABLE django_hookflow_stepexecution (
  id              bigint       NOT NULL,        -- the position of the event that completed the step
  workflow_run_id uuid         NOT NULL,
  step_id         varchar(255) NOT NULL,
  kind            varchar(20)  NOT NULL,
  result          jsonb,
  attempts        integer      NOT NULL,
  executed_at     timestamptz  NOT NULL,
  seq             integer      NOT NULL,
  CONSTRAINT django_hookflow_stepexecution_pk PRIMARY KEY (id),
  CONSTRAINT django_hookflow_step_once UNIQUE (workflow_run_id, step_id)
) WITH (fillfactor = 90);

CREATE TABLE django_hookflow_deadletterentry (
  id              bigint       NOT NULL,        -- the position of the event that failed the run
  run_uid         uuid         NOT NULL,
  seq             integer      NOT NULL,
  workflow_id     varchar(255) NOT NULL,
  run_id          varchar(255) NOT NULL,
  step_id         varchar(255) NOT NULL,
  payload         jsonb        NOT NULL,
  error_message   text         NOT NULL,
  error_traceback text         NOT NULL,
  attempt_count   integer      NOT NULL,
  is_replayed     boolean      NOT NULL,
  replayed_at     timestamptz,
  created_at      timestamptz  NOT NULL,
  CONSTRAINT django_hookflow_deadletterentry_pk PRIMARY KEY (id),
  CONSTRAINT django_hookflow_deadletter_once_per_failure UNIQUE (run_uid, seq)
);
CREATE INDEX django_hookflow_dead_newest ON django_hookflow_deadletterentry (created_at DESC);
CREATE INDEX django_hookflow_dead_by_run ON django_hookflow_deadletterentry (run_id);
CREATE INDEX django_hookflow_dead_by_flow ON django_hookflow_deadletterentry (workflow_id, created_at DESC);
CREATE INDEX django_hookflow_dead_open ON django_hookflow_deadletterentry (created_at DESC) WHERE NOT is_replayed;

-- The status an event puts its run in; null for an event that leaves the status alone.
CREATE FUNCTION hookflow_status_after(p_type text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE p_type
    WHEN 'run.triggered' THEN 'pending'    WHEN 'turn.started'  THEN 'running'
    WHEN 'run.completed' THEN 'completed'  WHEN 'run.failed'    THEN 'failed'
    WHEN 'run.cancelled' THEN 'cancelled'  WHEN 'run.diverged'  THEN 'diverged'
    WHEN 'run.paused'    THEN 'paused'     WHEN 'run.resumed'   THEN 'running'
    WHEN 'run.replayed'  THEN 'running'    WHEN 'run.rewound'   THEN 'running'
    WHEN 'step.doubted'  THEN 'in_doubt'   WHEN 'step.resolved' THEN 'running'
  END
$$;

-- A copy of `p_value` in which the values under keys that sound like secrets are replaced, at any depth.
CREATE FUNCTION hookflow_redacted(p_value jsonb) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
  RETURN CASE jsonb_typeof(p_value)
    WHEN 'object' THEN (
      SELECT coalesce(jsonb_object_agg(key, CASE
        WHEN key ~* '(password|passwd|secret|token|api_?-?key|authorization|credential|card_?number|cvv|cvc)'
        THEN '"[redacted]"' ELSE hookflow_redacted(value) END), '{}') FROM jsonb_each(p_value))
    WHEN 'array' THEN (
      SELECT coalesce(jsonb_agg(hookflow_redacted(value) ORDER BY n), '[]')
      FROM jsonb_array_elements(p_value) WITH ORDINALITY AS item (value, n))
    ELSE p_value
  END;
END $$;

DO $install$
DECLARE
  -- In every text `event` is one event: a variable where events are appended, a row of the log where they are folded.
  -- The names of a run come from its head, so that they outlive a redaction of its first event.

  -- WorkflowRun. What it was started as, once:
  run_origin CONSTANT text := $$ event.seq = 1 $$;
  run_origin_is CONSTANT text := $$
    (SELECT head.run_id FROM django_hookflow_head AS head WHERE head.run_uid = event.run_uid)::varchar(255) AS run_id,
    (SELECT head.workflow_id FROM django_hookflow_head AS head WHERE head.run_uid = event.run_uid)::varchar(255) AS workflow_id,
    coalesce((event.payload->'data')::jsonb, 'null') AS data,
    event.recorded_at                                AS created_at $$;
  -- how it stands:
  run_state CONSTANT text := $$ hookflow_status_after(event.type) IS NOT NULL $$;
  run_state_is CONSTANT text := $$
    hookflow_status_after(event.type)::varchar(20) AS status,
    CASE WHEN event.type = 'run.completed' THEN nullif((event.payload->'result')::jsonb, 'null') END AS result,
    CASE WHEN event.type IN ('run.failed', 'run.diverged')
         THEN coalesce(event.payload->'error'->>'message', '') ELSE '' END AS error_message,
    CASE WHEN event.type IN ('run.completed', 'run.failed', 'run.cancelled') THEN event.recorded_at END AS completed_at $$;
  -- and when it last moved and will move by itself. Steps that complete are rows of their own and do not touch the run.
  run_motion CONSTANT text := $$ (hookflow_status_after(event.type) IS NOT NULL OR event.type IN ('sleep.started', 'step.failed', 'turn.failed')) $$;
  run_motion_is CONSTANT text := $$
    event.recorded_at AS updated_at,
    CASE WHEN event.type IN ('sleep.started', 'run.resumed')
           THEN event.recorded_at + make_interval(secs => (event.payload->>'seconds')::float8)
         WHEN event.type IN ('step.failed', 'turn.failed') AND event.payload->>'announced' IS DISTINCT FROM 'false'
           THEN event.recorded_at + make_interval(secs => (event.payload->>'retry_in')::float8)
    END AS wake_at $$;

  -- StepExecution: the last completion of a step that no rewind has superseded.
  step_state CONSTANT text := $$ event.type IN ('step.completed', 'step.superseded') $$;
  step_stands CONSTANT text := $$ event.type = 'step.completed' $$;
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
  -- and whether it has been replayed, by an event that names the seq of the failure.
  replay CONSTANT text := $$ event.type IN ('run.replayed', 'run.restarted', 'run.rewound')
    AND (event.payload->>'failed_seq')::integer < event.seq $$;
  replay_of CONSTANT text := $$ (event.payload->>'failed_seq')::integer $$;
  replay_is CONSTANT text := $$ true AS is_replayed, event.recorded_at AS replayed_at $$;

  -- The whole of each projection over a set of events, %1$s. Columns stand in the order of the table.
  runs CONSTANT text := $$
    WITH event AS MATERIALIZED (%1$s),
    origin AS (SELECT event.run_uid, $$ || run_origin_is || $$ FROM event WHERE $$ || run_origin || $$),
    state AS (SELECT DISTINCT ON (event.run_uid) event.run_uid, $$ || run_state_is || $$
              FROM event WHERE $$ || run_state || $$ ORDER BY event.run_uid, event.seq DESC),
    motion AS (SELECT DISTINCT ON (event.run_uid) event.run_uid, $$ || run_motion_is || $$
               FROM event WHERE $$ || run_motion || $$ ORDER BY event.run_uid, event.seq DESC)
    SELECT run_uid, run_id, workflow_id, status, data, result, error_message, created_at, updated_at, completed_at, wake_at
    FROM origin JOIN state USING (run_uid) JOIN motion USING (run_uid) $$;
  steps CONSTANT text := $$
    SELECT step.id, workflow_run_id, step_id, kind, result, attempts, executed_at, seq
    FROM (SELECT DISTINCT ON (event.run_uid, event.step_id) $$ || step_is || $$, $$ || step_stands || $$ AS stands
          FROM (%1$s) AS event WHERE $$ || step_state || $$ ORDER BY event.run_uid, event.step_id, event.seq DESC) AS step
    WHERE stands $$;
  dead_letters CONSTANT text := $$
    WITH event AS MATERIALIZED (%1$s),
    replay AS (SELECT DISTINCT ON (event.run_uid, $$ || replay_of || $$) event.run_uid, $$ || replay_of || $$ AS seq, $$ || replay_is || $$
               FROM event WHERE $$ || replay || $$ ORDER BY event.run_uid, $$ || replay_of || $$, event.seq DESC),
    failure AS (SELECT $$ || failure_is || $$ FROM event JOIN event AS origin ON origin.run_uid = event.run_uid AND origin.seq = 1
                WHERE $$ || failure || $$)
    SELECT id, run_uid, seq, workflow_id, run_id, step_id, payload, error_message, error_traceback, attempt_count,
      coalesce(is_replayed, false), replayed_at, created_at
    FROM failure LEFT JOIN replay USING (run_uid, seq) $$;
  projection record;
BEGIN
  -- Over the event being appended.
  EXECUTE format($create$
    CREATE FUNCTION hookflow_project(event django_hookflow_event) RETURNS void LANGUAGE plpgsql AS $body$
    BEGIN
      IF %1$s THEN
        INSERT INTO django_hookflow_stepexecution AS step (id, workflow_run_id, step_id, kind, result, attempts, executed_at, seq)
        SELECT %2$s
        ON CONFLICT (workflow_run_id, step_id) DO UPDATE SET id = excluded.id, kind = excluded.kind,
          result = excluded.result, attempts = excluded.attempts, executed_at = excluded.executed_at, seq = excluded.seq;
        RETURN;
      ELSIF %3$s THEN
        DELETE FROM django_hookflow_stepexecution WHERE workflow_run_id = event.run_uid AND step_id = event.step_id;
      END IF;
      IF %4$s THEN
        INSERT INTO django_hookflow_workflowrun (run_uid, run_id, workflow_id, data, created_at, status, result,
          error_message, completed_at, updated_at, wake_at)
        SELECT event.run_uid, %5$s, %6$s, %7$s;
      ELSIF %8$s THEN
        UPDATE django_hookflow_workflowrun
        SET (status, result, error_message, completed_at, updated_at, wake_at) = (SELECT %6$s, %7$s)
        WHERE run_uid = event.run_uid;
      ELSIF %9$s THEN
        UPDATE django_hookflow_workflowrun SET (updated_at, wake_at) = (SELECT %7$s) WHERE run_uid = event.run_uid;
      END IF;
      IF %10$s THEN
        INSERT INTO django_hookflow_deadletterentry (id, run_uid, seq, workflow_id, run_id, step_id, payload,
          error_message, error_traceback, attempt_count, created_at, is_replayed)
        SELECT %11$s, false FROM django_hookflow_event AS origin WHERE origin.run_uid = event.run_uid AND origin.seq = 1;
      ELSIF %12$s THEN
        UPDATE django_hookflow_deadletterentry SET (is_replayed, replayed_at) = (SELECT %13$s)
        WHERE run_uid = event.run_uid AND seq = %14$s;
      END IF;
    END $body$ $create$,
    step_stands, step_is, step_state, run_origin, run_origin_is, run_state_is, run_motion_is, run_state, run_motion,
    failure, failure_is, replay, replay_is, replay_of);

  -- Over stored events: of a range of runs (rebuild, diff), and of one run up to a seq (as-of).
  FOR projection IN
    SELECT * FROM (VALUES ('runs', runs, 'django_hookflow_workflowrun'), ('steps', steps, 'django_hookflow_stepexecution'),
                          ('dead_letters', dead_letters, 'django_hookflow_deadletterentry')) AS p (name, fold, row_type)
  LOOP
    EXECUTE format('CREATE FUNCTION hookflow_fold_%s(p_from uuid, p_to uuid) RETURNS SETOF %s LANGUAGE sql STABLE AS %L',
      projection.name, projection.row_type,
      format(projection.fold, 'SELECT * FROM django_hookflow_event WHERE run_uid BETWEEN p_from AND p_to'));
    EXECUTE format('CREATE FUNCTION hookflow_fold_%s_as_of(p_run_uid uuid, p_seq integer) RETURNS SETOF %s LANGUAGE sql STABLE AS %L',
      projection.name, projection.row_type,
      format(projection.fold, 'SELECT * FROM django_hookflow_event WHERE run_uid = p_run_uid AND seq <= p_seq'));
  END LOOP;
END $install$;
