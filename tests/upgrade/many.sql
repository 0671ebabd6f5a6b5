-- Many rows in the tables of 0.0.4, as its own code would have left them: of ten runs seven have completed, one has failed,
-- one is under way and one is pending. The runs are numbered from 1 to :runs, one a second.
INSERT INTO django_hookflow_workflowrun (run_id, workflow_id, status, data, result, error_message, created_at, updated_at, completed_at)
SELECT 'run-' || n, 'order', kind, jsonb_build_object('number', n, 'seconds', 0, 'note', repeat('x', 100)),
  CASE kind WHEN 'completed' THEN '{"status": "completed"}'::jsonb END,
  CASE kind WHEN 'failed' THEN 'Step ''ship'' failed: no article ' || n ELSE '' END,
  began, began + interval '5 s', CASE WHEN kind IN ('completed', 'failed') THEN began + interval '5 s' END
FROM generate_series(1, %(runs)s) AS n,
  LATERAL (SELECT timestamptz '2026-01-01' + n * interval '1 s', CASE n %% 10 WHEN 7 THEN 'failed' WHEN 8 THEN 'running' WHEN 9 THEN 'pending' ELSE 'completed' END) AS run (began, kind);
INSERT INTO django_hookflow_stepexecution (workflow_run_id, step_id, result, executed_at)
SELECT run.id, step.id, CASE step.id WHEN 'wait' THEN jsonb_build_object('slept_for', 0, 'timestamp', extract(epoch FROM run.created_at + interval '1 s'))
  ELSE jsonb_build_object('total', run.id, 'filter', jsonb_build_object('$set', 1)) END, run.created_at + step.place * interval '1 s'
FROM django_hookflow_workflowrun AS run
CROSS JOIN unnest(ARRAY['check', 'wait', 'charge', 'ship']) WITH ORDINALITY AS step (id, place)
WHERE run.run_id LIKE 'run-%%' AND step.place <= CASE run.status WHEN 'completed' THEN 4 WHEN 'failed' THEN 3 WHEN 'running' THEN 2 ELSE 0 END;
INSERT INTO django_hookflow_deadletterentry (workflow_id, run_id, step_id, payload, completed_steps, error_message, error_traceback,
  attempt_count, created_at, is_replayed)
SELECT workflow_id, run_id, '', jsonb_build_object('run_id', run_id, 'data', data), '{}', error_message,
  E'Traceback (most recent call last):\n  File "a.py", line 1\nKeyError: no article ' || id, 4, updated_at, false
FROM django_hookflow_workflowrun WHERE status = 'failed' AND run_id LIKE 'run-%%';
