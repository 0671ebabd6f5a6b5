"""Guard triggers of the event log, managed by django-pgtrigger but without its way around them.

django-pgtrigger installs triggers that any session can switch off with ``SET pgtrigger.ignore``, and PostgreSQL skips
ordinary triggers under ``session_replication_role = replica``. A log that is evidence can allow neither, so these
compile to SQL of their own: no ignore function, ``ENABLE ALWAYS``, and a search path in which no session can put a
table or function of its own before ours or PostgreSQL's. A project that has ``"pgtrigger"`` in ``INSTALLED_APPS`` sees
them with ``manage.py pgtrigger ls``, and ``makemigrations`` there notices when they change; it need not have it.
"""

from __future__ import annotations

from typing import Any

import pgtrigger
from django.db.models import options
from pgtrigger import compiler

# So that Meta takes them, here and in the migrations: django-pgtrigger's app would see to it, where it is installed.
if "triggers" not in options.DEFAULT_NAMES:
    options.DEFAULT_NAMES = (*options.DEFAULT_NAMES, "triggers")

REDACTION_OR_ARCHIVAL = """\
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
    USING ERRCODE = 'restrict_violation';"""

TEST_ENVIRONMENT = """\
IF current_setting('hookflow.allow_truncate', true) = 'on' THEN
    RETURN NULL;
  END IF;
  RAISE EXCEPTION 'hookflow: the event log is append-only, TRUNCATE is refused'
    USING ERRCODE = 'restrict_violation';"""

NO_CHANGE = """\
RAISE EXCEPTION 'hookflow: the chain of checkpoints is append-only, % is refused', TG_OP
    USING ERRCODE = 'restrict_violation';"""

NO_CHANGE_BUT_IN_TESTS = """\
IF current_setting('hookflow.allow_truncate', true) = 'on' THEN
    RETURN NULL;
  END IF;
  RAISE EXCEPTION 'hookflow: the chain of checkpoints is append-only, TRUNCATE is refused'
    USING ERRCODE = 'restrict_violation';"""


class GuardSql(compiler.UpsertTriggerSql):
    """The SQL that installs one guard, in the place of django-pgtrigger's template."""

    def get_template(self) -> str:
        return """\
CREATE OR REPLACE FUNCTION {pgid}() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  archived boolean;
BEGIN
  {func}
END $$;
DROP TRIGGER IF EXISTS {pgid} ON {table};
CREATE TRIGGER {pgid} {when} {operation} ON {table} FOR EACH {level} EXECUTE FUNCTION {execute};
ALTER TABLE {table} ENABLE ALWAYS TRIGGER {pgid};
COMMENT ON TRIGGER {pgid} ON {table} IS '{hash}';
"""


class Guard(pgtrigger.Trigger):
    """A trigger that no session setting lifts."""

    def compile(self, model: Any) -> compiler.Trigger:
        return compiler.Trigger(
            name=self.name,
            sql=GuardSql(
                pgid=self.get_pgid(model),
                func=self.render_func(model),
                table=model._meta.db_table,
                when=self.when,
                operation=self.operation,
                level=self.level,
            ),
        )


#: What may happen to an event after it is written: nothing but the two changes the first guard names.
EVENT_GUARDS = [
    Guard(
        name="guard", when=pgtrigger.Before, operation=pgtrigger.Update | pgtrigger.Delete, func=REDACTION_OR_ARCHIVAL
    ),
    Guard(
        name="guard_truncate",
        level=pgtrigger.Statement,
        when=pgtrigger.Before,
        operation=pgtrigger.Truncate,
        func=TEST_ENVIRONMENT,
    ),
]

#: The chain of checkpoints does not change at all.
CHECKPOINT_GUARDS = [
    Guard(
        name="checkpoint_guard", when=pgtrigger.Before, operation=pgtrigger.Update | pgtrigger.Delete, func=NO_CHANGE
    ),
    Guard(
        name="checkpoint_guard_truncate",
        level=pgtrigger.Statement,
        when=pgtrigger.Before,
        operation=pgtrigger.Truncate,
        func=NO_CHANGE_BUT_IN_TESTS,
    ),
]
