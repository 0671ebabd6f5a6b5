-- What people did, over all runs, newest first. The condition {acts} is that of the partial indexes of acts, word for word,
-- so that a page of it reads no other event. So many of the acts that {narrowed} leaves are looked at, and of these, those of one
-- type are kept: no index has the type.
WITH looked AS MATERIALIZED (
  SELECT position, run_uid, seq, type, step_id, actor, recorded_at FROM django_hookflow_event
  WHERE {acts} AND {narrowed}
  ORDER BY recorded_at DESC, position DESC LIMIT %(looked_at)s
), act AS MATERIALIZED (
  SELECT * FROM looked WHERE %(type)s = '' OR type = %(type)s
  ORDER BY recorded_at DESC, position DESC LIMIT %(limit)s
), last AS (
  SELECT recorded_at, position FROM looked ORDER BY recorded_at, position LIMIT 1
)
SELECT act.position, act.run_uid, head.run_id, head.workflow_id, act.seq, act.type, act.step_id, act.actor, act.recorded_at,
  CASE WHEN act.type = ANY (%(reasoned)s) THEN left(event.payload->>'reason', 500) END,
  CASE WHEN act.type = 'signal.received' THEN event.facts->>'name' END,
  (SELECT count(*) FROM looked), (SELECT recorded_at FROM last), (SELECT position FROM last)
FROM act
JOIN hookflow_event_readable AS event ON event.run_uid = act.run_uid AND event.seq = act.seq
LEFT JOIN django_hookflow_head AS head ON head.run_uid = act.run_uid
UNION ALL
SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, (SELECT count(*) FROM looked), recorded_at, position
FROM last WHERE NOT EXISTS (SELECT FROM act)
ORDER BY 9 DESC, 1 DESC
