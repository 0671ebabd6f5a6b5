-- What is new in a slice of the log: visible in `reading` and not in `seen`, in order of position. In the first window,
-- which has no `seen`, an xid that this server cannot have given to so low a position was given by another one, whose
-- log was restored here. A slice ends with the event that takes it over so many bytes, stored or written out: what is
-- stored is known without opening it, so that of many large ones only some are opened. `left_out`: it has ended so.
-- Without `imported`, what was brought into the log from 0.0.x is left out: the origin of such a run says how many
-- events.
SELECT position, counted.run_uid, head.run_id, head.workflow_id, seq, type, step_id, actor, facts, payload, recorded_at,
  version, payload_digest, hash, left_out OR bytes >= %(bytes)s AS left_out
FROM (
  SELECT *, sum(length) OVER (ORDER BY position) AS bytes
  FROM (
    SELECT sized.position, sized.run_uid, sized.seq, sized.type, sized.step_id, sized.actor, sized.facts::text AS facts,
      readable.payload::text AS payload, sized.recorded_at, sized.version, sized.payload_digest, sized.hash,
      coalesce(octet_length(readable.payload::text), 0) AS length, stored >= %(stored)s AS left_out
    FROM (
      SELECT *, sum(size) OVER (ORDER BY position) AS stored
      FROM (
        SELECT position, run_uid, seq, type, step_id, actor, facts, recorded_at, version, payload_digest, hash,
          coalesce(pg_column_size(payload), 0) AS size
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
    ) AS sized
    JOIN hookflow_event_readable AS readable ON readable.run_uid = sized.run_uid AND readable.seq = sized.seq
    WHERE sized.stored - sized.size < %(stored)s
  ) AS written
) AS counted
LEFT JOIN django_hookflow_head AS head ON head.run_uid = counted.run_uid
WHERE bytes - length < %(bytes)s
ORDER BY position
