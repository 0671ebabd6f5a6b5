-- The runs of a batch of lines of a checkpoint of which the log does not have the event that the checkpoint knows, or
-- which are archived in one of the two, with what there is of them instead. An event that is there with that hash, in a
-- chain that holds, proves all before it.
SELECT known.run_uid::text, known.run_id, known.last_seq, known.hash, known.tombstone,
  head.run_id AS head_run_id, head.last_seq AS head_last_seq, head.head_hash AS head_hash, head.tombstone_hash,
  head.archived_at IS NOT NULL AS archived, head.tombstone::text AS said,
  event.hash AS event_hash,
  (SELECT max(seq) FROM django_hookflow_event AS any_event WHERE any_event.run_uid = known.run_uid) AS log_last_seq
FROM unnest(%(run_uids)s::uuid[], %(run_ids)s::text[], %(last_seqs)s::integer[], %(hashes)s::bytea[], %(tombstones)s::bytea[])
    AS known (run_uid, run_id, last_seq, hash, tombstone)
  LEFT JOIN django_hookflow_head AS head USING (run_uid)
  LEFT JOIN django_hookflow_event AS event ON event.run_uid = known.run_uid AND event.seq = known.last_seq
WHERE event.hash IS DISTINCT FROM known.hash OR head.run_id IS DISTINCT FROM known.run_id
  OR head.tombstone_hash IS DISTINCT FROM known.tombstone
ORDER BY known.run_uid
