-- Takes the heads of a range of runs, as far as nobody holds them, and answers with those that somebody holds. Nothing is
-- waited for while locks are held: no append waits behind another, and there is no order of locks to get wrong.
WITH taken AS MATERIALIZED (
  SELECT run_uid FROM django_hookflow_head
  WHERE run_uid BETWEEN %(from)s AND %(to)s AND archived_at IS NULL
  FOR NO KEY UPDATE SKIP LOCKED
)
SELECT run_uid FROM django_hookflow_head
WHERE run_uid BETWEEN %(from)s AND %(to)s AND archived_at IS NULL
  -- An array, because making it reads all of `taken` and so takes every lock.
  AND run_uid <> ALL (ARRAY(SELECT run_uid FROM taken))
