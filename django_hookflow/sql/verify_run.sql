-- One run in one snapshot: its head, and its events as lines of JSON, which are those of event_lines.sql.
SELECT (
    SELECT row_to_json(head)::text FROM (
      SELECT run_id, workflow_id, last_seq, encode(head_hash, 'hex') AS head_hash, archived_at IS NOT NULL AS archived,
        tombstone::text AS tombstone,
        encode(tombstone_hash, 'hex') AS tombstone_hash,
        to_char(last_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS last_at,
        to_char(archived_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS archived_at
      FROM django_hookflow_head WHERE run_uid BETWEEN %(from)s AND %(to)s
    ) AS head
  ) AS head,
  ARRAY({lines}) AS events
