-- The log, and the tables that are folded from it.
--
-- Every fact about every run is one row of django_hookflow_event, written once and never changed. A run's events are
-- numbered 1, 2, 3, … by `seq`; django_hookflow_head says how long each run's log is and carries the lock that keeps
-- the numbering free of gaps and forks. Each event's hash covers the one before it, so a change to any of them shows.
--
-- In order: 0001 the log, its guards and the projections; 0002 the folds that fill them; 0003 leases and the outbox;
-- 0004 the functions through which the application writes; 0005 what people do to runs; 0006 what readers need;
-- 0007 checkpoints; 0008 retention.
--
-- What must stay true: only hookflow_append and its short ways (hookflow_start, hookflow_complete) insert events, holding the
-- head of their run, and in the same transaction they fold those events into the projections. A function is never
-- edited by a later migration: it is replaced whole.

-- Tables of the releases 0.0.x have the names of ours. They are put aside with all that is in them, for the last migration
-- to bring into the log; their indexes and sequences have names that none of ours has. On a fresh database there are none.
DO $aside$
DECLARE
  old record;
BEGIN
  FOR old IN
    SELECT t.oid::regclass AS relation, 'hookflow_0_0_' || split_part(relname, 'django_hookflow_', 2) AS aside
    FROM pg_class AS t
    WHERE relnamespace = to_regnamespace(quote_ident(current_schema())) AND relkind IN ('r', 'p')
      AND relname IN ('django_hookflow_workflowrun', 'django_hookflow_stepexecution', 'django_hookflow_deadletterentry')
      AND NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = t.oid AND attname IN ('seq', 'error_type'))
  LOOP
    EXECUTE format('ALTER TABLE %s RENAME TO %I', old.relation, old.aside);
  END LOOP;
END $aside$;

-- The one clock of the log. Tests replace this function to move time; nothing else in SQL may ask what time it is.
CREATE FUNCTION hookflow_now() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE
AS $$ SELECT clock_timestamp() $$;

-- CACHE 1: with a larger cache every session draws from a block of its own, and position no longer grows with time.
CREATE SEQUENCE django_hookflow_event_position_seq CACHE 1;

-- What must hold of every event, whoever inserts it. One function and not a constraint for each rule: PostgreSQL reads, plans
-- and prepares each constraint of a table anew for each statement, which for these was half the time of an INSERT.
CREATE FUNCTION hookflow_is_well_formed(
  p_seq integer, p_type text, p_step_id text, p_actor text, p_facts json, p_payload json, p_hash bytea
) RETURNS boolean LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
  v_facts  jsonb := p_facts;  -- read once
  v_broken text := CASE
    WHEN p_seq < 1 THEN 'seq_from_one'
    WHEN (p_seq = 1) <> (p_type = 'run.triggered') THEN 'begins_with_trigger'
    WHEN p_type LIKE 'step.%' AND coalesce(p_step_id, '') = '' THEN 'of_a_step'
    WHEN p_type = 'step.suspended' AND coalesce(v_facts->>'kind', '') = '' THEN 'waits_for_something'
    WHEN octet_length(p_facts::text) > 8192 THEN 'facts_are_small'
    -- Whoever may append could otherwise make a view unreadable for everybody: its casts would fail, as these do.
    WHEN jsonb_typeof(v_facts) <> 'object' OR (v_facts->>'took')::float8 NOT BETWEEN 0 AND 1e9
      OR (v_facts->>'retry_in')::float8 NOT BETWEEN 0 AND 1e9
      OR (v_facts->>'attempt')::integer < 1 OR (v_facts->>'attempts')::integer < 0
      OR p_seq = 1 AND (v_facts->'origin'->>'parent')::uuid < '00000000-0000-0000-0000-000000000000' THEN 'facts_are_readable'
    -- 'now', and a time without its zone, would be another moment each time it is read; Python's years have four digits.
    WHEN v_facts->>'until' !~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][^ ]*(Z|[+-][0-9]{2}(:?[0-9]{2})?)$'
      OR (v_facts->>'until')::timestamptz NOT BETWEEN '1000-01-01Z' AND '9999-12-31Z' THEN 'until_is_one_moment'
    -- Parsers of other languages give up on what is nested as deep, or has as many digits. Short facts are neither.
    WHEN octet_length(p_facts::text) > 200 AND jsonb_path_exists(v_facts, '$.**{64}')
      OR octet_length(p_facts::text) > 4000 AND p_facts::text ~ '[0-9]{255}' THEN 'facts_are_plain'
    WHEN p_payload::jsonb IS NULL AND p_payload IS NOT NULL THEN 'payload_is_readable'
    WHEN char_length(p_step_id) > 255 OR char_length(p_actor) > 255 OR char_length(p_type) > 255
      OR p_seq = 1 AND (char_length(v_facts->>'run_id') NOT BETWEEN 1 AND 255 OR char_length(v_facts->>'workflow') NOT BETWEEN 1 AND 255
        OR char_length(v_facts->'origin'->>'step') > 255)
      THEN 'names_are_small'
    WHEN octet_length(p_hash) <> 32 THEN 'hash_is_sha256' END;
