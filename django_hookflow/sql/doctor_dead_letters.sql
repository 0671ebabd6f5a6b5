SELECT count(*) FROM (
  SELECT FROM django_hookflow_deadletterentry WHERE NOT is_replayed ORDER BY created_at DESC LIMIT %(most)s
) AS open
