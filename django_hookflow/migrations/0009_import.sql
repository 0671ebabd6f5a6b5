-- Coming from 0.0.x: the runs that a release 0.0.x has left, brought into the log.
--
-- 0001 has put their tables aside (hookflow_0_0_workflowrun, …_stepexecution, …_deadletterentry). Here each old run becomes
-- the events that would have led to its rows, with the times that stand in them, so that what is folded from the log is as
-- right for it as for any other run. One event more, run.imported, says of those before it that nobody recorded them when
-- they happened; run.triggered says by its origin how many events that are, for whoever reads the log to leave them out.
--
-- A run that had not ended is held: somebody has it go on from its recorded steps, or the message that 0.0.x left with
-- QStash does when it arrives (hookflow_take_over). Nothing is begun by a migration.
--
-- The old tables stay as they are; going back to before 0002 gives them their place again. Drop them when that is not
-- wanted any more: what is redacted in the log later, and runs that are cleaned up, still stand there.
--
-- What must stay true: a run is imported once, whoever does it at the same time (its head is made first), and what is done
-- again finds the rest. manage.py migrate does all of it; so does, from psql and outside of a transaction:
--   CALL hookflow_import();

-- A value of 0.0.x as the codec writes it: an object with a single key that begins with $ is not to be read as a tag.
CREATE FUNCTION hookflow_untagged(p_value jsonb) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
  v_key text;
BEGIN
  IF p_value IS NULL OR strpos(p_value::text, '"$') = 0 THEN
    RETURN p_value;
  END IF;
  IF jsonb_typeof(p_value) = 'array' THEN
    RETURN (SELECT jsonb_agg(hookflow_untagged(item) ORDER BY n) FROM jsonb_array_elements(p_value) WITH ORDINALITY AS i (item, n));
  ELSIF jsonb_typeof(p_value) <> 'object' THEN
    RETURN p_value;
  END IF;
  SELECT min(key) INTO v_key FROM jsonb_object_keys(p_value) AS key HAVING count(*) = 1;
  IF starts_with(v_key, '$') THEN
    RETURN jsonb_build_object('$dict', jsonb_build_array(jsonb_build_array(v_key, hookflow_untagged(p_value->v_key))));
  END IF;
  RETURN (SELECT jsonb_object_agg(e.key, hookflow_untagged(e.value)) FROM jsonb_each(p_value) AS e);
END $$;

-- For how many seconds a step slept, if its result is what sleep() of 0.0.x recorded: when it began to sleep, not when it
-- had slept. The timestamp in it is compared, so a result of run() that looks the same is not taken for one.
CREATE FUNCTION hookflow_slept_for(p_result jsonb, p_executed_at timestamptz) RETURNS float8 LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
  IF jsonb_typeof(p_result) = 'object' AND jsonb_typeof(p_result->'slept_for') = 'number'
     AND jsonb_typeof(p_result->'timestamp') = 'number' AND p_result - '{slept_for,timestamp}'::text[] = '{}'
     AND (p_result->>'slept_for')::numeric BETWEEN 0 AND 3162240000
     AND abs((p_result->>'timestamp')::numeric - extract(epoch FROM p_executed_at)) < 300 THEN
    RETURN (p_result->>'slept_for')::float8;
  END IF;
  RETURN NULL;
END $$;

-- The type of an error of 0.0.x, which recorded none: what stands before its message in the traceback. Of a step that failed
-- it is the cause's.
CREATE FUNCTION hookflow_old_error_type(p_message text, p_traceback text) RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
  v_cause   text := split_part(p_traceback, E'\nThe above exception was the direct cause of the following exception:\n', 1);
  v_message text := p_message;
  v_type    text;
