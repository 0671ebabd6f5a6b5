-- Foreign keys to runs that the database does not answer itself when a run goes (by ON DELETE CASCADE, SET NULL, …).
SELECT c.conrelid::regclass::text, relation.relname, quote_ident(a.attname), target.attname
FROM pg_constraint AS c
JOIN pg_class AS relation ON relation.oid = c.conrelid
JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
JOIN pg_attribute AS target ON target.attrelid = c.confrelid AND target.attnum = c.confkey[1]
WHERE c.contype = 'f' AND c.confrelid = 'django_hookflow_workflowrun'::regclass AND c.confdeltype IN ('a', 'r')
  AND cardinality(c.conkey) = 1 AND target.attname IN ('id', 'run_id') AND c.conparentid = 0
ORDER BY 1, 3
