-- Writes the rows of one projection, in a range of runs that has none yet: a table that was emptied, or a new one.
-- Nothing is compared, which is a third of the time. A run that has just started may have got its rows since somebody
-- looked; then this fails on their keys, and the range is compared after all.
INSERT INTO {stored} SELECT * FROM {folded}(%(from)s, %(to)s) AS folded WHERE folded.{run} <> ALL (%(held)s::uuid[])
