-- The log.
--
-- Every fact about every run is one row of django_hookflow_event, written once and never changed. A run's events are
-- numbered 1, 2, 3, … by `seq`; django_hookflow_head says how long each run's log is and carries the lock that keeps
-- the numbering free of gaps and forks. Each event's hash covers the one before it, so a change to any of them shows.
--
-- In order: 0001 the log and its guards; 0002 the projections and the folds that make them; 0003 leases and the
-- outbox; 0004 the few functions through which the application writes: start, claim, append.
--
-- What must stay true: only hookflow_append and hookflow_claim insert events, each after locking the run's head, and
-- in the same transaction they fold those events into the projections.

-- The one clock of the log. Tests replace this function to move time; nothing else in SQL may ask what time it is.
CREATE FUNCTION hookflow_now() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE
AS $$ SELECT clock_timestamp() $$;

-- CACHE 1: with a larger cache every session draws from a block of its own, and position no longer grows with time.
CREATE SEQUENCE django_hookflow_event_position_seq CACHE 1;

CREATE TABLE django_hookflow_event (
  position       bigint      NOT NULL DEFAULT nextval('django_hookflow_event_position_seq'),
  run_uid        uuid        NOT NULL,
  seq            integer     NOT NULL,
  type           text        NOT NULL,
  step_id        text,
  actor          text,
  payload        json,                 -- json, not jsonb: kept to the letter, so that it can be hashed again elsewhere
  recorded_at    timestamptz NOT NULL,
  version        smallint    NOT NULL DEFAULT 1,
  salt           bytea,                -- keeps a redacted payload from being guessed by hashing candidates
  payload_digest bytea,                -- null until the payload is redacted; then what the chain still covers
  hash           bytea       NOT NULL,
  CONSTRAINT django_hookflow_event_pk PRIMARY KEY (run_uid, seq),
  CONSTRAINT django_hookflow_event_seq_from_one CHECK (seq > 0),
  CONSTRAINT django_hookflow_event_hash_is_sha256 CHECK (octet_length(hash) = 32)
) PARTITION BY RANGE (run_uid);
ALTER SEQUENCE django_hookflow_event_position_seq OWNED BY django_hookflow_event.position;

-- run_uid is a UUIDv7, so a range of it is a range of time. One catch-all partition serves until a team wants more.
CREATE TABLE django_hookflow_event_all PARTITION OF django_hookflow_event
  FOR VALUES FROM (MINVALUE) TO (MAXVALUE)
  WITH (autovacuum_vacuum_insert_scale_factor = 0.05);
CREATE INDEX django_hookflow_event_feed ON django_hookflow_event USING brin (position)
  WITH (pages_per_range = 16, autosummarize = on);

CREATE TABLE django_hookflow_head (
  run_uid     uuid        NOT NULL,
  run_id      text        NOT NULL,
  workflow_id text        NOT NULL,
  last_seq    integer     NOT NULL,
  fence_seq   integer     NOT NULL,    -- an append that knows less than this of the log belongs to a turn that lost the run
  last_at     timestamptz NOT NULL,
  head_hash   bytea       NOT NULL,
  archived_at timestamptz,             -- set once the events have gone to an archive; the row stays, so the id is never reused
  CONSTRAINT django_hookflow_head_pk PRIMARY KEY (run_uid),
  CONSTRAINT django_hookflow_head_run_id_once UNIQUE (run_id)
) WITH (fillfactor = 80);

-- The hash of one event: SHA-256 over the bytes below, in this order, all integers big-endian.
--   'HF1' and a zero byte · hash of the event before (of the first: SHA-256 of the 16 bytes of run_uid) · run_uid (16)
--   seq (4) · recorded_at in microseconds since 1970 (8) · version (2) · type, step_id, actor: each its length in bytes
--   (4; -1 for null) and its UTF-8 bytes · SHA-256 of salt and payload text (32), or nothing when there is no payload
-- In PL/pgSQL and not SQL: before PostgreSQL 18 a function in SQL is planned anew by each statement that calls it, which
-- was a quarter of the server's time for an append.
CREATE FUNCTION hookflow_event_hash(
  p_previous bytea, p_run_uid uuid, p_seq integer, p_recorded_at timestamptz, p_version smallint,
  p_type text, p_step_id text, p_actor text, p_payload_digest bytea
) RETURNS bytea LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
  RETURN sha256(
    '\x48463100'::bytea || p_previous || uuid_send(p_run_uid) || int4send(p_seq)
    || int8send((extract(epoch FROM p_recorded_at) * 1000000)::bigint) || int2send(p_version)
    || int4send(octet_length(p_type)) || convert_to(p_type, 'UTF8')
    || coalesce(int4send(octet_length(p_step_id)) || convert_to(p_step_id, 'UTF8'), int4send(-1))
    || coalesce(int4send(octet_length(p_actor)) || convert_to(p_actor, 'UTF8'), int4send(-1))
    || coalesce(p_payload_digest, ''::bytea));
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
       AND (NEW.position, NEW.run_uid, NEW.seq, NEW.type, NEW.step_id, NEW.actor, NEW.recorded_at, NEW.version, NEW.hash)
         IS NOT DISTINCT FROM
           (OLD.position, OLD.run_uid, OLD.seq, OLD.type, OLD.step_id, OLD.actor, OLD.recorded_at, OLD.version, OLD.hash)
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
COMMENT ON TRIGGER pgtrigger_guard_23500 ON "django_hookflow_event" IS 'a7fd9544f0a06ae1d046c35794c18eb01efb925e';
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
