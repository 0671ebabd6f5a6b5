-- What a reader asks first, before its transaction has an id: the last position drawn, and what server this is.
-- A position is drawn by a transaction that has its id already, so whoever gets an id after this draws above `drawn`.
SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END AS drawn,
  pg_current_xact_id_if_assigned() IS NULL AS may_mark,
  pg_is_in_recovery() AS in_recovery,
  (SELECT system_identifier::text FROM pg_control_system()) AS cluster
FROM django_hookflow_event_position_seq
