SELECT min(send_at), hookflow_now() FROM django_hookflow_outbox
