-- Runs whose id begins so, in the order of the index, which compares byte by byte.
SELECT id FROM django_hookflow_workflowrun
WHERE run_id LIKE %(pattern)s
ORDER BY run_id USING ~<~ LIMIT %(limit)s
