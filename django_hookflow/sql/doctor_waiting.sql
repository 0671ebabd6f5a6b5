-- How many runs have each of these statuses, and the newest by name. With status = … the planner might go through all runs
-- by time, in the hope of meeting enough of them soon; put like this, only the index on status gives the order.
SELECT wanted.status, counted.number, counted.run_ids
FROM unnest(%(statuses)s::text[]) WITH ORDINALITY AS wanted (status, place)
CROSS JOIN LATERAL (
  SELECT count(*) AS number, (array_agg(run_id::text ORDER BY created_at DESC))[1:%(named)s] AS run_ids
  FROM (SELECT run_id, created_at FROM django_hookflow_workflowrun AS run
        WHERE run.status >= wanted.status AND run.status <= wanted.status
        ORDER BY run.status, run.created_at DESC LIMIT %(most)s) AS newest
) AS counted
WHERE counted.number > 0
ORDER BY wanted.place
