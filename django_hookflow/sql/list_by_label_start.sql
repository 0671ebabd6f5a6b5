-- Runs whose label begins so. The index leaves out runs without one.
SELECT id FROM django_hookflow_workflowrun
WHERE label LIKE %(pattern)s AND label <> ''
ORDER BY label USING ~<~ LIMIT %(limit)s
