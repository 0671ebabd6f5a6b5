-- The last position drawn, and how many subscribers have a place in the log.
SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END AS drawn,
  ARRAY(SELECT name::text FROM django_hookflow_subscriber) AS names
FROM django_hookflow_event_position_seq
