-- Puts the rows of one projection right, in a range of runs whose heads the transaction holds but for %(held)s, which
-- are left alone. Answers how many rows differed; what is right is not written again. A run that has started since the
-- heads were taken is either not to be seen here, or whole and right.
WITH difference AS MATERIALIZED (
  {difference} AND coalesce(stored.{run}, folded.{run}) <> ALL (%(held)s::uuid[])
), removed AS (
  DELETE FROM {stored} AS gone USING difference
  WHERE {gone_key} = {stored_key} AND gone.{run} BETWEEN %(from)s AND %(to)s
  RETURNING 1
), inserted AS (
  -- Counting what was removed makes the removal come first: a unique key is free again when its right row is inserted.
  INSERT INTO {stored}
  SELECT (folded).* FROM difference WHERE (folded).{run} IS NOT NULL AND (SELECT count(*) FROM removed) >= 0
)
SELECT count(*) FROM difference
