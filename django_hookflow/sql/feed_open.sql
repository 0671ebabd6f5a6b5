-- Opens a window: this statement's snapshot, the transaction's own id, which the snapshot leaves out of those that run,
-- the last position drawn after it was taken, and for a mark an id that was not given before `drawn` was read.
SELECT pg_current_snapshot()::text AS reading,
  pg_current_xact_id_if_assigned()::text::bigint AS own,
  (SELECT last_value FROM django_hookflow_event_position_seq) AS end,
  CASE WHEN %(mark)s THEN pg_current_xact_id()::text::bigint END AS xid
