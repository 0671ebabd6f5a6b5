-- Runs whose data, or result, has a value. The statement that takes the runs is put into the FROM. The order is made
-- of what was found (OFFSET 0), or the newest of all runs would be read until there are enough of them.
SELECT id FROM (
  SELECT id, created_at FROM ({runs}) AS run (id, created_at, value) WHERE value @? %s::jsonpath OFFSET 0
) AS found
ORDER BY created_at DESC LIMIT %s
