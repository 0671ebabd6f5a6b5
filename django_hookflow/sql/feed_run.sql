-- A run's events from a seq on, as many as feed_slice.sql takes. Within a run nothing commits out of order.
SELECT counted.position, counted.run_uid, head.run_id, head.workflow_id, seq, type, step_id, actor, facts, payload,
  recorded_at, version, payload_digest, hash
FROM (
  SELECT *, sum(length) OVER (ORDER BY seq) - length AS bytes_before
  FROM (
    SELECT position, run_uid, seq, type, step_id, actor, facts::text AS facts, payload::text AS payload, recorded_at, version,
      payload_digest, hash, coalesce(octet_length(payload::text), 0) AS length
    FROM (
      SELECT *, sum(size) OVER (ORDER BY seq) - size AS stored_before
      FROM (
        SELECT *, coalesce(pg_column_size(payload), 0) AS size FROM hookflow_event_readable
        WHERE run_uid = %(run_uid)s AND seq > %(seq)s AND position > %(after)s
          AND (%(types)s::text[] IS NULL OR type = ANY (%(types)s::text[]))
          AND (%(since)s::timestamptz IS NULL OR recorded_at >= %(since)s::timestamptz)
        ORDER BY seq LIMIT %(limit)s
      ) AS next
    ) AS sized
    WHERE stored_before < %(stored)s
  ) AS written
) AS counted JOIN django_hookflow_head AS head ON head.run_uid = counted.run_uid
WHERE bytes_before < %(bytes)s
ORDER BY seq
