-- Runs of which a turn was begun by this message, among the newest events: the id is a fact of turn.started.
SELECT run_uid FROM django_hookflow_event
WHERE position > (SELECT last_value - %(looked_at)s FROM django_hookflow_event_position_seq)
  AND type = 'turn.started' AND facts->>'message_id' = %(message_id)s
LIMIT %(limit)s
