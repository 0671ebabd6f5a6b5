-- The chain of checkpoints: what was signed, and when.
--
-- A checkpoint is a file outside the database (manage.py hookflow_checkpoint). Its token names the digest of the token
-- before, which is looked up here; so whoever has some of the files knows whether one between them is missing.
-- Nothing is proved by this table itself: who owns it can change it. It changes in no other way.

CREATE TABLE django_hookflow_checkpoint (
  id           bigint GENERATED ALWAYS AS IDENTITY,
  made_at      timestamptz NOT NULL,
  runs         bigint      NOT NULL,
  events       bigint      NOT NULL,
  root         bytea       NOT NULL,    -- of the Merkle tree over all heads
  token_digest bytea       NOT NULL,    -- SHA-256 of the signed token
  CONSTRAINT django_hookflow_checkpoint_pk PRIMARY KEY (id)
);

CREATE OR REPLACE FUNCTION pgtrigger_checkpoint_guard_fb7c7() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  archived boolean;
BEGIN
  RAISE EXCEPTION 'hookflow: the chain of checkpoints is append-only, % is refused', TG_OP
    USING ERRCODE = 'restrict_violation';
END $$;
DROP TRIGGER IF EXISTS pgtrigger_checkpoint_guard_fb7c7 ON "django_hookflow_checkpoint";
CREATE TRIGGER pgtrigger_checkpoint_guard_fb7c7 BEFORE UPDATE OR DELETE ON "django_hookflow_checkpoint" FOR EACH ROW EXECUTE FUNCTION pgtrigger_checkpoint_guard_fb7c7();
ALTER TABLE "django_hookflow_checkpoint" ENABLE ALWAYS TRIGGER pgtrigger_checkpoint_guard_fb7c7;
COMMENT ON TRIGGER pgtrigger_checkpoint_guard_fb7c7 ON "django_hookflow_checkpoint" IS '06236a0e2066fb5bcc8812c11c62807efc6d1214';
CREATE OR REPLACE FUNCTION pgtrigger_checkpoint_guard_truncate_aede2() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  archived boolean;
BEGIN
  IF current_setting('hookflow.allow_truncate', true) = 'on' THEN
    RETURN NULL;
  END IF;
  RAISE EXCEPTION 'hookflow: the chain of checkpoints is append-only, TRUNCATE is refused'
    USING ERRCODE = 'restrict_violation';
END $$;
DROP TRIGGER IF EXISTS pgtrigger_checkpoint_guard_truncate_aede2 ON "django_hookflow_checkpoint";
CREATE TRIGGER pgtrigger_checkpoint_guard_truncate_aede2 BEFORE TRUNCATE ON "django_hookflow_checkpoint" FOR EACH STATEMENT EXECUTE FUNCTION pgtrigger_checkpoint_guard_truncate_aede2();
ALTER TABLE "django_hookflow_checkpoint" ENABLE ALWAYS TRIGGER pgtrigger_checkpoint_guard_truncate_aede2;
COMMENT ON TRIGGER pgtrigger_checkpoint_guard_truncate_aede2 ON "django_hookflow_checkpoint" IS 'a905cdd0105c167f422cbbc5220e3dc0e20ecb3d';
