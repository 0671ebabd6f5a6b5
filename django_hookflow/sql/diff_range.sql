-- Rows of one projection that differ from the fold of the log, in the range of runs from one run_uid to another.
--
-- One statement, so one snapshot: a run's events and its rows are seen at the same moment, and an append that goes on
-- beside it makes no difference. Rows are compared bit by bit (*=): to jsonb itself, 1 and 1.0 are equal.
-- Of an archived run there are no rows but those dead letters that its tombstone says were kept ({kept}): any other was
-- invented, or put back. Its events, if they are still there, are the archive's and not folded.
-- So are runs with events but no head: hookflow_verify names them, and there is no name to give to their rows.
--   {stored}, {folded}  the table and the function that folds it       {run}  its column for the run
--   {key}               the columns that identify its rows within the log
SELECT stored, CASE WHEN head.archived_at IS NULL THEN folded END AS folded, head.run_id AS head_run_id
FROM (SELECT * FROM {stored} WHERE {run} BETWEEN %(from)s AND %(to)s) AS stored
  FULL JOIN {folded}(%(from)s, %(to)s) AS folded USING ({key})
  LEFT JOIN (SELECT * FROM django_hookflow_head WHERE run_uid BETWEEN %(from)s AND %(to)s) AS head
    ON head.run_uid = coalesce(stored.{run}, folded.{run})
WHERE CASE WHEN head.archived_at IS NULL
  THEN (stored.{run} IS NULL OR folded.{run} IS NULL OR NOT stored *= folded) AND (folded.{run} IS NULL OR head.run_uid IS NOT NULL)
  ELSE stored.{run} IS NOT NULL AND NOT {kept} END
