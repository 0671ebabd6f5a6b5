SELECT extract(epoch FROM min(send_at) - hookflow_now())::float8 FROM django_hookflow_outbox
