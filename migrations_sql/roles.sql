-- Roles: who may do what to the log. Written by hand; a DBA runs it with psql after the migrations, and again after
-- each upgrade, in one transaction with it, for a migration that makes or replaces a function makes it as if there
-- were no roles:
--
--   psql --single-transaction -v ON_ERROR_STOP=1 -f 0006_….sql -f 0007_….sql -f roles.sql
--
-- It may be run any number of times. The schema is the first one on the search_path that holds the log.
--
-- Four group roles are made, none of which can log in; a login gets its rights by being made a member of one:
--   hookflow_owner     owns every object of the log; for migrations, rebuild, retention, checkpoints
--   hookflow_app       reads everything, writes by calling a few functions, and by nothing else; for the application
--   hookflow_reader    reads everything; for reports, verification and auditors
--   hookflow_redactor  reads everything, and may redact payloads
-- They belong to the whole cluster. Where two applications share one and are to be kept apart, give each its own:
--   PGOPTIONS="-c hookflow.role_prefix=shop" makes them shop_owner, shop_app, shop_reader and shop_redactor.
--
-- How it holds: the functions that write run as their owner (SECURITY DEFINER) and find tables, functions and
-- operators where they were installed, whatever the caller's search_path (SET search_path, pg_temp last). Nobody but
-- the owner can make anything in that schema. What is not named below, the owner alone may use: an object of a later
-- release, too, until this file says who else may.
--
-- It refuses, naming them, what others have put on the tables of the log (triggers, rules, policies, functions in
-- defaults, constraints and indexes), for that would run as the owner from now on.

DO $roles$
DECLARE
  -- What the application calls to write. Run as the owner.
  writing CONSTANT text[] := ARRAY[
    'hookflow_start', 'hookflow_claim', 'hookflow_take', 'hookflow_append', 'hookflow_complete', 'hookflow_renew', 'hookflow_release',
    'hookflow_operate', 'hookflow_signal', 'hookflow_expire', 'hookflow_take_over', 'hookflow_start_from', 'hookflow_join',
    'hookflow_cancel_orphans', 'hookflow_rejoin'];
  -- What the redactor calls. Run as the owner.
  redacting CONSTANT text[] := ARRAY['hookflow_redact'];
  -- What anyone with a role may call: they read what the caller may read, or nothing. Run as the caller, because a
  -- function that runs as another role cannot be inlined, and a fold has to be.
  reading CONSTANT text[] := ARRAY[
    'hookflow_now', 'hookflow_event_hash', 'hookflow_mask', 'hookflow_may', 'hookflow_first_step',
    'hookflow_status_after', 'hookflow_ends_run', 'hookflow_is_act', 'hookflow_settles_of_run',
    'hookflow_fold_runs', 'hookflow_fold_waits', 'hookflow_fold_dead_letters',
    'hookflow_fold_runs_as_of', 'hookflow_fold_waits_as_of', 'hookflow_fold_steps_as_of', 'hookflow_fold_dead_letters_as_of',
    'hookflow_fold_runs_until', 'hookflow_ended_child', 'hookflow_uid_at', 'hookflow_time_of', 'hookflow_month', 'hookflow_partitions'];
  -- What the application writes without a function: when a message is sent next, and how far a subscriber has read.
  -- Neither says anything about a run.
  written CONSTANT text[] := ARRAY[
    ['django_hookflow_outbox', 'UPDATE (send_at, announced_at, attempts)'],
    ['django_hookflow_subscriber', 'INSERT, UPDATE, DELETE']];

  prefix   CONSTANT text := coalesce(nullif(current_setting('hookflow.role_prefix', true), ''), 'hookflow');
  owner    CONSTANT text := prefix || '_owner';
  app      CONSTANT text := prefix || '_app';
  reader   CONSTANT text := prefix || '_reader';
  redactor CONSTANT text := prefix || '_redactor';
  everyone CONSTANT text := format('%I, %I, %I', app, reader, redactor);
  log      CONSTANT regclass := to_regclass('django_hookflow_event');
  schema   text;
  place    oid;   -- of the schema
  owner_id oid;
  name     text;
  object   record;
  planted  text;
