-- Every hash of the runs from one run_uid to another, computed again by the server, and the runs that do not hold.
--
-- One statement, so one snapshot: a run's events and its head are seen at the same moment, and an append that goes on
-- beside it makes no difference. Only what stands in the event table is believed of an event, and its facts are opened
-- only where its hash holds: a text put there by hand may be one that cannot be read at all. What comes to null does not
-- hold. A missing salt counts as an empty one: a payload without a salt was never written by an append, and must not pass
-- for no payload. An archived run has its events elsewhere; it is counted and left out, unless it has events after all.
--
-- `notes` are the redacted events, the redactions on record, and what these retained. By the event they are about: it is
-- redacted if and only if a redaction of it is on record, what was retained comes right after one, and only what the last
-- of them retained is not redacted in turn.
WITH event AS (
  SELECT run_uid, seq, type, recorded_at, hash, payload_digest IS NOT NULL AS is_redacted,
    payload_digest IS NOT NULL OR type IN ('event.redacted', 'event.retained') AS is_note,
    CASE WHEN seq = 1 OR type IN ('event.redacted', 'event.retained') THEN facts END AS facts,
    lead(seq) OVER run IS NULL AS is_last,
    coalesce(seq = row_number() OVER run
      AND (payload_digest IS NULL OR (payload IS NULL AND salt IS NULL))
      AND CASE WHEN isfinite(recorded_at) THEN hash = hookflow_event_hash(
        coalesce(lag(hash) OVER run, sha256(uuid_send(run_uid))), run_uid, seq, recorded_at, version, type, step_id, actor,
        facts::text, coalesce(payload_digest, sha256(coalesce(salt, ''::bytea) || convert_to(payload::text, 'UTF8')))) END,
      false) AS holds
  FROM django_hookflow_event WHERE run_uid BETWEEN %(from)s AND %(to)s
  WINDOW run AS (PARTITION BY run_uid ORDER BY seq)
), run AS (
  SELECT run_uid, count(*) AS events, bool_and(holds) AS holds,
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
    WHEN head.archived_at IS NOT NULL THEN run.events IS NOT NULL
    WHEN (holds AND run.events = head.last_seq AND run.last_hash = head.head_hash AND run.last_at = head.last_at
      AND run.run_id = head.run_id AND run.workflow_id = head.workflow_id) IS NOT TRUE THEN true
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
FROM run FULL JOIN (
  SELECT * FROM django_hookflow_head WHERE run_uid BETWEEN %(from)s AND %(to)s
) AS head USING (run_uid)
