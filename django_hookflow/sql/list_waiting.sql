-- Runs with a wait whose time has not come, by tab, by the index on kind and time; null where there are more than `most`.
SELECT wanted.tab, CASE WHEN count(wait.run_uid) <= %(most)s THEN coalesce(array_agg(wait.run_uid) FILTER (WHERE wait.run_uid IS NOT NULL), '{}') END
FROM unnest(%(tabs)s::text[], %(kinds)s::text[]) AS wanted (tab, kind)
LEFT JOIN LATERAL (
  (SELECT run_uid FROM django_hookflow_wait
   WHERE django_hookflow_wait.kind = wanted.kind AND due_at > %(now)s
   ORDER BY due_at LIMIT %(most)s + 1)
  UNION ALL
  (SELECT run_uid FROM django_hookflow_wait WHERE django_hookflow_wait.kind = wanted.kind AND due_at IS NULL LIMIT %(most)s + 1)
) AS wait ON true
GROUP BY wanted.tab