BEGIN
  SELECT nspname, relnamespace INTO schema, place
    FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace WHERE pg_class.oid = log;
  IF schema IS NULL THEN
    RAISE EXCEPTION 'hookflow: no table django_hookflow_event on the search_path (%)', current_setting('search_path')
      USING ERRCODE = 'undefined_table', HINT = 'Apply the migrations first, or set the search_path to their schema: PGOPTIONS="-c search_path=…".';
  END IF;

  FOREACH name IN ARRAY ARRAY[owner, app, reader, redactor] LOOP
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
      EXECUTE format('CREATE ROLE %I NOLOGIN', name);
    END IF;
  END LOOP;
  SELECT oid INTO owner_id FROM pg_roles WHERE rolname = owner;
  -- Whoever runs this without being a superuser has to be able to act as the owner.
  IF NOT pg_has_role(current_user, owner, 'USAGE') THEN
    EXECUTE format('GRANT %I TO CURRENT_USER', owner);
  END IF;

  -- The schema. Asked first, because granting what is already so may not be in the power of who runs this.
  FOREACH name IN ARRAY ARRAY[owner, app, reader, redactor] LOOP
    IF NOT has_schema_privilege(name, schema, 'USAGE') THEN
      EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', schema, name);
    END IF;
  END LOOP;
  IF has_schema_privilege('public', schema, 'CREATE') THEN
    EXECUTE format('REVOKE CREATE ON SCHEMA %I FROM PUBLIC', schema);
  END IF;
  FOREACH name IN ARRAY ARRAY[app, reader, redactor] LOOP
    IF has_schema_privilege(name, schema, 'CREATE') THEN
      EXECUTE format('REVOKE CREATE ON SCHEMA %I FROM %I', schema, name);
    END IF;
  END LOOP;
  IF NOT has_schema_privilege(owner, schema, 'CREATE') THEN
    EXECUTE format('GRANT CREATE ON SCHEMA %I TO %I', schema, owner);
  END IF;
  FOREACH name IN ARRAY ARRAY['public', app, reader, redactor] LOOP
    IF has_schema_privilege(name, schema, 'CREATE') THEN
      RAISE EXCEPTION 'hookflow: % can still create objects in the schema %, which could hide those of the log', name, schema
        USING ERRCODE = 'insufficient_privilege',
              HINT = format('Have the owner of the schema run: REVOKE CREATE ON SCHEMA %I FROM %s;', schema, name);
    END IF;
  END LOOP;

  -- Tables, partitions (whatever their names), views and sequences: the owner's, and read by everyone with a role.
  -- What 0.0.x has left the owner alone reads. A sequence that belongs to a column goes with its table.
  FOR object IN
    SELECT c.oid, c.oid::regclass AS name, c.relowner, c.relname LIKE 'hookflow\_0\_0\_%' AND c.relkind = 'r' AS is_old, CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind
    FROM pg_class AS c
    WHERE c.oid IN (SELECT relid FROM pg_partition_tree(log))
       OR c.relnamespace = place
          AND (c.relname LIKE 'django\_hookflow\_%' AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
               OR c.relname LIKE 'hookflow\_%' AND c.relkind IN ('v', 'm')
               OR c.relname LIKE 'hookflow\_0\_0\_%' AND c.relkind = 'r')
    ORDER BY kind DESC, c.oid
  LOOP
    IF object.kind = 'TABLE' AND object.relowner <> owner_id THEN
      EXECUTE format('ALTER TABLE %s OWNER TO %I', object.name, owner);
    END IF;
    FOR name IN
      SELECT DISTINCT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END
      FROM (SELECT (aclexplode(relacl)).grantee FROM pg_class WHERE oid = object.oid
            UNION SELECT (aclexplode(attacl)).grantee FROM pg_attribute WHERE attrelid = object.oid) AS acl
      WHERE grantee <> owner_id
    LOOP
      EXECUTE format('REVOKE ALL ON %s %s FROM %s CASCADE', object.kind, object.name, name);
    END LOOP;
    IF NOT object.is_old THEN
      EXECUTE format('GRANT SELECT ON %s %s TO %s', object.kind, object.name, everyone);
    END IF;
  END LOOP;
  FOR i IN 1 .. array_length(written, 1) LOOP
    IF to_regclass(format('%I.%I', schema, written[i][1])) IS NOT NULL THEN
      EXECUTE format('GRANT %s ON %I.%I TO %I', written[i][2], schema, written[i][1], app);
    END IF;
  END LOOP;

  -- Functions and procedures, those of the guards included.
  FOR object IN
    SELECT p.oid, p.oid::regprocedure AS name, p.proname, p.proowner
    FROM pg_proc AS p
    WHERE p.pronamespace = place
      AND (p.proname LIKE 'hookflow\_%' OR p.proname LIKE 'pgtrigger\_%guard\_%' AND EXISTS (
        SELECT FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid
        WHERE t.tgfoid = p.oid AND c.relname LIKE 'django\_hookflow\_%'))
  LOOP
    IF object.proowner <> owner_id THEN
      EXECUTE format('ALTER ROUTINE %s OWNER TO %I', object.name, owner);
    END IF;
    FOR name IN
      SELECT DISTINCT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END
      FROM (SELECT (aclexplode(coalesce(proacl, acldefault('f', proowner)))).grantee FROM pg_proc WHERE oid = object.oid) AS acl
      WHERE grantee <> owner_id
    LOOP
      EXECUTE format('REVOKE ALL ON ROUTINE %s FROM %s CASCADE', object.name, name);
    END LOOP;
    IF object.proname = ANY (writing || redacting) THEN
      EXECUTE format('ALTER ROUTINE %s SECURITY DEFINER SET search_path = pg_catalog, %I, pg_temp', object.name, schema);
    END IF;
    IF object.proname = ANY (writing) THEN
      EXECUTE format('GRANT EXECUTE ON ROUTINE %s TO %I', object.name, app);
    ELSIF object.proname = ANY (redacting) THEN
      EXECUTE format('GRANT EXECUTE ON ROUTINE %s TO %I', object.name, redactor);
    ELSIF object.proname = ANY (reading) THEN
      EXECUTE format('GRANT EXECUTE ON ROUTINE %s TO %s', object.name, everyone);
    END IF;
  END LOOP;

  -- Whoever owned the tables until now may have left something on them that runs as their owner from here on. Dependencies
  -- name every function but PostgreSQL's own; an extension's are left alone if a superuser owns them. The doctor asks the same (django_hookflow/sql/catalog_planted.sql).
  WITH relation AS (
    SELECT * FROM pg_class
    WHERE oid IN (SELECT relid FROM pg_partition_tree(log))
       OR relnamespace = place AND relkind IN ('r', 'p', 'v')
          AND (relname LIKE 'django\_hookflow\_%' OR relname LIKE 'hookflow\_%' AND relkind = 'v' OR relname LIKE 'hookflow\_0\_0\_%')
  ),
  used AS (
    SELECT 'pg_attrdef'::regclass AS classid, d.oid AS objid, adrelid AS relid, format('default of column %I', attname) AS what
    FROM pg_attrdef AS d JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum
    UNION ALL SELECT 'pg_constraint'::regclass, oid, conrelid, format('constraint %I', conname) FROM pg_constraint
    UNION ALL SELECT 'pg_class'::regclass, indexrelid, indrelid, format('index %s', indexrelid::regclass) FROM pg_index
    UNION ALL SELECT 'pg_statistic_ext'::regclass, oid, stxrelid, format('statistics %I', stxname) FROM pg_statistic_ext
    UNION ALL SELECT 'pg_trigger'::regclass, oid, tgrelid, format('trigger %I', tgname) FROM pg_trigger
  ),
  called AS (
    SELECT used.relid, used.what, coalesce(o.oprcode::oid, amproc::oid, part.refobjid) AS routine
    FROM used JOIN pg_depend AS part ON part.classid = used.classid AND part.objid = used.objid
      AND part.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass, 'pg_opclass'::regclass)
    LEFT JOIN pg_operator AS o ON o.oid = part.refobjid AND part.refclassid = 'pg_operator'::regclass
    LEFT JOIN pg_opclass AS c ON c.oid = part.refobjid AND part.refclassid = 'pg_opclass'::regclass
    LEFT JOIN pg_amproc ON amprocfamily = c.opcfamily
  ),
  found (what, relid) AS (
    SELECT format('rule %I', rulename), relation.oid FROM pg_rewrite JOIN relation ON relation.oid = ev_class
    WHERE NOT (rulename = '_RETURN' AND relkind = 'v')
    UNION ALL SELECT format('policy %I', polname), relation.oid FROM pg_policy JOIN relation ON relation.oid = polrelid
    UNION ALL SELECT 'row security', oid FROM relation WHERE relrowsecurity OR relforcerowsecurity
    UNION ALL SELECT format('inheriting table %s', inhrelid::regclass), relation.oid
    FROM pg_inherits JOIN relation ON relation.oid = inhparent AND relkind <> 'p'
    UNION ALL SELECT format('trigger %I', tgname), relation.oid
    FROM pg_trigger JOIN relation ON relation.oid = tgrelid JOIN pg_proc AS p ON p.oid = tgfoid
    WHERE pronamespace = 'pg_catalog'::regnamespace AND NOT tgisinternal
    UNION ALL SELECT DISTINCT format('%s (calls %s)', called.what, p.oid::regprocedure), relation.oid
    FROM called JOIN relation ON relation.oid = called.relid JOIN pg_proc AS p ON p.oid = called.routine
    WHERE p.proowner <> owner_id AND p.pronamespace <> 'pg_catalog'::regnamespace
      AND NOT EXISTS (SELECT FROM pg_depend JOIN pg_roles ON pg_roles.oid = p.proowner AND rolsuper
                      WHERE classid = 'pg_proc'::regclass AND objid = p.oid AND deptype = 'e')
  )
  SELECT string_agg(format('%s on %s', found.what, found.relid::regclass), ', ' ORDER BY found.relid::regclass::text, found.what)
    INTO planted FROM found;
  IF planted IS NOT NULL THEN
    RAISE EXCEPTION 'hookflow: the tables of the log have objects that do not belong to %: %', owner, planted
      USING ERRCODE = 'restrict_violation',
            HINT = 'Find out who created them and why, drop them, and run this file again. They would run with the privileges of the owner.';
  END IF;

  -- What the owner makes later is closed to begin with: functions to all, tables but for reading.
  EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %I REVOKE EXECUTE ON ROUTINES FROM PUBLIC', owner);
  EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA %I GRANT SELECT ON TABLES TO %s', owner, schema, everyone);

  -- Django's record of migrations is the whole project's. Who migrates as the owner (SET ROLE) writes to it.
  FOR object IN
    SELECT c.oid::regclass AS name, pg_get_serial_sequence(c.oid::regclass::text, 'id') AS sequence
    FROM pg_class AS c
    WHERE c.oid = to_regclass('django_migrations') AND pg_has_role(current_user, c.relowner, 'USAGE')
  LOOP
    EXECUTE format('GRANT SELECT, INSERT, DELETE ON %s TO %I', object.name, owner);
    EXECUTE format('GRANT SELECT ON %s TO %I', object.name, app);
    IF object.sequence IS NOT NULL THEN
      EXECUTE format('GRANT USAGE ON SEQUENCE %s TO %I', object.sequence, owner);
    END IF;
  END LOOP;

  -- A login may hold by another way what this file has just taken from its group.
  FOR name IN
    SELECT rolname FROM pg_roles
    WHERE rolcanlogin AND NOT rolsuper AND pg_has_role(oid, app, 'USAGE')
      AND (pg_has_role(oid, owner, 'MEMBER') OR has_schema_privilege(oid, schema, 'CREATE'))
  LOOP
    RAISE WARNING 'hookflow: % is a member of %, but may also act as % or create objects in the schema %: the log is not protected from it',
      name, app, owner, schema;
  END LOOP;
END $roles$;
