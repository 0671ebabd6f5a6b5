-- A subscriber's place, to whoever is first; nothing while another process has it, or it is not yet to be tried again.
SELECT checkpoint::text AS checkpoint, failures FROM django_hookflow_subscriber
WHERE name = %(name)s AND (retry_at IS NULL OR retry_at <= hookflow_now())
FOR NO KEY UPDATE SKIP LOCKED
