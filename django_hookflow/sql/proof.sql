-- The end of a run's chain, and the checkpoint that knows it: the first that was made after the run's last event, else the
-- latest after its first one, with the last event that was there by then.
SELECT head.last_seq, encode(head.head_hash, 'hex'), head.last_at, head.archived_at, checkpoint.id, checkpoint.made_at,
  encode(checkpoint.root, 'hex'), encode(checkpoint.token_digest, 'hex'), known.seq, encode(known.hash, 'hex')
FROM django_hookflow_head AS head
LEFT JOIN LATERAL (
  SELECT * FROM django_hookflow_checkpoint
  WHERE made_at >= (SELECT recorded_at FROM django_hookflow_event WHERE run_uid = head.run_uid AND seq = 1)
  ORDER BY made_at < head.last_at, CASE WHEN made_at < head.last_at THEN -id ELSE id END LIMIT 1
) AS checkpoint ON true
LEFT JOIN LATERAL (
  SELECT seq, hash FROM django_hookflow_event
  WHERE run_uid = head.run_uid AND recorded_at <= checkpoint.made_at ORDER BY seq DESC LIMIT 1
) AS known ON true
WHERE head.run_uid = %(run_uid)s
