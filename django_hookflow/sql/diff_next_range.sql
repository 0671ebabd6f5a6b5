-- The end of the range of runs that begins at %(from)s: as many runs as have %(events)s events, but at least one and
-- not more than %(runs)s. No row when no run is left. Only heads are read; a range is an interval of run_uids, so rows
-- of a projection whose run has no head fall into one too.
SELECT last_run, number
FROM (
  SELECT run_uid AS last_run, row_number() OVER later AS number, sum(last_seq) OVER later - last_seq AS events_before
  FROM (SELECT run_uid, last_seq FROM django_hookflow_head WHERE run_uid >= %(from)s ORDER BY run_uid LIMIT least(%(runs)s, %(events)s)) AS head
  WINDOW later AS (ORDER BY run_uid)
) AS head
WHERE number = 1 OR events_before < %(events)s
ORDER BY last_run DESC
LIMIT 1
