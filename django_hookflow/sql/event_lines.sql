-- Events as lines of JSON, one an event, in order: what an archive holds, and what an auditor exports and gives to
-- evidence/audit.py. Facts and payload are the texts that were hashed, as JSON strings; times are UTC to the microsecond.
-- No setting of the session changes what it answers. With psql and nothing else, for every run there is:
--   sed "s/%(from)s/'00000000-0000-0000-0000-000000000000'/; s/%(to)s/'ffffffff-ffff-ffff-ffff-ffffffffffff'/" \
--     event_lines.sql | PGCLIENTENCODING=UTF8 psql -X -At -v ON_ERROR_STOP=1 > events.jsonl
SELECT row_to_json(line)::text
FROM (
  SELECT run_uid, seq, type, step_id, actor, facts::text AS facts, payload::text AS payload,
    to_char(recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS recorded_at,
    version, encode(salt, 'hex') AS salt, encode(payload_digest, 'hex') AS payload_digest, encode(hash, 'hex') AS hash
  FROM django_hookflow_event WHERE run_uid BETWEEN %(from)s AND %(to)s
) AS line
ORDER BY run_uid, seq
