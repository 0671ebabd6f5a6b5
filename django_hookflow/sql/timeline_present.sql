-- What is going on with a run now: what it has announced and who has it. One row, always. What is held is sent at no time.
SELECT hookflow_now(), turn.kind, turn.seq, turn.due_at, nullif(turn.send_at, 'infinity'), turn.attempts, turn.turn_seq, deadline.due_at,
  lease.owner, lease.token, lease.expires_at
FROM (VALUES (%(run_uid)s::uuid)) AS run (run_uid)
LEFT JOIN django_hookflow_outbox AS turn ON turn.run_uid = run.run_uid AND turn.kind IN ('turn', 'held')
LEFT JOIN django_hookflow_outbox AS deadline ON deadline.run_uid = run.run_uid AND deadline.kind = 'timeout'
LEFT JOIN django_hookflow_lease AS lease ON lease.run_uid = run.run_uid
ORDER BY turn.kind DESC LIMIT 1
