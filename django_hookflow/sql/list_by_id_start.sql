-- Runs whose id begins so, in the order of the index, which tells a beginning from any other text byte by byte.
SELECT run_uid FROM django_hookflow_workflowrun
WHERE run_id LIKE %(pattern)s
ORDER BY run_id USING ~<~ LIMIT %(limit)s
