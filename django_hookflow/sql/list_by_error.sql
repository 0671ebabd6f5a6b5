-- Failures with an error of this type, given as its dotted path or its last name, among the newest: types have no index.
SELECT id, run_uid FROM (
  SELECT id, run_uid, error_type, created_at FROM django_hookflow_deadletterentry ORDER BY created_at DESC LIMIT %(looked_at)s
) AS failure
WHERE lower(error_type) = lower(%(type)s) OR lower(right(error_type, length(%(type)s) + 1)) = lower('.' || %(type)s)
ORDER BY created_at DESC
