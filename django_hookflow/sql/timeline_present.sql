-- What is going on with a run now: what it has announced and who has it. One row, always.
SELECT hookflow_now(), turn.kind, turn.seq, turn.due_at, turn.announced_at, turn.send_at, turn.attempts, turn.turn_seq,
  lease.owner, lease.token, lease.renewed_at, lease.expires_at
FROM (VALUES (%(run_uid)s::uuid)) AS run (run_uid)
LEFT JOIN django_hookflow_outbox AS turn ON turn.run_uid = run.run_uid AND turn.kind = 'turn'
LEFT JOIN django_hookflow_lease AS lease ON lease.run_uid = run.run_uid
