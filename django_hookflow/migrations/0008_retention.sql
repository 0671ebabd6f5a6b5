-- Retention: what makes room in the log without making holes in it.
--
-- A run that has ended may be retired (hookflow_retire): its events and its rows in the projections go, its head stays,
-- marked as archived. That is the run's tombstone: its id is not given away again, nothing is appended to it, and where
-- its chain ended can be held against an archive for ever. The guards of 0001 let events go only under such a head.
-- What the retirement itself says (the run's names, where its events went, by which login) is hashed as an event
-- `run.archived` after the last one would be: a head that was marked by hand has no such hash, and checkpoints cover it.
--
-- Where there is much to retire, the log is cut into partitions, one for each month (hookflow_add_partitions), and a
-- month whose runs are all retired goes as a whole (hookflow_detach_partition). The two procedures are for the owner of
-- the log, from psql or by manage.py; they take their locks for moments and give up waiting rather than make others wait.

-- Retires runs, as far as each of them has ended before p_ended_before, is still at the seq and hash the caller knows
-- (whoever archived it has archived all of it), and is held by nobody. The others are left as they are.
--   p_keeps_dead_letters  rows of DeadLetterEntry stay: to be looked at, no longer to be replayed
--   p_keeps_events        the events stay where they are, to be detached with their partition
--   p_archive             the name of the file that has the events; null: they are removed for good
-- Whether a run has ended is read from its events; a row of a projection may be a hand's work.
CREATE FUNCTION hookflow_retire(
  p_run_uids uuid[], p_last_seqs integer[], p_head_hashes bytea[], p_ended_before timestamptz,
  p_keeps_dead_letters boolean DEFAULT false, p_keeps_events boolean DEFAULT false, p_archive text DEFAULT NULL
) RETURNS TABLE (runs uuid[], events bigint, steps bigint, dead_letters bigint) LANGUAGE plpgsql AS $$
DECLARE
  v_now  timestamptz := hookflow_now();
  v_held uuid[];
BEGIN
  -- Nobody is waited for, so there is no order of locks to get wrong.
  SELECT array_agg(held.run_uid) INTO v_held FROM (
    SELECT head.run_uid
    FROM unnest(p_run_uids, p_last_seqs, p_head_hashes) AS known (run_uid, last_seq, head_hash)
    JOIN django_hookflow_head AS head USING (run_uid)
    WHERE head.archived_at IS NULL AND head.last_seq = known.last_seq AND head.head_hash = known.head_hash
    FOR NO KEY UPDATE OF head SKIP LOCKED
  ) AS held;
  SELECT coalesce(array_agg(ended.run_uid), '{}') INTO runs FROM (
    SELECT DISTINCT ON (event.run_uid) event.run_uid, hookflow_ends_run(event.type) AS has_ended, event.recorded_at
    FROM django_hookflow_event AS event
    WHERE event.run_uid = ANY (v_held) AND hookflow_status_after(event.type, CASE WHEN event.type = 'step.suspended' THEN event.facts->>'kind' END) IS NOT NULL
    ORDER BY event.run_uid, event.seq DESC
  ) AS ended
  WHERE ended.has_ended AND ended.recorded_at < least(p_ended_before, v_now)
    -- A cancelled run may have a worker that is still at its last step.
    AND NOT EXISTS (SELECT FROM django_hookflow_lease AS lease
                    WHERE lease.run_uid = ended.run_uid AND lease.renewed_at <= v_now AND lease.expires_at > v_now)
    -- What it came to is still to be handed on, to the run that waits for it or to those that it started.
    AND NOT EXISTS (SELECT FROM django_hookflow_outbox AS outbox WHERE outbox.run_uid = ended.run_uid AND outbox.kind = 'ended')
    AND NOT EXISTS (SELECT FROM django_hookflow_workflowrun AS child
                    JOIN django_hookflow_wait AS wait ON wait.run_uid = child.parent_uid AND wait.step_id = child.parent_step
                      AND wait.kind = 'child'
                    CROSS JOIN LATERAL hookflow_ended_child(wait) AS waited (run_uid)
                    WHERE child.id = ended.run_uid AND waited.run_uid = ended.run_uid);
  SELECT count(*) INTO steps FROM django_hookflow_stepexecution WHERE workflow_run_id = ANY (runs);
  UPDATE django_hookflow_head AS head SET archived_at = v_now, tombstone = stone.facts,
    tombstone_hash = hookflow_event_hash(head.head_hash, head.run_uid, head.last_seq + 1, v_now, 1::smallint, 'run.archived',
      NULL, NULL, stone.facts::text, NULL)
  FROM (
    SELECT run_uid, json_build_object('run_id', run_id, 'workflow', workflow_id, 'archive', p_archive, 'login', session_user,
      'dead_letters', CASE WHEN p_keeps_dead_letters THEN (
        SELECT json_agg(letter.seq ORDER BY letter.seq) FROM django_hookflow_deadletterentry AS letter
        WHERE letter.run_uid = retired.run_uid) END) AS facts
    FROM django_hookflow_head AS retired WHERE run_uid = ANY (runs)
  ) AS stone WHERE head.run_uid = stone.run_uid;
  events := 0;
  IF NOT p_keeps_events THEN
    DELETE FROM django_hookflow_event WHERE run_uid = ANY (runs);
    GET DIAGNOSTICS events = ROW_COUNT;
  END IF;
  dead_letters := 0;
  IF NOT p_keeps_dead_letters THEN
    DELETE FROM django_hookflow_deadletterentry WHERE run_uid = ANY (runs);
    GET DIAGNOSTICS dead_letters = ROW_COUNT;
  END IF;
  DELETE FROM django_hookflow_workflowrun WHERE id = ANY (runs);
  DELETE FROM django_hookflow_wait WHERE run_uid = ANY (runs);
  DELETE FROM django_hookflow_outbox WHERE run_uid = ANY (runs);
  DELETE FROM django_hookflow_lease WHERE run_uid = ANY (runs);
  RETURN NEXT;
END $$;

-- Removes dead letters written before p_created_before and answers how many. Of a run that stays it takes an event, or a
-- rebuild would bring them back; what was kept of an archived run is a row without a log and simply goes. Runs that
-- somebody holds or is working on are left alone.
CREATE FUNCTION hookflow_remove_dead_letters(p_ids bigint[], p_created_before timestamptz, p_actor text) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
  v_now   timestamptz := hookflow_now();
  v_held  uuid[];
  dead    record;
  removed bigint := 0;
BEGIN
  SELECT array_agg(held.run_uid) INTO v_held FROM (
    SELECT head.run_uid FROM django_hookflow_head AS head
    WHERE head.run_uid IN (SELECT run_uid FROM django_hookflow_deadletterentry WHERE id = ANY (p_ids))
      AND NOT EXISTS (SELECT FROM django_hookflow_lease AS lease
                      WHERE lease.run_uid = head.run_uid AND lease.renewed_at <= v_now AND lease.expires_at > v_now)
    FOR NO KEY UPDATE OF head SKIP LOCKED
  ) AS held;
  FOR dead IN
    SELECT entry.id, entry.run_uid, entry.seq, head.archived_at
    FROM django_hookflow_deadletterentry AS entry JOIN django_hookflow_head AS head USING (run_uid)
    WHERE entry.id = ANY (p_ids) AND entry.run_uid = ANY (v_held) AND entry.created_at < p_created_before
    ORDER BY entry.id
  LOOP
    IF dead.archived_at IS NULL THEN
      PERFORM hookflow_append(dead.run_uid, NULL, ARRAY['dead_letter.removed'], ARRAY[NULL::text],
        ARRAY[json_build_object('failed_seq', dead.seq)], ARRAY[NULL::json], p_actor);
    ELSE
      DELETE FROM django_hookflow_deadletterentry WHERE id = dead.id;
    END IF;
    removed := removed + 1;
  END LOOP;
  RETURN removed;
END $$;

-- Partitions.

-- The least run_uid a run can have that starts at this moment: a UUIDv7 begins with its time in milliseconds (48 bits).
CREATE FUNCTION hookflow_uid_at(p_at timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT (lpad(to_hex(floor(extract(epoch FROM p_at) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
$$;

-- The moment at which a run with this run_uid started, by the clock of the process that started it.
CREATE FUNCTION hookflow_time_of(p_run_uid uuid) RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT to_timestamp(('x' || left(replace(p_run_uid::text, '-', ''), 12))::bit(48)::bigint / 1000.0)
$$;

-- The first moment of the month that is p_months after the one of p_at. Months are UTC's.
CREATE FUNCTION hookflow_month(p_at timestamptz, p_months integer DEFAULT 0) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT (date_trunc('month', p_at AT TIME ZONE 'UTC') + make_interval(months => p_months)) AT TIME ZONE 'UTC'
$$;

-- The partitions of the log in the order of their runs; null for an open end. The catch-all is the one without `until`.
CREATE FUNCTION hookflow_partitions() RETURNS TABLE (
  relation regclass, name text, from_uid uuid, to_uid uuid, since timestamptz, until timestamptz, events bigint, bytes bigint
) LANGUAGE sql STABLE AS $$
  SELECT part.oid::regclass, part.relname::text, bounds.from_uid, bounds.to_uid,
    hookflow_time_of(bounds.from_uid), hookflow_time_of(bounds.to_uid),
    greatest(part.reltuples, 0)::bigint, pg_total_relation_size(part.oid)
  FROM pg_inherits JOIN pg_class AS part ON part.oid = inhrelid,
    LATERAL (SELECT substring(bound, 'FROM [(]''(.{36})''[)]')::uuid AS from_uid, substring(bound, 'TO [(]''(.{36})''[)]')::uuid AS to_uid
             FROM pg_get_expr(part.relpartbound, part.oid) AS bound WHERE bound <> 'DEFAULT') AS bounds
  WHERE inhparent = 'django_hookflow_event'::regclass
  ORDER BY bounds.from_uid NULLS FIRST
$$;

-- Runs statements that need locks everyone else needs as well: it gives up each time after p_lock_timeout, so whoever
-- waits behind us waits no longer than that, and tries again p_tries times. p_failure says why it came to nothing, or null.
CREATE PROCEDURE hookflow_take_moment(p_statements text, p_lock_timeout interval, p_tries integer, INOUT p_failure text DEFAULT NULL)
LANGUAGE plpgsql AS $$
BEGIN
  FOR i IN 1 .. p_tries LOOP
    p_failure := NULL;
    -- What is looked at behind a lock has to be what was committed before it, whatever the session's default.
    COMMIT;
    SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
    BEGIN
      PERFORM set_config('lock_timeout', (extract(epoch FROM p_lock_timeout) * 1000)::integer::text, true);
      EXECUTE p_statements;
    EXCEPTION
      WHEN lock_not_available OR deadlock_detected THEN
        p_failure := 'the table was locked by other transactions: look for long transactions in pg_stat_activity';
      WHEN OTHERS THEN
        p_failure := regexp_replace(SQLERRM, '^hookflow: ', '');
        RETURN;
    END;
    IF p_failure IS NULL THEN
      COMMIT;
      RETURN;
    END IF;
    -- Somebody is in a long transaction. Those who queued behind us pass, then we try again.
    ROLLBACK;
    PERFORM pg_sleep(least(0.02 * i, 1));
  END LOOP;
END $$;

-- A new partition, guarded like the others: row triggers follow by themselves, statement triggers do not.
CREATE FUNCTION hookflow_partition_sql(p_name text, p_from uuid, p_to uuid) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT format('CREATE TABLE %1$s.%2$I PARTITION OF %3$s FOR VALUES FROM (%4$s) TO (%5$s) '
      'WITH (autovacuum_vacuum_insert_scale_factor = 0.05); ALTER TABLE %1$s.%2$I OWNER TO %6$I; '
      'CREATE TRIGGER %7$I BEFORE TRUNCATE ON %1$s.%2$I FOR EACH STATEMENT EXECUTE FUNCTION %8$s(); '
      'ALTER TABLE %1$s.%2$I ENABLE ALWAYS TRIGGER %7$I; ',
    relnamespace::regnamespace, p_name, log.oid::regclass, coalesce(quote_literal(p_from), 'MINVALUE'),
    coalesce(quote_literal(p_to), 'MAXVALUE'), pg_get_userbyid(relowner), p_name || '_truncate', guard.tgfoid::regproc)
  FROM pg_class AS log JOIN pg_trigger AS guard ON guard.tgrelid = log.oid AND guard.tgtype & 32 > 0
  WHERE log.oid = 'django_hookflow_event'::regclass AND (SELECT starts_with(proname, 'pgtrigger_guard_') FROM pg_proc WHERE pg_proc.oid = guard.tgfoid)
$$;

-- The name of the partition for the time from one moment to another: its month, or what it reaches to.
CREATE FUNCTION hookflow_partition_name(p_since timestamptz, p_until timestamptz) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT 'django_hookflow_event_' || CASE
    WHEN p_until IS NULL THEN 'all'
    WHEN p_since = hookflow_month(p_since) AND p_until = hookflow_month(p_since, 1) THEN to_char(p_since AT TIME ZONE 'UTC', 'YYYY_MM')
    ELSE 'until_' || to_char(p_until AT TIME ZONE 'UTC', 'YYYY_MM_DD') END
$$;

-- Adds a partition for each of the next p_months months, if it is not there, in front of a catch-all for what comes after.
--
-- For that the catch-all is split, at a boundary in the future, so that all its events stay where they are. Nothing is
-- copied, and nothing is scanned while others wait: a CHECK that says on which side of the boundary its events lie is
-- added (a moment's lock), validated (beside running appends), and makes the re-attachment free (another moment's lock).
-- The boundary is at least a week away, because until the split is done the CHECK refuses what lies beyond it. If the
-- server dies in between, the CHECK stays; the next call takes up where this one was.
CREATE PROCEDURE hookflow_add_partitions(p_months integer DEFAULT 3, p_lock_timeout interval DEFAULT '200 ms', p_tries integer DEFAULT 100)
LANGUAGE plpgsql AS $$
DECLARE
  v_now   timestamptz := hookflow_now();
  v_end   timestamptz := hookflow_month(v_now, p_months + 1);        -- where the catch-all is to begin
  v_first timestamptz := hookflow_month(v_now + interval '7 days', 1);  -- where the first new month begins
  v_all   record;
  v_low   boolean;   -- the present catch-all has events from before v_first and becomes what lies before it
  v_side  text;      -- on which side of the boundary its events lie
  v_stray uuid;
  v_left  text;      -- takes away what an interrupted call has left
  v_why   text;      -- why it came to nothing
  v_bomb  text;      -- and why not even the CHECK could be taken away again
BEGIN
  SELECT * INTO v_all FROM hookflow_partitions() WHERE to_uid IS NULL;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'hookflow: the log has no partition with the upper bound MAXVALUE'
      USING ERRCODE = 'restrict_violation', HINT = 'Add one as described in migrations_sql/README.md.';
  END IF;
  SELECT format('ALTER TABLE %s DROP CONSTRAINT django_hookflow_event_split; ', v_all.relation) INTO v_left
    FROM pg_constraint WHERE conrelid = v_all.relation AND conname = 'django_hookflow_event_split';
  v_first := greatest(v_first, v_all.since);
  IF v_first >= v_end THEN
    IF v_left IS NOT NULL THEN
      CALL hookflow_take_moment(v_left, p_lock_timeout, p_tries, v_why);
    END IF;
    RETURN;
  END IF;
  v_low := v_first IS DISTINCT FROM v_all.since;
  v_side := CASE WHEN v_low
    THEN format('run_uid < %L', hookflow_uid_at(v_first)) || coalesce(' AND run_uid >= ' || quote_literal(v_all.from_uid), '')
    ELSE format('run_uid >= %L', hookflow_uid_at(v_end)) END;

  -- One comparison with the key, for which the index has the answer.
  EXECUTE format('SELECT run_uid FROM %s WHERE NOT (%s) LIMIT 1', v_all.relation, split_part(v_side, ' AND ', 1)) INTO v_stray;
  IF v_stray IS NOT NULL THEN
    RAISE EXCEPTION 'hookflow: % cannot be split at %: run % is on the wrong side according to the time in its ID', v_all.name,
      CASE WHEN v_low THEN v_first ELSE v_end END, v_stray
      USING ERRCODE = 'restrict_violation',
        HINT = 'A clock may have been wrong. Once that run has ended, remove it with cleanup_workflows.';
  END IF;
  CALL hookflow_take_moment(coalesce(v_left, '') || format('ALTER TABLE %s ADD CONSTRAINT django_hookflow_event_split CHECK (%s) NOT VALID',
    v_all.relation, v_side), p_lock_timeout, p_tries, v_why);
  IF v_why IS NULL THEN
    BEGIN
      EXECUTE format('ALTER TABLE %s VALIDATE CONSTRAINT django_hookflow_event_split', v_all.relation);
    EXCEPTION WHEN OTHERS THEN
      v_why := SQLERRM;
    END;
    COMMIT;
    IF v_why IS NULL THEN
      CALL hookflow_take_moment(hookflow_split_sql(v_low, v_first, v_end), p_lock_timeout, p_tries, v_why);
    END IF;
    IF v_why IS NOT NULL THEN
      CALL hookflow_take_moment(format('ALTER TABLE %s DROP CONSTRAINT django_hookflow_event_split', v_all.relation),
        p_lock_timeout, p_tries, v_bomb);
    END IF;
  END IF;
  IF v_why IS NOT NULL THEN
    RAISE EXCEPTION 'hookflow: % was not split: %', v_all.name, v_why
      USING ERRCODE = 'restrict_violation', HINT = CASE WHEN v_bomb IS NULL THEN 'Call it again.'
        ELSE 'Call it again: until it succeeds, the CHECK django_hookflow_event_split rejects runs from ' || v_first || ' on.' END;
  END IF;
END $$;

-- What turns the catch-all into two partitions or more, once its CHECK is validated.
CREATE FUNCTION hookflow_split_sql(p_low boolean, p_first timestamptz, p_end timestamptz) RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
  v_all   record;
  v_index record;
  v_name  text;
  v_next  timestamptz;
  v_since timestamptz := p_first;
  -- Validated before, this is nothing to do; if somebody has taken it away meanwhile, we go no further.
  v_sql   text := 'LOCK TABLE ONLY django_hookflow_event IN ACCESS EXCLUSIVE MODE; ALTER TABLE %1$s VALIDATE CONSTRAINT '
    'django_hookflow_event_split; ALTER TABLE django_hookflow_event DETACH PARTITION %1$s; '
    'ALTER TABLE django_hookflow_event ATTACH PARTITION %1$s FOR VALUES FROM (%2$s) TO (%3$s); '
    'ALTER TABLE %1$s DROP CONSTRAINT django_hookflow_event_split; ';
BEGIN
  SELECT * INTO v_all FROM hookflow_partitions() WHERE to_uid IS NULL;
  IF p_low THEN
    v_sql := format(v_sql, v_all.relation, coalesce(quote_literal(v_all.from_uid), 'MINVALUE'), quote_literal(hookflow_uid_at(p_first)));
    v_name := hookflow_partition_name(v_all.since, p_first);
    -- Its parts are renamed with it, or the next catch-all's would have odd names.
    FOR v_index IN SELECT indexrelid::regclass AS relation, relname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
                   WHERE indrelid = v_all.relation AND starts_with(relname, v_all.name) LOOP
      v_sql := v_sql || format('ALTER INDEX %s RENAME TO %I; ', v_index.relation, v_name || substr(v_index.relname, length(v_all.name) + 1));
    END LOOP;
    FOR v_index IN SELECT tgname FROM pg_trigger WHERE tgrelid = v_all.relation AND tgname = v_all.name || '_truncate' LOOP
      v_sql := v_sql || format('ALTER TRIGGER %I ON %s RENAME TO %I; ', v_index.tgname, v_all.relation, v_name || '_truncate');
    END LOOP;
    v_sql := v_sql || format('ALTER TABLE %s RENAME TO %I; ', v_all.relation, v_name)
      || hookflow_partition_sql(hookflow_partition_name(p_end, NULL), hookflow_uid_at(p_end), NULL);
  ELSE
    v_sql := format(v_sql, v_all.relation, quote_literal(hookflow_uid_at(p_end)), 'MAXVALUE');
  END IF;
  WHILE v_since < p_end LOOP
    v_next := hookflow_month(v_since, 1);
    v_sql := v_sql || hookflow_partition_sql(hookflow_partition_name(v_since, v_next), hookflow_uid_at(v_since), hookflow_uid_at(v_next));
    v_since := v_next;
  END LOOP;
  RETURN v_sql;
END $$;

-- The runs of a range that are not retired.
CREATE FUNCTION hookflow_living_runs(p_from uuid, p_to uuid) RETURNS SETOF django_hookflow_head LANGUAGE sql STABLE AS $$
  SELECT * FROM django_hookflow_head
  WHERE (p_from IS NULL OR run_uid >= p_from) AND (p_to IS NULL OR run_uid < p_to) AND archived_at IS NULL
$$;

-- Refuses, if a run of the range is not retired.
CREATE FUNCTION hookflow_refuse_living(p_partition text, p_from uuid, p_to uuid) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_run_id text;
BEGIN
  SELECT run_id INTO v_run_id FROM hookflow_living_runs(p_from, p_to) LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'hookflow: % was not detached: its run % is not archived', p_partition, v_run_id
      USING ERRCODE = 'restrict_violation', CONSTRAINT = 'django_hookflow_partition_of_archived_runs';
  END IF;
END $$;

-- Detaches the oldest partition that is in use, once its runs are all retired; with p_drop it is dropped as well.
-- In its place, and in that of what was detached before it, there is an empty partition, django_hookflow_event_past:
-- a process with a wrong clock may still start a run that is years old by its id.
CREATE PROCEDURE hookflow_detach_partition(
  p_partition text, p_drop boolean DEFAULT false, p_lock_timeout interval DEFAULT '200 ms', p_tries integer DEFAULT 100
) LANGUAGE plpgsql AS $$
DECLARE
  v_part record;
  v_past record;
  v_used boolean;
  v_why  text;
BEGIN
  SELECT * INTO v_part FROM hookflow_partitions() WHERE name = p_partition;
  IF NOT FOUND OR v_part.until IS NULL OR v_part.until > hookflow_now() OR v_part.name = 'django_hookflow_event_past' THEN
    RAISE EXCEPTION 'hookflow: % is not a partition of a past month', p_partition
      USING ERRCODE = 'restrict_violation', HINT = 'SELECT * FROM hookflow_partitions() lists them.';
  END IF;
  SELECT * INTO v_past FROM hookflow_partitions() WHERE from_uid IS NULL AND to_uid <= v_part.from_uid;
  IF FOUND THEN
    EXECUTE format('SELECT EXISTS (SELECT FROM %s)', v_past.relation) INTO v_used;
    IF v_used OR v_past.name <> 'django_hookflow_event_past' OR v_past.to_uid <> v_part.from_uid THEN
      RAISE EXCEPTION 'hookflow: % was not detached: older events are in %', p_partition, v_past.name
        USING ERRCODE = 'restrict_violation',
          HINT = CASE WHEN v_past.name = 'django_hookflow_event_past' AND v_used THEN 'Remove its runs with cleanup_workflows.'
                 ELSE 'Detach the older partitions first.' END;
    END IF;
  END IF;
  PERFORM hookflow_refuse_living(p_partition, v_part.from_uid, v_part.to_uid);
  CALL hookflow_take_moment(
    -- From here on no run can start in it or move; looked at again, then the locks that others would notice.
    format('LOCK TABLE ONLY %1$s IN SHARE ROW EXCLUSIVE MODE; SELECT hookflow_refuse_living(%2$L, %3$L, %4$L); '
      'ALTER TABLE django_hookflow_event DETACH PARTITION %1$s; ', v_part.relation, p_partition, v_part.from_uid, v_part.to_uid)
    || CASE WHEN v_past.relation IS NOT NULL THEN format('DROP TABLE %s; ', v_past.relation) ELSE '' END
    || hookflow_partition_sql('django_hookflow_event_past', NULL, v_part.to_uid)
    || CASE WHEN p_drop THEN format('DROP TABLE %s', v_part.relation) ELSE '' END,
    p_lock_timeout, p_tries, v_why);
  IF v_why IS NOT NULL THEN
    RAISE EXCEPTION 'hookflow: % was not detached: %', p_partition, v_why
      USING ERRCODE = 'restrict_violation', HINT = 'Call it again.';
  END IF;
END $$;
