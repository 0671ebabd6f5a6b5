UPDATE django_hookflow_subscriber SET checkpoint = %(checkpoint)s, failures = %(failures)s, last_error = %(error)s,
  retry_at = hookflow_now() + make_interval(secs => %(retry_in)s), updated_at = hookflow_now()
WHERE name = %(name)s
