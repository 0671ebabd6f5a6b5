-- Runs that failed of this cause, the newest failures first.
SELECT run_uid FROM django_hookflow_deadletterentry
WHERE fingerprint = %(fingerprint)s ORDER BY created_at DESC LIMIT %(limit)s
