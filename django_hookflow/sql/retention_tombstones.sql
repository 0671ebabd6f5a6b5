-- The next runs that were archived, behind %(after)s, with what their tombstones say.
SELECT run_uid::text, run_id, tombstone::text
FROM django_hookflow_head
WHERE run_uid > %(after)s::uuid AND archived_at IS NOT NULL
ORDER BY run_uid
LIMIT %(runs)s
