-- A run's events from a seq on. Within a run nothing commits out of order.
SELECT new.position, new.run_uid, head.run_id, head.workflow_id, new.seq, new.type, new.step_id, new.actor,
  new.facts::text AS facts, new.payload::text AS payload, new.recorded_at, new.version, new.payload_digest, new.hash
FROM hookflow_event_readable AS new JOIN django_hookflow_head AS head ON head.run_uid = new.run_uid
WHERE new.run_uid = %(run_uid)s AND new.seq > %(seq)s AND new.position > %(after)s
  AND (%(types)s::text[] IS NULL OR new.type = ANY (%(types)s::text[]))
  AND (%(since)s::timestamptz IS NULL OR new.recorded_at >= %(since)s::timestamptz)
ORDER BY new.seq LIMIT %(limit)s
