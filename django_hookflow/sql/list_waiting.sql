-- Runs with a wait of each of these kinds whose time has not come, by the index on kind and time; null where there are more
-- than `most`.
SELECT wanted.kind, CASE WHEN count(wait.run_uid) <= %(most)s THEN coalesce(array_agg(wait.run_uid) FILTER (WHERE wait.run_uid IS NOT NULL), '{}') END
FROM unnest(%(kinds)s::text[]) AS wanted (kind)
LEFT JOIN LATERAL (
  SELECT run_uid FROM django_hookflow_wait
  WHERE django_hookflow_wait.kind = wanted.kind AND due_at > %(now)s
  ORDER BY due_at LIMIT %(most)s + 1
) AS wait ON true
GROUP BY wanted.kind
