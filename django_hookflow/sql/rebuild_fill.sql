-- Writes the rows of one projection, in a range of runs that has none yet: a table that was emptied, or a new one.
-- Nothing is compared, which is a third of the time. A run that has just started may have got its rows since somebody
-- looked; then this fails on their keys, and the range is compared after all. Events of an archived run, which stay until
-- their partition goes, make no rows, nor do those whose head somebody has removed.
-- IS TRUE keeps it a look-up for each row: how many rows there are is not known beforehand, and a join may be a bad guess.
INSERT INTO {stored} SELECT * FROM {folded}(%(from)s, %(to)s) AS folded
WHERE folded.{run} <> ALL (%(held)s::uuid[]) AND (folded.{run} IN (
  SELECT run_uid FROM django_hookflow_head WHERE run_uid BETWEEN %(from)s AND %(to)s AND archived_at IS NULL
)) IS TRUE
