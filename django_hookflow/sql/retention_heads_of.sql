-- What the database knows of the runs of an archive, in the order asked: the head, and the hash of the event with which
-- the archive ends, where that is still there.
SELECT head.run_id, head.workflow_id, head.last_seq, head.head_hash, head.archived_at,
  (SELECT event.hash FROM django_hookflow_event AS event WHERE event.run_uid = asked.run_uid AND event.seq = asked.last_seq)
FROM unnest(%(uids)s::uuid[], %(seqs)s::integer[]) WITH ORDINALITY AS asked (run_uid, last_seq, place)
  LEFT JOIN django_hookflow_head AS head USING (run_uid)
ORDER BY asked.place
