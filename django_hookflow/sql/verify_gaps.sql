-- Places of runs that have no event, with the hash of the event before where there is one: what was moved to another run
-- has left such a place behind.
SELECT head.run_uid::text, head.run_id, missing.seq,
  CASE WHEN missing.seq = 1 THEN sha256(uuid_send(head.run_uid)) ELSE before.hash END AS previous
FROM django_hookflow_head AS head
  LEFT JOIN (SELECT run_uid, count(*) AS events FROM django_hookflow_event GROUP BY run_uid) AS run USING (run_uid)
  CROSS JOIN LATERAL (
    SELECT seq FROM generate_series(1, least(head.last_seq, coalesce(run.events, 0) + 1000)) AS place (seq)
    EXCEPT SELECT seq FROM django_hookflow_event AS event WHERE event.run_uid = head.run_uid
  ) AS missing
  LEFT JOIN django_hookflow_event AS before ON before.run_uid = head.run_uid AND before.seq = missing.seq - 1
WHERE coalesce(run.events, 0) < head.last_seq AND head.archived_at IS NULL
LIMIT 1000
