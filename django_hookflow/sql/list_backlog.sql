-- What is due to be sent and nobody works on: how many rows, since when the first, and when a turn last began, among the
-- newest events. A relay takes what has been due longest first, so none has worked since the first came due, unless a turn
-- has begun since: then relays are behind.
WITH waiting AS MATERIALIZED (
  SELECT send_at FROM django_hookflow_outbox AS outbox
  WHERE send_at <= %(now)s
    AND NOT EXISTS (SELECT FROM django_hookflow_lease AS lease
                    WHERE lease.run_uid = outbox.run_uid AND %(now)s BETWEEN lease.renewed_at AND lease.expires_at)
  ORDER BY send_at LIMIT %(most)s
)
SELECT count(*), min(send_at), (
  SELECT max(recorded_at) FROM django_hookflow_event
  WHERE position > (SELECT last_value - %(looked_at)s FROM django_hookflow_event_position_seq) AND type = 'turn.started')
FROM waiting
