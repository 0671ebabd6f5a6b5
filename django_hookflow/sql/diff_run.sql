-- The runs that an id may mean: the one that has it, and any that a projection says has it. The first of them decides
-- whether the id is archived.
SELECT run_uid, coalesce(bool_or(head.archived_at IS NOT NULL AND head.run_id = %(run_id)s), false) AS archived
FROM (
  SELECT run_uid FROM django_hookflow_head WHERE run_id = %(run_id)s
  UNION SELECT id FROM django_hookflow_workflowrun WHERE run_id = %(run_id)s
  UNION SELECT run_uid FROM django_hookflow_deadletterentry WHERE run_id = %(run_id)s
) AS named LEFT JOIN django_hookflow_head AS head USING (run_uid)
GROUP BY run_uid
ORDER BY run_uid
