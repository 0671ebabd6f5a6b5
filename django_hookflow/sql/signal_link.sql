-- How things stand with a link that sends a signal. A run that has been archived is over.
SELECT CASE
         WHEN EXISTS (SELECT FROM django_hookflow_event AS e
                      WHERE e.run_uid = h.run_uid AND e.type = 'signal.received' AND e.facts->>'id' = %(id)s) THEN 'used'
         WHEN (SELECT m.verdict FROM hookflow_may(h.run_uid) AS m WHERE m.action = 'signal') = 'refused' THEN 'over'
         WHEN hookflow_now() >= to_timestamp(%(until)s) THEN 'expired'
         ELSE 'open'
       END, h.workflow_id, h.run_id
FROM django_hookflow_head AS h
WHERE h.run_uid = %(run_uid)s
