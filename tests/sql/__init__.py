"""The schema: models, migrations and the plain SQL for DBAs describe one and the same database."""