BEGIN
  IF v_broken IS NULL THEN
    RETURN true;
  END IF;
  RAISE EXCEPTION 'hookflow: event % of type % breaks the rule %', p_seq, p_type, v_broken
    USING ERRCODE = 'check_violation', CONSTRAINT = 'django_hookflow_event_' || v_broken;
END $$;

-- Columns of a fixed width come first: no row has gaps between them.
CREATE TABLE django_hookflow_event (
  position       bigint      NOT NULL DEFAULT nextval('django_hookflow_event_position_seq'),
  recorded_at    timestamptz NOT NULL,
  xid            xid8        NOT NULL DEFAULT pg_current_xact_id(),  -- of the transaction, not of a savepoint in it
  run_uid        uuid        NOT NULL,
  seq            integer     NOT NULL,
  version        smallint    NOT NULL DEFAULT 1,
  type           text        NOT NULL,
  step_id        text,
  actor          text,
  facts          json        NOT NULL, -- what the engine says: never a user's data, never redacted, hashed in the clear
  payload        json,                 -- what the user said. json, not jsonb: kept to the letter, to be hashed again elsewhere
  salt           bytea,                -- keeps a redacted payload from being guessed by hashing candidates
  payload_digest bytea,                -- null until the payload is redacted; then what the chain still covers
  hash           bytea       NOT NULL,
  CONSTRAINT django_hookflow_event_pk PRIMARY KEY (run_uid, seq),
  CONSTRAINT django_hookflow_event_is_well_formed CHECK (hookflow_is_well_formed(seq, type, step_id, actor, facts, payload, hash))
) PARTITION BY RANGE (run_uid);
ALTER SEQUENCE django_hookflow_event_position_seq OWNED BY django_hookflow_event.position;

-- run_uid is a UUIDv7, so a range of it is a range of time. One catch-all partition serves until a team wants more.
CREATE TABLE django_hookflow_event_all PARTITION OF django_hookflow_event
  FOR VALUES FROM (MINVALUE) TO (MAXVALUE)
  WITH (autovacuum_vacuum_insert_scale_factor = 0.05);
CREATE INDEX django_hookflow_event_feed ON django_hookflow_event USING brin (position)
  WITH (pages_per_range = 16, autosummarize = on);
-- What was kept of redacted payloads, by the event it was kept of; of other events this holds none.
CREATE INDEX django_hookflow_event_retained ON django_hookflow_event (run_uid, ((facts->>'seq')::integer), seq)
  WHERE type = 'event.retained';
-- Which completed steps no longer count; of other events this holds none.
CREATE INDEX django_hookflow_event_superseded ON django_hookflow_event (run_uid, step_id, seq)
  WHERE type = 'step.superseded';
