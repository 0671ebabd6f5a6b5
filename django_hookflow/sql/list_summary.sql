-- What the runs of a sample come to, for each workflow. The statement that takes the sample is put into the FROM.
SELECT workflow_id, count(*),
  count(*) FILTER (WHERE status = 'failed'),
  count(*) FILTER (WHERE status IN ('completed', 'failed')),
  percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY extract(epoch FROM completed_at - created_at))
    FILTER (WHERE status = 'completed'),
  min(created_at)
FROM ({sample}) AS run (workflow_id, status, created_at, completed_at)
GROUP BY workflow_id
ORDER BY count(*) DESC, workflow_id
