-- How far each subscriber has come, for how long it has stood there, and the last position drawn.
SELECT name, checkpoint::text, failures, retry_at IS NOT NULL AS is_failing,
  extract(epoch FROM hookflow_now() - updated_at)::float8 AS stands_for,
  (SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END FROM django_hookflow_event_position_seq) AS drawn
FROM django_hookflow_subscriber ORDER BY name