-- A run takes a signal's id once, whoever sends it and how often.
CREATE UNIQUE INDEX django_hookflow_event_signal_once ON django_hookflow_event (run_uid, (facts->>'id'))
  WHERE type = 'signal.received';

CREATE TABLE django_hookflow_head (
  run_uid     uuid        NOT NULL,
  run_id      text        NOT NULL,
  workflow_id text        NOT NULL,
  last_seq    integer     NOT NULL,
  fence_seq   integer     NOT NULL,    -- an append that knows less than this of the log belongs to a turn that lost the run
  last_at     timestamptz NOT NULL,
  head_hash   bytea       NOT NULL,
  archived_at timestamptz,             -- set once the events have gone to an archive; the row stays, so the id is never reused
  tombstone   json,                    -- then what hookflow_retire says of it, the facts of an event that would follow the last one,
  tombstone_hash bytea,                -- and the hash of that event
  unique_key  text,                    -- while the run is under way: no other one of the workflow is then started with this key
  CONSTRAINT django_hookflow_head_pk PRIMARY KEY (run_uid),
  CONSTRAINT django_hookflow_head_run_id_once UNIQUE (run_id)
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX django_hookflow_head_unique_key ON django_hookflow_head (workflow_id, unique_key) WHERE unique_key IS NOT NULL;

-- The hash of one event: SHA-256 over the bytes below, in this order, all integers big-endian.
--   'HF1' and a zero byte · hash of the event before (of the first: SHA-256 of the 16 bytes of run_uid) · run_uid (16)
--   seq (4) · recorded_at in microseconds since 1970 (8) · version (2) · type, step_id, actor, facts: each its length in
--   bytes (4; -1 for null) and its UTF-8 bytes · SHA-256 of salt and payload text (32), or nothing when there is no payload
-- In PL/pgSQL and not SQL: before PostgreSQL 18 a function in SQL is planned anew by each statement that calls it, which
-- was a quarter of the server's time for an append. decode(): a literal '\x…' reads differently where
-- standard_conforming_strings is off.
CREATE FUNCTION hookflow_event_hash(
  p_previous bytea, p_run_uid uuid, p_seq integer, p_recorded_at timestamptz, p_version smallint,
  p_type text, p_step_id text, p_actor text, p_facts text, p_payload_digest bytea
) RETURNS bytea LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
  RETURN sha256(
    decode('48463100', 'hex') || p_previous || uuid_send(p_run_uid) || int4send(p_seq)
    || int8send((extract(epoch FROM p_recorded_at) * 1000000)::bigint) || int2send(p_version)
    || int4send(octet_length(p_type)) || convert_to(p_type, 'UTF8')
    || coalesce(int4send(octet_length(p_step_id)) || convert_to(p_step_id, 'UTF8'), int4send(-1))
    || coalesce(int4send(octet_length(p_actor)) || convert_to(p_actor, 'UTF8'), int4send(-1))
    || int4send(octet_length(p_facts)) || convert_to(p_facts, 'UTF8')
    || coalesce(p_payload_digest, decode('', 'hex')));
END $$;

-- Guards: the past does not change. They hold for everyone, the owner of the table included, in every session, also
-- under session_replication_role = replica (ENABLE ALWAYS) and under django-pgtrigger's ignore setting (not consulted).
-- Three ways through, each narrow: a payload may be redacted, if its digest takes its place; a run's events may be
-- deleted once its head says they are archived; and a test environment, which says so by hookflow.allow_truncate, may
-- empty the table as Django's TransactionTestCase does after each test.
CREATE OR REPLACE FUNCTION pgtrigger_guard_23500() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  archived boolean;
BEGIN
  IF TG_OP = 'UPDATE' THEN
    IF OLD.payload IS NOT NULL AND NEW.payload IS NULL AND NEW.salt IS NULL
       AND NEW.payload_digest = sha256(OLD.salt || convert_to(OLD.payload::text, 'UTF8'))
       AND (NEW.position, NEW.run_uid, NEW.seq, NEW.type, NEW.step_id, NEW.actor, NEW.facts::text, NEW.recorded_at,
            NEW.version, NEW.hash, NEW.xid)
         IS NOT DISTINCT FROM
           (OLD.position, OLD.run_uid, OLD.seq, OLD.type, OLD.step_id, OLD.actor, OLD.facts::text, OLD.recorded_at,
            OLD.version, OLD.hash, OLD.xid)
    THEN
      RETURN NEW;
    END IF;
  ELSE
    EXECUTE format('SELECT true FROM %I.django_hookflow_head WHERE run_uid = $1 AND archived_at IS NOT NULL', TG_TABLE_SCHEMA)
      INTO archived USING OLD.run_uid;
    IF archived THEN
      RETURN OLD;
    END IF;
  END IF;
  RAISE EXCEPTION 'hookflow: the event log is append-only, % of %/% is refused', TG_OP, OLD.run_uid, OLD.seq
    USING ERRCODE = 'restrict_violation';
END $$;
DROP TRIGGER IF EXISTS pgtrigger_guard_23500 ON "django_hookflow_event";
CREATE TRIGGER pgtrigger_guard_23500 BEFORE UPDATE OR DELETE ON "django_hookflow_event" FOR EACH ROW EXECUTE FUNCTION pgtrigger_guard_23500();
ALTER TABLE "django_hookflow_event" ENABLE ALWAYS TRIGGER pgtrigger_guard_23500;
COMMENT ON TRIGGER pgtrigger_guard_23500 ON "django_hookflow_event" IS 'c6e0b1e5ec7bdd0846af0b3caf55748ce470bdb6';
CREATE OR REPLACE FUNCTION pgtrigger_guard_truncate_89e93() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  archived boolean;
BEGIN
  IF current_setting('hookflow.allow_truncate', true) = 'on' THEN
    RETURN NULL;
  END IF;
  RAISE EXCEPTION 'hookflow: the event log is append-only, TRUNCATE is refused'
    USING ERRCODE = 'restrict_violation';
END $$;
DROP TRIGGER IF EXISTS pgtrigger_guard_truncate_89e93 ON "django_hookflow_event";
CREATE TRIGGER pgtrigger_guard_truncate_89e93 BEFORE TRUNCATE ON "django_hookflow_event" FOR EACH STATEMENT EXECUTE FUNCTION pgtrigger_guard_truncate_89e93();
ALTER TABLE "django_hookflow_event" ENABLE ALWAYS TRIGGER pgtrigger_guard_truncate_89e93;
COMMENT ON TRIGGER pgtrigger_guard_truncate_89e93 ON "django_hookflow_event" IS 'f5ff9721c4cb566379b68bbde7776d7188073051';
-- Statement triggers are not cloned to partitions: each partition needs a TRUNCATE guard of its own.
CREATE TRIGGER django_hookflow_event_all_truncate BEFORE TRUNCATE ON django_hookflow_event_all
  FOR EACH STATEMENT EXECUTE FUNCTION pgtrigger_guard_truncate_89e93();
ALTER TABLE django_hookflow_event_all ENABLE ALWAYS TRIGGER django_hookflow_event_all_truncate;

-- Each event as it may still be read: like the table, but a redacted event shows what was retained of it. Whatever makes
-- sense of a history reads this.
CREATE VIEW hookflow_event_readable AS
SELECT position, run_uid, seq, type, step_id, actor, facts,
  CASE WHEN payload_digest IS NULL THEN payload ELSE (
    SELECT retained.payload->'payload' FROM django_hookflow_event AS retained
    WHERE retained.run_uid = event.run_uid AND retained.seq > event.seq AND retained.type = 'event.retained'
      AND (retained.facts->>'seq')::integer = event.seq
    ORDER BY retained.seq DESC LIMIT 1) END AS payload,
  recorded_at, version, salt, payload_digest, hash, xid
FROM django_hookflow_event AS event;

-- The present. WorkflowRun, the waits and DeadLetterEntry are tables, written by the append from the events it writes;
-- StepExecution is a view, since the log already holds every completed step once. Nothing is in them that is not in the
-- events, and a fold never reads the clock.

CREATE TABLE django_hookflow_workflowrun (
  id            uuid        NOT NULL,  -- the run_uid of its events
  run_id        varchar(255) NOT NULL,
  workflow_id   varchar(255) NOT NULL,
  status        varchar(20) NOT NULL,
  data          jsonb       NOT NULL,
  result        jsonb,
  error_type    text        NOT NULL,
  error_message text        NOT NULL,
  label         varchar(255) NOT NULL,
  created_at    timestamptz NOT NULL,
  updated_at    timestamptz NOT NULL,
  completed_at  timestamptz,
  parent_uid    uuid,                  -- of a child: the run that started it and, or did, wait for it,
  parent_step   varchar(255) NOT NULL DEFAULT '', -- in this step
  subjects      jsonb,                 -- the things of the project it is about: [{"type": …, "key": …}]
  CONSTRAINT django_hookflow_workflowrun_pk PRIMARY KEY (id),
  CONSTRAINT django_hookflow_workflowrun_run_id_once UNIQUE (run_id)
) WITH (fillfactor = 80);
CREATE INDEX django_hookflow_run_newest ON django_hookflow_workflowrun (created_at DESC);
CREATE INDEX django_hookflow_run_by_status ON django_hookflow_workflowrun (status, created_at DESC);
CREATE INDEX django_hookflow_run_by_flow ON django_hookflow_workflowrun (workflow_id, status, created_at DESC);
CREATE INDEX django_hookflow_run_by_parent ON django_hookflow_workflowrun (parent_uid, parent_step)
  WHERE parent_uid IS NOT NULL;
-- For searches by how an id or a label begins.
CREATE INDEX django_hookflow_run_id_begins ON django_hookflow_workflowrun (run_id varchar_pattern_ops);
CREATE INDEX django_hookflow_run_by_label ON django_hookflow_workflowrun (label varchar_pattern_ops) WHERE NOT label = '';
CREATE INDEX django_hookflow_run_by_subject ON django_hookflow_workflowrun USING gin (subjects jsonb_path_ops) WHERE subjects IS NOT NULL;

-- What has begun and is not settled: of a step, or (step_id = '') of the run itself.
CREATE TABLE django_hookflow_wait (
  id        bigint       NOT NULL,     -- the position of the event that began it
  run_uid   uuid         NOT NULL,
  step_id   varchar(255) NOT NULL,
  kind      varchar(20)  NOT NULL,     -- sleep, backoff, doubt, child, …; of the run: backoff, hold, divergence, deadline
  due_at    timestamptz,               -- when it ends by itself; null: only when somebody or something settles it
  key       text,                      -- what it waits for
  scope     text,                      -- the branch of a group it belongs to
  since_seq integer      NOT NULL,     -- the event that began it
  CONSTRAINT django_hookflow_wait_pk PRIMARY KEY (run_uid, step_id, kind)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX django_hookflow_wait_by_kind ON django_hookflow_wait (kind, due_at);

CREATE TABLE django_hookflow_deadletterentry (
  id              bigint       NOT NULL,        -- the position of the event that failed the run
  run_uid         uuid         NOT NULL,
  seq             integer      NOT NULL,
  workflow_id     varchar(255) NOT NULL,
  run_id          varchar(255) NOT NULL,
  step_id         varchar(255) NOT NULL,
  payload         jsonb        NOT NULL,
  error_type      text         NOT NULL,
  error_message   text         NOT NULL,
  error_traceback text         NOT NULL,
  fingerprint     varchar(16)  NOT NULL,        -- the same for failures of the same cause
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
CREATE INDEX django_hookflow_dead_by_cause ON django_hookflow_deadletterentry (fingerprint, created_at DESC);
CREATE INDEX django_hookflow_dead_open ON django_hookflow_deadletterentry (created_at DESC) WHERE NOT is_replayed;
