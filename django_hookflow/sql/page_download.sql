-- A slice of a run's events as objects of JSON. Facts and payload are the JSON that was recorded, to the letter; the payload
-- of a redacted event is what was retained, or null. A slice ends with the event that takes it over so many bytes, stored or
-- written out: what is stored is known without opening it, so that of many large ones only some are opened.
SELECT seq, line
FROM (
  SELECT seq, line, sum(octet_length(line)) OVER (ORDER BY seq) - octet_length(line) AS bytes_before
  FROM (
    SELECT seq, (SELECT row_to_json(line)::text FROM (
      SELECT seq, type, step_id, actor, recorded_at, redacted, hash, facts, payload
    ) AS line) AS line
    FROM (
      SELECT *, sum(size) OVER (ORDER BY seq) - size AS stored_before
      FROM (
        SELECT seq, type, step_id, actor, recorded_at, payload_digest IS NOT NULL AS redacted,
          encode(hash, 'hex') AS hash, facts, payload, coalesce(pg_column_size(payload), 0) AS size
        FROM hookflow_event_readable
        WHERE run_uid = %(run_uid)s AND seq > %(after)s AND seq <= %(until)s
        ORDER BY seq LIMIT %(limit)s
      ) AS next
    ) AS sized
    WHERE stored_before < %(stored)s
  ) AS written
) AS counted
WHERE bytes_before < %(bytes)s
ORDER BY seq
