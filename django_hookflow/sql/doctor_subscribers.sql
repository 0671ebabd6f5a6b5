SELECT name, checkpoint::text, failures, retry_at IS NOT NULL FROM django_hookflow_subscriber ORDER BY name
