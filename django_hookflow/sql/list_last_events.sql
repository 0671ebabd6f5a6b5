-- The last events of each run of a page, without what they hold.
SELECT run.run_uid, event.seq, event.type, event.step_id, event.recorded_at
FROM unnest(%(run_uids)s::uuid[]) AS run (run_uid)
CROSS JOIN LATERAL (
  SELECT seq, type, step_id, recorded_at FROM django_hookflow_event
  WHERE django_hookflow_event.run_uid = run.run_uid
  ORDER BY seq DESC LIMIT %(limit)s
) AS event
ORDER BY run.run_uid, event.seq
