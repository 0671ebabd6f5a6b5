INSERT INTO django_hookflow_subscriber (name, checkpoint, failures, last_error, updated_at)
VALUES (%(name)s, %(checkpoint)s, 0, '', hookflow_now())
ON CONFLICT (name) DO NOTHING
