-- Every hash of the runs from one run_uid to another, computed again by the server, and the runs that do not hold.
--
-- One statement, so one snapshot: a run's events and its head are seen at the same moment, and an append that goes on
-- beside it makes no difference. It calls no function of ours: the owner could have replaced it. Only what stands in the
-- event table is believed of an event, and its facts are opened only where its hash holds: a text put there by hand may be
-- one that cannot be read at all. What comes to null does not hold. A missing salt counts as an empty one: a payload
-- without a salt was never written by an append, and must not pass for no payload. An archived run has its events
-- elsewhere; it is counted and left out, unless it has events after all, and its tombstone is hashed as the event that
-- would follow the last one. Its facts are compared as the text that makes them begin, and not opened.
--
-- `notes` are the redacted events, the redactions on record, and what these retained. By the event they are about: it is
-- redacted if and only if a redaction of it is on record, what was retained comes right after one, and only what the last
-- of them retained is not redacted in turn.
WITH head AS (
  SELECT * FROM django_hookflow_head WHERE run_uid BETWEEN %(from)s AND %(to)s
), hashed AS (
  SELECT run_uid, seq, type, step_id, actor, facts, payload, salt, payload_digest, recorded_at, version, hash,
    coalesce(lag(hash) OVER run, sha256(uuid_send(run_uid))) AS previous, seq = row_number() OVER run AS is_next,
    lead(seq) OVER run IS NULL AS is_last, false AS is_tombstone
  FROM django_hookflow_event WHERE run_uid BETWEEN %(from)s AND %(to)s
  WINDOW run AS (PARTITION BY run_uid ORDER BY seq)
  UNION ALL
  SELECT run_uid, last_seq + 1, 'run.archived', NULL, NULL, tombstone, NULL, NULL, NULL, archived_at, 1::smallint,
    tombstone_hash, head_hash, true, false, true
  FROM head WHERE archived_at IS NOT NULL AND last_seq < 2147483647
), event AS (
  -- The layout is that of evidence/audit.py.
  SELECT run_uid, seq, type, recorded_at, hash, is_last, is_tombstone, payload_digest IS NOT NULL AS is_redacted,
    payload_digest IS NOT NULL OR type IN ('event.redacted', 'event.retained') AS is_note,
    CASE WHEN seq = 1 OR type IN ('event.redacted', 'event.retained') THEN facts END AS facts,
    coalesce(is_next AND (payload_digest IS NULL OR (payload IS NULL AND salt IS NULL))
      AND CASE WHEN isfinite(recorded_at) THEN hash = sha256(
        decode('48463100', 'hex') || previous || uuid_send(run_uid) || int4send(seq)
        || int8send((extract(epoch FROM recorded_at) * 1000000)::bigint) || int2send(version)
        || int4send(octet_length(type)) || convert_to(type, 'UTF8')
        || coalesce(int4send(octet_length(step_id)) || convert_to(step_id, 'UTF8'), int4send(-1))
        || coalesce(int4send(octet_length(actor)) || convert_to(actor, 'UTF8'), int4send(-1))
        || int4send(octet_length(facts::text)) || convert_to(facts::text, 'UTF8')
        || coalesce(payload_digest, sha256(coalesce(salt, decode('', 'hex')) || convert_to(payload::text, 'UTF8')),
             decode('', 'hex'))) END,
      false) AS holds
  FROM hashed
  OFFSET 0  -- or each of the places below that ask whether it holds would compute the hash anew
), run AS (
  SELECT run_uid, nullif(count(*) FILTER (WHERE NOT is_tombstone), 0) AS events,
    bool_and(holds) FILTER (WHERE NOT is_tombstone) AS holds, bool_or(holds) FILTER (WHERE is_tombstone) AS tombstone_holds,
    (array_agg(hash) FILTER (WHERE is_last))[1] AS last_hash,
    max(recorded_at) FILTER (WHERE is_last) AS last_at,
    max(CASE WHEN holds AND seq = 1 THEN facts->>'run_id' END) AS run_id,
    max(CASE WHEN holds AND seq = 1 THEN facts->>'workflow' END) AS workflow_id,
    array_agg(seq) FILTER (WHERE is_note) AS note_seqs,
    array_agg(type) FILTER (WHERE is_note) AS note_types,
    array_agg(is_redacted) FILTER (WHERE is_note) AS note_marks,
    array_agg(facts) FILTER (WHERE is_note) AS note_facts
  FROM event GROUP BY run_uid
)
SELECT count(*) FILTER (WHERE archived_at IS NULL) AS runs,
  coalesce(sum(run.events), 0)::bigint AS events,
  count(*) FILTER (WHERE archived_at IS NOT NULL) AS archived,
  coalesce(array_agg(run_uid ORDER BY run_uid) FILTER (WHERE CASE
    WHEN head.archived_at IS NOT NULL THEN (run.events IS NULL AND tombstone_holds AND starts_with(tombstone::text,
      '{"run_id" : ' || to_json(head.run_id)::text || ', "workflow" : ' || to_json(head.workflow_id)::text || ', ')) IS NOT TRUE
    WHEN (run.holds AND run.events = head.last_seq AND run.last_hash = head.head_hash AND run.last_at = head.last_at
      AND run.run_id = head.run_id AND run.workflow_id = head.workflow_id AND num_nonnulls(tombstone, tombstone_hash) = 0) IS NOT TRUE THEN true
    WHEN note_seqs IS NULL THEN false
    ELSE EXISTS (
      SELECT FROM unnest(note_seqs, note_types, note_marks, note_facts) AS note (seq, type, is_redacted, facts)
      GROUP BY CASE WHEN type IN ('event.redacted', 'event.retained') THEN facts->>'seq' ELSE seq::text END
      HAVING coalesce(bool_or(is_redacted AND type <> 'event.retained'), false) <> bool_or(type = 'event.redacted')
        OR NOT coalesce(array_agg(seq - 1) FILTER (WHERE type = 'event.retained'), '{}')
          <@ coalesce(array_agg(seq) FILTER (WHERE type = 'event.redacted'), '{}')
        OR max(seq) FILTER (WHERE type = 'event.retained' AND is_redacted) > max(seq) FILTER (WHERE type = 'event.redacted')
        OR min(seq) FILTER (WHERE type = 'event.retained' AND NOT is_redacted) < max(seq) FILTER (WHERE type = 'event.redacted')
    )
  END), '{}') AS broken
FROM run FULL JOIN head USING (run_uid)
