"""``manage.py hookflow_doctor``, run against real set-ups: databases, the webhook, and a server in QStash's place."""