BEGIN
  IF v_cause <> p_traceback AND p_message LIKE 'Step ''%'' failed: %' THEN
    p_traceback := v_cause;
    v_message := substr(p_message, strpos(p_message, ''' failed: ') + 10);
  END IF;
  p_traceback := rtrim(p_traceback, E'\n');
  IF v_message <> '' AND right(p_traceback, length(v_message) + 2) = ': ' || v_message THEN
    p_traceback := left(p_traceback, -length(v_message) - 2);
  END IF;
  v_type := reverse(split_part(reverse(p_traceback), E'\n', 1));
  RETURN CASE WHEN v_type ~ '^[[:alpha:]_][[:alnum:]_.]{0,254}$' THEN v_type END;
END $$;

-- A failure's fingerprint, as django_hookflow.runtime.failures.fingerprint makes it for a failure outside of steps.
CREATE FUNCTION hookflow_old_fingerprint(p_error_type text, p_message text) RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
  v_text text := regexp_replace(p_message,
    '(?<![A-Za-z0-9\\])("[^"\\]*(\\.[^"\\]*)*"|''[^''\\]*(\\.[^''\\]*)*''|`[^`\\]*(\\.[^`\\]*)*`)', '#', 'g');
BEGIN
  SELECT string_agg(CASE WHEN part[1] ~ '^[A-Za-z0-9_@-]' AND (part[1] ~ '[0-9@]' OR part[1] ~ '^[A-Fa-f]{8,}$') THEN '#' ELSE part[1] END, '' ORDER BY n)
    INTO v_text FROM regexp_matches(v_text, '[A-Za-z0-9_@-]+|[^A-Za-z0-9_@-]+', 'g') WITH ORDINALITY AS p (part, n);
  v_text := btrim(regexp_replace(regexp_replace(coalesce(v_text, ''), '#([.,:;+/-] ?#)+', '#', 'g'), E'[ \t\n\r\f\v]+', ' ', 'g'), ' ');
  RETURN left(encode(sha256(convert_to(E'\n' || p_error_type || E'\n' || v_text, 'UTF8')), 'hex'), 16);
END $$;

-- A UUIDv7 of the moment the run began; the rest of it comes from the run's id, so that it is the same each time.
CREATE FUNCTION hookflow_old_uid(p_run_id text, p_at timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT (lpad(to_hex(floor(extract(epoch FROM p_at) * 1000)::bigint), 12, '0')
    || '7' || substr(md5(p_run_id), 1, 3) || '8' || substr(md5(p_run_id), 4, 15))::uuid
$$;

CREATE FUNCTION hookflow_until(p_at timestamptz) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT to_char(p_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;

-- The old runs of these ids. Where 0.0.x kept no runs it wrote dead letters all the same: minus the id of the last one
-- stands for such a run. `ended_at` is null for a run that had not ended.
CREATE FUNCTION hookflow_old_runs(p_ids bigint[]) RETURNS TABLE (
  id bigint, run_uid uuid, run_id text, workflow_id text, status text, data jsonb, result jsonb, error_message text,
  created_at timestamptz, updated_at timestamptz, ended_at timestamptz
) LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  SELECT run.id, hookflow_old_uid(run.run_id, run.created_at), run.run_id::text, run.workflow_id::text, state.status,
    run.data, run.result, run.error_message, run.created_at, run.updated_at,
    CASE WHEN state.status IN ('completed', 'failed') THEN coalesce(run.completed_at, run.updated_at) END
  FROM hookflow_0_0_workflowrun AS run,
    -- 0.0.x wrote the dead letter before the status: a run that has one, and has not completed, had failed.
    LATERAL (SELECT CASE WHEN run.status NOT IN ('completed', 'failed') AND EXISTS (
      SELECT FROM hookflow_0_0_deadletterentry AS letter WHERE letter.run_id = run.run_id) THEN 'failed' ELSE run.status::text END) AS state (status)
  WHERE run.id = ANY (p_ids)
  UNION ALL
  SELECT -last.id, hookflow_old_uid(last.run_id, began.at), last.run_id::text, last.workflow_id::text, 'failed',
    coalesce(last.payload->'data', '{}'), NULL, last.error_message, began.at, last.created_at, last.created_at
  FROM hookflow_0_0_deadletterentry AS last,
    LATERAL (SELECT min(letter.created_at) FROM hookflow_0_0_deadletterentry AS letter WHERE letter.run_id = last.run_id) AS began (at)
  WHERE last.id = ANY (SELECT -each FROM unnest(p_ids) AS each WHERE each < 0);
END $$;

-- The events that these old runs become, numbered. Steps and failures are in the order of their times, then the end; no
-- event is before the one it follows. A failure after which the run failed again, or completed, had been replayed at some
-- time: QStash delivered it again. What people replayed was in 0.0.x a new run; which one, it did not record.
CREATE FUNCTION hookflow_old_events(p_ids bigint[]) RETURNS TABLE (
  run_uid uuid, seq integer, type text, step_id text, facts json, payload json, recorded_at timestamptz
) LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
DECLARE
  v_now timestamptz := hookflow_now();
BEGIN
  RETURN QUERY
  WITH run AS MATERIALIZED (
    SELECT * FROM hookflow_old_runs(p_ids)
  ), letter AS MATERIALIZED (
    SELECT run.run_uid, letter.*, lead(letter.id) OVER (PARTITION BY run.run_uid ORDER BY letter.id) IS NULL AS is_last
    FROM run JOIN hookflow_0_0_deadletterentry AS letter ON letter.run_id = run.run_id
  ), failure AS (
    SELECT letter.run_uid, letter.id AS n, nullif(letter.step_id, '') AS step_id, letter.error_message AS message,
      letter.error_traceback AS traceback, greatest(letter.attempt_count, 0) AS attempts,
      CASE WHEN letter.is_last AND run.status = 'failed' AND run.error_message IN ('', letter.error_message)
           THEN run.ended_at ELSE letter.created_at END AS at,
      CASE WHEN letter.is_replayed THEN coalesce(letter.replayed_at, letter.created_at) END AS replayed_at
    FROM letter JOIN run USING (run_uid)
    UNION ALL
    SELECT run.run_uid, 9e18::bigint, NULL, run.error_message, '', 1, run.ended_at, NULL
    FROM run LEFT JOIN letter ON letter.run_uid = run.run_uid AND letter.is_last
    WHERE run.status = 'failed' AND (letter.id IS NULL OR run.error_message NOT IN ('', letter.error_message))
  ), failed AS MATERIALIZED (
    SELECT failure.*, run.status = 'completed' OR lead(failure.n) OVER (PARTITION BY failure.run_uid ORDER BY failure.n) IS NOT NULL AS went_on
    FROM failure JOIN run USING (run_uid)
  ), step AS (
    SELECT run.run_uid, old.id AS n, coalesce(nullif(old.step_id, ''), '(empty)')::text AS step_id, old.result, old.executed_at AS at, run.ended_at
    FROM run JOIN hookflow_0_0_stepexecution AS old ON old.workflow_run_id = run.id
    UNION ALL  -- what the last dead letter knows and the table of steps does not
    SELECT letter.run_uid, 8e18::bigint, coalesce(nullif(known.key, ''), '(empty)'), known.value, letter.created_at, run.ended_at
    FROM letter JOIN run USING (run_uid), LATERAL jsonb_each(
      CASE WHEN jsonb_typeof(letter.completed_steps) = 'object' THEN letter.completed_steps ELSE '{}' END) AS known
    WHERE letter.is_last AND NOT EXISTS (
      SELECT FROM hookflow_0_0_stepexecution AS old WHERE old.workflow_run_id = run.id AND old.step_id = known.key)
  ), event (run_uid, part, n, type, step_id, facts, payload, at) AS (
    SELECT run.run_uid, 1, 0, 'run.triggered', NULL,
      jsonb_build_object('run_id', run.run_id, 'workflow', run.workflow_id, 'origin', jsonb_build_object('kind', 'import')),
      jsonb_build_object('data', hookflow_untagged(run.data)), run.created_at
    FROM run
    UNION ALL
    SELECT step.run_uid, 2, step.n, CASE WHEN sleeps.until IS NULL THEN 'step.completed' ELSE 'step.suspended' END, step.step_id,
      CASE WHEN sleeps.until IS NULL
           THEN jsonb_build_object('kind', CASE WHEN slept.seconds IS NULL THEN 'imported' ELSE 'sleep' END, 'attempt', 1)
           ELSE jsonb_build_object('kind', 'sleep', 'attempt', 1, 'seconds', slept.seconds, 'until', hookflow_until(sleeps.until)) END,
      CASE WHEN sleeps.until IS NULL THEN jsonb_build_object('result', hookflow_untagged(coalesce(step.result, 'null'))) END, step.at
    FROM step, LATERAL (SELECT hookflow_slept_for(step.result, step.at)) AS slept (seconds),
      LATERAL (SELECT step.at + make_interval(secs => slept.seconds)
               WHERE step.ended_at IS NULL AND step.at + make_interval(secs => slept.seconds) > v_now
               UNION ALL SELECT NULL LIMIT 1) AS sleeps (until)
    UNION ALL
    SELECT failed.run_uid, 3, failed.n, 'run.failed', failed.step_id,
      jsonb_build_object('attempts', failed.attempts, 'error', coalesce(known.type, ''),
        'fingerprint', hookflow_old_fingerprint(coalesce(known.type, ''), failed.message)),
      jsonb_build_object('message', failed.message, 'traceback', failed.traceback), failed.at
    FROM failed, LATERAL (SELECT hookflow_old_error_type(failed.message, failed.traceback)) AS known (type)
    UNION ALL
    SELECT failed.run_uid, 4, failed.n, 'run.replayed', NULL, '{}', '{"reason": "it was delivered again"}', failed.at
    FROM failed WHERE failed.went_on
    UNION ALL
    SELECT run.run_uid, 5, 0, 'run.completed', NULL, '{}',
      jsonb_build_object('result', hookflow_untagged(coalesce(run.result, 'null'))), run.ended_at
    FROM run WHERE run.status = 'completed'
    UNION ALL
    SELECT failed.run_uid, 6, failed.n, 'run.restarted', NULL, '{}', NULL, failed.replayed_at
    FROM failed WHERE failed.replayed_at IS NOT NULL
    UNION ALL
    SELECT run.run_uid, 7, 0, 'run.imported', NULL, jsonb_build_object('from', 'django-hookflow 0.0.x', 'id', run.id,
      'status', run.status, 'updated_at', run.updated_at), NULL, v_now
    FROM run
    UNION ALL
    SELECT run.run_uid, 8, 0, 'run.paused', NULL, '{}', jsonb_build_object('reason',
      'It was under way when it was imported: resume it, or let its message come.'), v_now
    FROM run WHERE run.ended_at IS NULL
  ), placed AS (
    SELECT event.*, row_number() OVER told AS seq, count(*) OVER (PARTITION BY event.run_uid) AS events,
      max(event.at) OVER (told ROWS UNBOUNDED PRECEDING) AS recorded_at
    FROM event
    WINDOW told AS (PARTITION BY event.run_uid ORDER BY
      CASE WHEN part IN (3, 4) THEN 2 ELSE part END, at, CASE part WHEN 4 THEN 3 ELSE part END, n, part)
  )
  SELECT placed.run_uid, placed.seq::integer, placed.type, placed.step_id,
    (CASE placed.part
       WHEN 1 THEN jsonb_set(placed.facts, '{origin,events}', to_jsonb(placed.events))
       WHEN 4 THEN placed.facts || jsonb_build_object('failed_seq', of_failure.seq)
       WHEN 6 THEN placed.facts || jsonb_build_object('failed_seq', of_failure.seq)
       ELSE placed.facts END)::json,
    placed.payload::json, placed.recorded_at
  FROM placed LEFT JOIN placed AS of_failure ON placed.part IN (4, 6)
    AND of_failure.run_uid = placed.run_uid AND of_failure.part = 3 AND of_failure.n = placed.n;
END $$;

-- The hashes of a run's events, given in the order of seq.
CREATE FUNCTION hookflow_chain(
  p_run_uid uuid, p_types text[], p_step_ids text[], p_facts text[], p_digests bytea[], p_times timestamptz[]
) RETURNS bytea[] LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
  v_hash   bytea := sha256(uuid_send(p_run_uid));
  v_hashes bytea[] := '{}';
BEGIN
  FOR i IN 1 .. cardinality(p_types) LOOP
    v_hash := hookflow_event_hash(v_hash, p_run_uid, i, p_times[i], 1::smallint, p_types[i], p_step_ids[i], NULL, p_facts[i], p_digests[i]);
    v_hashes := v_hashes || v_hash;
  END LOOP;
  RETURN v_hashes;
END $$;

-- Imports these old runs and answers how many; those whose run_id the log knows already are left out. What functions answer
-- is estimated far too high, so that each batch would be compiled, which takes longer than all it does.
CREATE FUNCTION hookflow_import_runs(p_ids bigint[]) RETURNS integer LANGUAGE plpgsql SET jit = off AS $$
DECLARE
  v_ids  bigint[];
  v_uids uuid[];
BEGIN
  WITH old AS MATERIALIZED (
    SELECT id, run_uid, run_id, workflow_id FROM hookflow_old_runs(p_ids)
  ), made AS (
    INSERT INTO django_hookflow_head (run_uid, run_id, workflow_id, last_seq, fence_seq, last_at, head_hash)
    SELECT run_uid, run_id, workflow_id, 0, 0, '-infinity', sha256(uuid_send(run_uid)) FROM old ORDER BY run_id
    ON CONFLICT (run_id) DO NOTHING
    RETURNING run_uid
  )
  SELECT array_agg(old.id), array_agg(run_uid) INTO v_ids, v_uids FROM made JOIN old USING (run_uid);
  IF v_ids IS NULL THEN
    RETURN 0;
  END IF;
  WITH event AS MATERIALIZED (
    SELECT *, CASE WHEN payload IS NOT NULL THEN uuid_send(gen_random_uuid()) END AS salt FROM hookflow_old_events(v_ids)
  ), chain AS (
    SELECT run_uid, link.seq, link.hash
    FROM (
      SELECT run_uid, hookflow_chain(run_uid, array_agg(type ORDER BY seq), array_agg(step_id ORDER BY seq),
        array_agg(facts::text ORDER BY seq), array_agg(sha256(salt || convert_to(payload::text, 'UTF8')) ORDER BY seq),
        array_agg(recorded_at ORDER BY seq)) AS hashes
      FROM event GROUP BY run_uid
    ) AS run, LATERAL unnest(run.hashes) WITH ORDINALITY AS link (hash, seq)
  ), written AS (
    INSERT INTO django_hookflow_event (recorded_at, run_uid, seq, version, type, step_id, facts, payload, salt, hash)
    SELECT recorded_at, run_uid, seq, 1, type, step_id, facts, payload, salt, hash
    FROM event JOIN chain USING (run_uid, seq) ORDER BY run_uid, seq
    RETURNING run_uid, seq, recorded_at, hash
  )
  UPDATE django_hookflow_head AS head
  SET last_seq = last.seq, fence_seq = last.seq, last_at = last.recorded_at, head_hash = last.hash
  FROM (SELECT DISTINCT ON (run_uid) * FROM written ORDER BY run_uid, seq DESC) AS last
  WHERE head.run_uid = last.run_uid;

  -- The present of these runs, folded as a rebuild would, each by itself: where the order of the ids is not that of time,
  -- the range between the first and the last of them holds ever more of the others.
  INSERT INTO django_hookflow_workflowrun
    SELECT fold.* FROM unnest(v_uids) AS run (uid), LATERAL hookflow_fold_runs(run.uid, run.uid) AS fold;
  INSERT INTO django_hookflow_wait
    SELECT fold.* FROM unnest(v_uids) AS run (uid), LATERAL hookflow_fold_waits(run.uid, run.uid) AS fold;
  INSERT INTO django_hookflow_deadletterentry
    SELECT fold.* FROM unnest(v_uids) AS run (uid), LATERAL hookflow_fold_dead_letters(run.uid, run.uid) AS fold;
  RETURN cardinality(v_ids);
END $$;

-- Imports the next old runs behind p_after, p_number at most, and answers behind what to go on; null: there are no more.
-- First the runs by id, then, below 0, the runs of which there are only dead letters.
CREATE FUNCTION hookflow_import_next(p_after bigint DEFAULT 0, p_number integer DEFAULT 500) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
  v_ids bigint[];
BEGIN
  IF to_regclass('hookflow_0_0_workflowrun') IS NULL THEN
    RETURN NULL;
  END IF;
  IF p_after >= 0 THEN
    SELECT array_agg(id ORDER BY id) INTO v_ids FROM (
      SELECT id FROM hookflow_0_0_workflowrun AS old
      WHERE id > p_after AND NOT EXISTS (SELECT FROM django_hookflow_head AS head WHERE head.run_id = old.run_id)
      ORDER BY id LIMIT p_number) AS next;
  END IF;
  IF v_ids IS NULL THEN
    SELECT array_agg(-id ORDER BY id) INTO v_ids FROM (
      SELECT id FROM hookflow_0_0_deadletterentry AS old
      WHERE id > greatest(-p_after, 0) AND NOT EXISTS (SELECT FROM django_hookflow_head AS head WHERE head.run_id = old.run_id)
        AND NOT EXISTS (SELECT FROM hookflow_0_0_workflowrun AS run WHERE run.run_id = old.run_id)
        AND NOT EXISTS (SELECT FROM hookflow_0_0_deadletterentry AS later WHERE later.run_id = old.run_id AND later.id > old.id)
      ORDER BY id LIMIT p_number) AS next;
  END IF;
  PERFORM hookflow_import_runs(v_ids);
  RETURN v_ids[cardinality(v_ids)];
END $$;

-- The key of an old run in the log, and the other way round, for columns of a project's tables.
CREATE FUNCTION hookflow_new_key(p_id bigint) RETURNS uuid LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN (SELECT head.run_uid FROM hookflow_0_0_workflowrun AS old JOIN django_hookflow_head AS head USING (run_id) WHERE old.id = p_id);
END $$;
CREATE FUNCTION hookflow_old_key(p_run_uid uuid) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN (SELECT old.id FROM hookflow_0_0_workflowrun AS old JOIN django_hookflow_head AS head USING (run_id) WHERE head.run_uid = p_run_uid);
END $$;

-- Has the foreign keys of a project's tables that reference one table of runs reference the other, and answers how many: a
-- column that holds keys changes its type with them, its indexes stay. The table is rewritten for that.
--   p_from, p_to  the tables of runs, the old and the new one or the other way round
--   p_key         the function that gives the new key for an old one; where there is none the column becomes null
CREATE FUNCTION hookflow_convert_references(p_from regclass, p_to regclass, p_key regproc) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  v_type   text := (SELECT prorettype::regtype FROM pg_proc WHERE oid = p_key);
  v_number integer := 0;
  found    record;
BEGIN
  FOR found IN
    SELECT c.conrelid::regclass AS relation, c.conname, a.attname, target.attname AS target, c.condeferrable, c.condeferred,
      CASE c.confdeltype WHEN 'c' THEN 'CASCADE' WHEN 'n' THEN 'SET NULL' WHEN 'd' THEN 'SET DEFAULT' WHEN 'r' THEN 'RESTRICT' ELSE 'NO ACTION' END AS on_delete
    FROM pg_constraint AS c
    JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
    JOIN pg_attribute AS target ON target.attrelid = c.confrelid AND target.attnum = c.confkey[1]
    WHERE c.contype = 'f' AND c.confrelid = p_from AND cardinality(c.conkey) = 1 AND c.conparentid = 0
      AND c.conrelid IS DISTINCT FROM to_regclass('hookflow_0_0_stepexecution') AND target.attname IN ('id', 'run_id')
  LOOP
    EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', found.relation, found.conname);
    IF found.target = 'id' THEN
      EXECUTE format('ALTER TABLE %1$s ALTER COLUMN %2$I TYPE %3$s USING %4$s(%2$I)', found.relation, found.attname, v_type, p_key);
    END IF;
    EXECUTE format('ALTER TABLE %s ADD CONSTRAINT %I FOREIGN KEY (%I) REFERENCES %s (%I) ON DELETE %s%s%s',
      found.relation, found.conname, found.attname, p_to, found.target, found.on_delete,
      CASE WHEN found.condeferrable THEN ' DEFERRABLE' ELSE '' END, CASE WHEN found.condeferred THEN ' INITIALLY DEFERRED' ELSE '' END);
    v_number := v_number + 1;
  END LOOP;
  RETURN v_number;
END $$;

-- The same for a column that holds keys of runs and has no constraint (db_constraint=False), which only Django knows of. False:
-- there is no such column of the type of the old keys.
CREATE FUNCTION hookflow_convert_column(p_table text, p_column text, p_key regproc) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  v_routine pg_proc%ROWTYPE;
BEGIN
  SELECT * INTO v_routine FROM pg_proc WHERE oid = p_key;
  IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass(quote_ident(p_table)) AND attname = p_column
                 AND atttypid = v_routine.proargtypes[0] AND NOT attisdropped) THEN
    RETURN false;
  END IF;
  EXECUTE format('ALTER TABLE %1$I ALTER COLUMN %2$I TYPE %3$s USING %4$s(%2$I)', p_table, p_column, v_routine.prorettype::regtype, p_key);
  RETURN true;
END $$;

-- All of it: p_number runs a transaction, then the foreign keys. May be stopped and called again.
CREATE PROCEDURE hookflow_import(p_number integer DEFAULT 500) LANGUAGE plpgsql AS $$
DECLARE
  v_after bigint := 0;
BEGIN
  LOOP
    v_after := hookflow_import_next(v_after, p_number);
    EXIT WHEN v_after IS NULL;
    COMMIT;
  END LOOP;
  IF to_regclass('hookflow_0_0_workflowrun') IS NOT NULL THEN
    PERFORM hookflow_convert_references('hookflow_0_0_workflowrun', 'django_hookflow_workflowrun', 'hookflow_new_key');
  END IF;
END $$;

-- Takes over the run that a message of 0.0.x is about: such a message carries what the run was started with and the
-- results of its steps, here as the codec writes them. A run that was imported and is held for that goes on; one that is
-- not known (0.0.x kept none, or a process that had not been replaced yet started it) begins with what the message brings.
-- Answers the seq of the turn that is announced now; null when there is nothing to do, because the run has gone on or
-- ended since, or somebody has it held. p_grace and p_reach as for hookflow_append.
CREATE FUNCTION hookflow_take_over(
  p_workflow_id text, p_run_id text, p_data json, p_steps json, p_grace interval, p_reach interval
) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  head    django_hookflow_head%ROWTYPE;
  started record;
  v_types text[];
  v_ids   text[];
  v_facts json[];
  v_loads json[];
  v_is_new boolean;
BEGIN
  IF to_regclass('hookflow_0_0_workflowrun') IS NOT NULL THEN  -- the import may not have come to it yet
    PERFORM hookflow_import_runs(ARRAY(SELECT id FROM hookflow_0_0_workflowrun WHERE run_id = p_run_id));
  END IF;
  SELECT * INTO head FROM django_hookflow_head WHERE run_id = p_run_id FOR NO KEY UPDATE;
  IF FOUND AND (head.workflow_id <> p_workflow_id OR NOT EXISTS (
    SELECT FROM django_hookflow_wait AS wait JOIN django_hookflow_event AS event ON event.run_uid = wait.run_uid AND event.seq = wait.since_seq - 1
    WHERE wait.run_uid = head.run_uid AND wait.step_id = '' AND wait.kind = 'hold' AND event.type = 'run.imported')) THEN
    RETURN NULL;
  END IF;
  SELECT array_agg('step.completed'::text ORDER BY n), array_agg(key ORDER BY n),
    array_agg(json_build_object('kind', CASE WHEN hookflow_slept_for(value::jsonb, to_timestamp((value->>'timestamp')::float8)) IS NULL
                                             THEN 'imported' ELSE 'sleep' END, 'attempt', 1) ORDER BY n),
    array_agg(json_build_object('result', value) ORDER BY n)
    INTO v_types, v_ids, v_facts, v_loads
  FROM json_each(p_steps) WITH ORDINALITY AS step (key, value, n)
  WHERE NOT EXISTS (SELECT FROM django_hookflow_stepexecution AS s WHERE s.workflow_run_id = head.run_uid AND s.step_id = key);

  v_is_new := head.run_uid IS NULL;
  IF v_is_new THEN
    SELECT * INTO started FROM hookflow_start(hookflow_old_uid(p_run_id, hookflow_now()), p_run_id, p_workflow_id,
      json_build_object('origin', json_build_object('kind', 'import', 'events', coalesce(cardinality(v_types), 0) + 2)),
      json_build_object('data', p_data), NULL);
    IF NOT started.created THEN
      RETURN NULL;
    END IF;
    head.run_uid := started.run_uid;
    v_types := v_types || 'run.imported'::text;
    v_ids := v_ids || NULL::text;
    v_facts := v_facts || '{"from": "a message of django-hookflow 0.0.x"}'::json;
    v_loads := v_loads || NULL::json;
  END IF;
  IF v_types IS NOT NULL THEN
    SELECT seq INTO head.last_seq FROM hookflow_append(head.run_uid, NULL, v_types, v_ids, v_facts, v_loads, NULL);
  END IF;
  IF NOT v_is_new THEN
    RETURN (SELECT operated.seq FROM hookflow_operate(head.run_uid, 'resume', NULL, '{}',
      '{"reason": "its message of django-hookflow 0.0.x has come"}', NULL, p_grace, p_reach) AS operated);
  END IF;
  PERFORM hookflow_announce(head.run_uid, head.last_seq, false, p_grace, p_reach);
  RETURN head.last_seq;
END $$;
