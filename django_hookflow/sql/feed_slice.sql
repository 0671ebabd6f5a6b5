-- What is new in a slice of the log: visible in `reading` and not in `seen`, in order of position. In the first window,
-- which has no `seen`, an xid that this server cannot have given to so low a position was given by another one, whose log
-- was restored here.
-- Without `imported`, what was brought into the log from 0.0.x is left out: the origin of such a run says how many events.
SELECT new.position, new.run_uid, head.run_id, head.workflow_id, new.seq, new.type, new.step_id, new.actor,
  new.facts::text AS facts, readable.payload::text AS payload, new.recorded_at, new.version, new.payload_digest, new.hash
FROM (
  SELECT position, run_uid, seq, type, step_id, actor, facts, recorded_at, version, payload_digest, hash
  FROM django_hookflow_event AS event
  WHERE position > %(cursor)s AND position <= %(upto)s
    AND CASE WHEN %(seen)s::pg_snapshot IS NOT NULL
               THEN pg_visible_in_snapshot(xid, %(reading)s::pg_snapshot) AND NOT pg_visible_in_snapshot(xid, %(seen)s::pg_snapshot)
             ELSE pg_visible_in_snapshot(xid, %(reading)s::pg_snapshot)
               OR (position <= %(oracle_position)s AND xid >= %(oracle_xid)s::text::xid8) END
    AND (%(types)s::text[] IS NULL OR type = ANY (%(types)s::text[]))
    AND (%(since)s::timestamptz IS NULL OR recorded_at >= %(since)s::timestamptz)
    AND (%(imported)s OR NOT EXISTS (
      SELECT FROM django_hookflow_event AS origin
      WHERE origin.run_uid = event.run_uid AND origin.seq = 1 AND (origin.facts#>>'{origin,events}')::integer >= event.seq))
  ORDER BY position LIMIT %(limit)s
) AS new
JOIN hookflow_event_readable AS readable ON readable.run_uid = new.run_uid AND readable.seq = new.seq
LEFT JOIN django_hookflow_head AS head ON head.run_uid = new.run_uid
ORDER BY new.position
