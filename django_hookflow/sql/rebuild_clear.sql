-- Removes rows of one projection that stand in the way of a range's own: they hold a value of {once}, unique in the
-- table, that by the log belongs to a run of the range. Their own run, if it has one, is put right in its turn.
DELETE FROM {stored} AS gone USING {folded}(%(from)s, %(to)s) AS folded
WHERE gone.{once} = folded.{once} AND gone.{run} <> folded.{run}
