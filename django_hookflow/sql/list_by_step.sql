-- Runs in which a step has just done something (begun, completed, failed, fallen asleep), and those that failed in it.
--
-- No index names steps alone: it would be written with every step of every run. The newest events are found by the index
-- on position and looked through; failures, of which there are few, further back.
SELECT run_uid FROM (
  SELECT run_uid, max(position) AS position FROM django_hookflow_event
  WHERE position > (SELECT last_value - %(looked_at)s FROM django_hookflow_event_position_seq) AND step_id = %(step_id)s
  GROUP BY run_uid
  UNION ALL
  SELECT run_uid, id FROM (
    SELECT run_uid, id, step_id FROM django_hookflow_deadletterentry ORDER BY created_at DESC LIMIT %(looked_at)s / 10
  ) AS failure
  WHERE step_id = %(step_id)s
) AS found
ORDER BY position DESC LIMIT %(limit)s
