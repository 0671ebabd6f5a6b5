-- How the steps of some runs went: of each workflow and step, in how many runs, attempts that completed and failed, what one
-- took that completed, and the run with the slowest. The statement that takes the runs is put into the FROM. Of a step
-- that is one of many (mail[17]) the number is left out.
WITH run AS MATERIALIZED (SELECT id, workflow_id FROM ({runs}) AS newest (id, workflow_id)),
attempt AS MATERIALIZED (
  SELECT run.id, run.workflow_id, regexp_replace(event.step_id, '\[[^][]*\]', '[]', 'g') AS step_id, event.type,
    (event.facts->>'took')::float8 AS took
  FROM run CROSS JOIN LATERAL (
    SELECT type, step_id, facts FROM django_hookflow_event
    WHERE django_hookflow_event.run_uid = run.id AND type IN ('step.completed', 'step.failed') LIMIT %s
  ) AS event
  LIMIT %s
)
SELECT workflow_id, step_id, count(DISTINCT id), count(*) FILTER (WHERE type = 'step.failed'), count(*),
  percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY took) FILTER (WHERE type = 'step.completed'),
  sum(took), (array_agg(id ORDER BY took DESC, id))[1:%s], (array_agg(took ORDER BY took DESC, id))[1:%s],
  (SELECT count(*) FROM run), (SELECT count(*) FROM attempt)
FROM attempt WHERE took IS NOT NULL
GROUP BY workflow_id, step_id
ORDER BY sum(took) DESC, workflow_id, step_id LIMIT %s
