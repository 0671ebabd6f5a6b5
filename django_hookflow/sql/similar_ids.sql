-- Ids of runs that are one of these, then those with the longest beginning in common. Each is looked up by itself, along an
-- index of ids: asked for all at once, PostgreSQL may take reading all runs for the shorter way.
(SELECT found.run_id
 FROM unnest(%(slips)s::text[]) AS slip (run_id)
 CROSS JOIN LATERAL (SELECT run_id FROM django_hookflow_workflowrun AS run WHERE run.run_id = slip.run_id LIMIT 1) AS found
 LIMIT %(limit)s)
UNION ALL
(SELECT found.run_id
 FROM unnest(%(beginnings)s::text[]) WITH ORDINALITY AS beginning (letters, place)
 CROSS JOIN LATERAL (
   SELECT run_id FROM django_hookflow_workflowrun
   WHERE run_id ~>=~ beginning.letters AND run_id ~<~ (beginning.letters || chr(1114111))
   ORDER BY run_id USING ~<~ LIMIT %(limit)s
 ) AS found
 ORDER BY beginning.place LIMIT %(limit)s)
