-- When the events of a run were recorded: each so many, and the last one.
SELECT seq, recorded_at FROM django_hookflow_event
WHERE run_uid = %(run_uid)s
  AND ((seq - 1) %% %(step)s = 0 OR seq = (SELECT max(seq) FROM django_hookflow_event WHERE run_uid = %(run_uid)s))
ORDER BY seq
