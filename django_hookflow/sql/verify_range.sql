-- Every hash of the runs from one run_uid to another, computed again by the server, and the runs that do not hold.
--
-- One statement, so one snapshot: a run's events and its head are seen at the same moment, and an append that goes on
-- beside it makes no difference. Only what stands in the event table is believed of an event; what a payload says is
-- looked at only where its hash holds, since a text put there by hand may be one that cannot be read at all.
-- A missing salt counts as an empty one: a payload without a salt was never written by an append, and must not pass for
-- no payload. Each redaction is on record as an event; what one retained goes with the next. An archived run has its events elsewhere; it is counted and left out, unless it has events after all.
WITH event AS (
  SELECT run_uid, seq, type, payload, payload_digest, recorded_at, hash,
    lead(seq) OVER run IS NULL AS is_last,
    seq = row_number() OVER run
      AND (payload_digest IS NULL OR (payload IS NULL AND salt IS NULL))
      AND CASE WHEN isfinite(recorded_at) THEN hash = hookflow_event_hash(
        coalesce(lag(hash) OVER run, sha256(uuid_send(run_uid))), run_uid, seq, recorded_at, version, type, step_id, actor,
        coalesce(payload_digest, sha256(coalesce(salt, ''::bytea) || convert_to(payload::text, 'UTF8')))) ELSE false END AS holds
  FROM django_hookflow_event WHERE run_uid BETWEEN %(from)s AND %(to)s
  WINDOW run AS (PARTITION BY run_uid ORDER BY seq)
), run AS (
  SELECT run_uid, count(*) AS events, bool_and(holds) AS holds,
    (array_agg(hash) FILTER (WHERE is_last))[1] AS last_hash,
    max(recorded_at) FILTER (WHERE is_last) AS last_at,
    max(CASE WHEN holds AND seq = 1 THEN payload->>'run_id' END) AS run_id,
    max(CASE WHEN holds AND seq = 1 THEN payload->>'workflow_id' END) AS workflow_id,
    array_agg(seq::text) FILTER (WHERE payload_digest IS NOT NULL AND type <> 'event.retained') AS redacted,
    array_agg(payload->>'seq') FILTER (WHERE type = 'event.redacted' AND holds) AS redacted_on_record,
    max(seq) FILTER (WHERE payload_digest IS NOT NULL AND type = 'event.retained') AS last_redacted_rest,
    max(seq) FILTER (WHERE type = 'event.redacted') AS last_redaction
  FROM event GROUP BY run_uid
)
SELECT count(*) FILTER (WHERE archived_at IS NULL) AS runs,
  coalesce(sum(run.events), 0)::bigint AS events,
  count(*) FILTER (WHERE archived_at IS NOT NULL) AS archived,
  coalesce(array_agg(run_uid ORDER BY run_uid) FILTER (WHERE CASE
    WHEN head.archived_at IS NOT NULL THEN run.events IS NOT NULL
    ELSE (holds AND run.events = head.last_seq AND run.last_hash = head.head_hash AND run.last_at = head.last_at
      AND coalesce(run.run_id, head.run_id) = head.run_id
      AND coalesce(run.workflow_id, head.workflow_id) = head.workflow_id
      AND NOT EXISTS (SELECT unnest(redacted) EXCEPT SELECT unnest(redacted_on_record))
      AND (last_redacted_rest IS NULL OR last_redacted_rest < last_redaction)) IS NOT TRUE
  END), '{}') AS broken
FROM run FULL JOIN (
  SELECT * FROM django_hookflow_head WHERE run_uid BETWEEN %(from)s AND %(to)s
) AS head USING (run_uid)
