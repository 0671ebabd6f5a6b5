-- Puts the rows of one projection right, in a range of runs whose heads the transaction holds but for %(held)s, which
-- are left alone. Answers how many rows differed; what is right is not written again. A run that has started since the
-- heads were taken is either not to be seen here, or whole and right.
WITH difference AS MATERIALIZED (
  {difference} AND coalesce(stored.{run}, folded.{run}) <> ALL (%(held)s::uuid[])
), removed AS (
  DELETE FROM {stored} AS gone USING difference
  WHERE {gone_key} = {stored_key} AND gone.{run} BETWEEN %(from)s AND %(to)s AND (folded).{run} IS NULL
  RETURNING 1
), changed AS (
  -- In its place, because rows of the project may refer to it: they would go with it, or not let it go.
  -- Counting what was removed makes the removal come first: a unique key is free again when its right row is written.
  UPDATE {stored} AS gone SET {assignments} FROM difference
  WHERE {gone_key} = {stored_key} AND gone.{run} BETWEEN %(from)s AND %(to)s AND (folded).{run} IS NOT NULL
    AND (SELECT count(*) FROM removed) >= 0
), inserted AS (
  INSERT INTO {stored}
  SELECT (folded).* FROM difference WHERE (stored).{run} IS NULL AND (SELECT count(*) FROM removed) >= 0
)
SELECT count(*) FROM difference
