-- Ids of runs that are one of these, then those with the longest beginning in common: each found along an index of ids.
(SELECT run_id FROM django_hookflow_workflowrun WHERE run_id = ANY(%(slips)s) LIMIT %(limit)s)
UNION ALL
(SELECT found.run_id
 FROM unnest(%(beginnings)s::text[]) WITH ORDINALITY AS beginning (letters, place)
 CROSS JOIN LATERAL (
   SELECT run_id FROM django_hookflow_workflowrun
   WHERE run_id ~>=~ beginning.letters AND run_id ~<~ (beginning.letters || chr(1114111))
   ORDER BY run_id USING ~<~ LIMIT %(limit)s
 ) AS found
 ORDER BY beginning.place LIMIT %(limit)s)
