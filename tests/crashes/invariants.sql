-- What must be true of the runs of one schedule at any moment, as rows that say what is not: run, and what is wrong.
--   p_from    the first of the runs, by run_uid     p_ledger  ledger entries of this schedule have greater ids
-- A function, because to plan this takes several times as long as to do it; a plan of its own for each range would too.
CREATE OR REPLACE FUNCTION crashes_violations(p_from uuid, p_to uuid, p_ledger bigint) RETURNS TABLE (run text, what text)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
BEGIN
RETURN QUERY
WITH head AS MATERIALIZED (
  SELECT * FROM django_hookflow_head WHERE run_uid BETWEEN p_from AND p_to
), event AS MATERIALIZED (
  SELECT event.*, coalesce(lag(hash) OVER run, sha256(uuid_send(run_uid))) AS hash_before,
    lag(position) OVER run AS position_before, lag(recorded_at) OVER run AS recorded_before,
    -- the last event before this one that ended the run, unless a rewind has opened it again
    max(seq) FILTER (WHERE type IN ('run.completed', 'run.cancelled', 'run.rewound'))
      OVER (PARTITION BY run_uid ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS end_seq
  FROM django_hookflow_event AS event WHERE run_uid BETWEEN p_from AND p_to
  WINDOW run AS (PARTITION BY run_uid ORDER BY seq)
), run AS MATERIALIZED (
  SELECT id AS run_uid, * FROM django_hookflow_workflowrun WHERE id BETWEEN p_from AND p_to
), wait AS MATERIALIZED (
  SELECT * FROM django_hookflow_wait WHERE run_uid BETWEEN p_from AND p_to
), due AS (
  -- When the waits of a run are over by themselves, as far as that lets it go on: a group, when its last one is.
  SELECT run_uid, min(due_at) AS due_at FROM (
    SELECT run_uid, min(due_at) AS due_at FROM wait
    WHERE scope IS NULL OR scope = 'task' OR kind = 'backoff' GROUP BY run_uid
    UNION ALL
    SELECT run_uid, CASE WHEN count(*) = count(due_at) THEN max(due_at) END FROM wait
    WHERE scope IS NOT NULL AND scope <> 'task' AND kind <> 'backoff' GROUP BY run_uid, scope
  ) AS each GROUP BY run_uid
), outbox AS MATERIALIZED (
  SELECT * FROM django_hookflow_outbox WHERE run_uid BETWEEN p_from AND p_to
), log AS (
  SELECT run_uid, count(*) AS number, min(seq) AS first, max(seq) AS last FROM event GROUP BY run_uid
), effect AS (
  SELECT account AS run_id, reference AS step_id, id FROM testapp_ledgerentry WHERE id > p_ledger
), taken AS (
  SELECT event.*, EXISTS (SELECT FROM event AS later WHERE later.run_uid = event.run_uid AND later.step_id = event.step_id
                          AND later.type = 'step.superseded' AND later.seq > event.seq) AS is_superseded
  FROM event WHERE type = 'step.completed' AND facts->>'by' IS NOT NULL
), recorded_effect AS (
  SELECT run_id, step_id, (payload->>'result')::bigint AS id FROM event JOIN head USING (run_uid)
  WHERE type = 'step.completed' AND facts->>'kind' = 'atomic'
)
-- Numbering and heads: seq is 1, 2, … n, the head says n, and the chain of hashes holds to its end.
SELECT run_id, format('%s events from %s to %s, the head says %s', number, first, last, last_seq)
  FROM head LEFT JOIN log USING (run_uid)
  WHERE (number, first, last) IS DISTINCT FROM (last_seq::bigint, 1, last_seq) OR fence_seq NOT BETWEEN 0 AND last_seq
UNION ALL
SELECT run_id, 'the head''s hash is not that of the last event'
  FROM head JOIN event USING (run_uid) WHERE event.seq = head.last_seq AND event.hash <> head.head_hash
UNION ALL
SELECT run_id, format('event %s breaks the chain of hashes', seq) FROM event JOIN head USING (run_uid)
  WHERE hash <> hookflow_event_hash(hash_before, run_uid, seq, recorded_at, version, type, step_id, actor, facts::text,
    sha256(salt || convert_to(payload::text, 'UTF8')))
UNION ALL
SELECT run_id, format('event %s is before its predecessor', seq) FROM event JOIN head USING (run_uid)
  WHERE position_before >= position OR recorded_before > recorded_at
-- After the end: a completed run may be rewound, which opens it again, or have an old dead letter clicked again. In a
-- cancelled one, too, a step that was under way is still recorded, and one whose intent was on its way does not run.
UNION ALL
SELECT run_id, format('%s at %s after %s', later.type, later.seq, ended.type)
  FROM event AS later JOIN event AS ended ON ended.run_uid = later.run_uid AND ended.seq = later.end_seq
    JOIN head ON head.run_uid = later.run_uid
  WHERE (ended.type = 'run.completed' AND later.type NOT IN ('run.rewound', 'run.replay_repeated'))
     OR (ended.type = 'run.cancelled'
         AND later.type NOT IN ('step.intended', 'step.completed', 'step.failed', 'step.suspended', 'run.replay_repeated'))
-- A step is recorded once, until a rewind supersedes it; a failure is replayed once.
UNION ALL
SELECT run_id, format('step %s is completed again at %s', step_id, seq) FROM (
    SELECT *, lag(type) OVER (PARTITION BY run_uid, step_id ORDER BY seq) AS type_before
    FROM event WHERE type IN ('step.completed', 'step.superseded')) AS event JOIN head USING (run_uid)
  WHERE type = 'step.completed' AND type_before = 'step.completed'
UNION ALL
SELECT run_id, format('the failure at %s was replayed %s times', facts->>'failed_seq', count(*))
  FROM event JOIN head USING (run_uid) WHERE type IN ('run.replayed', 'run.restarted')
  GROUP BY run_id, facts->>'failed_seq' HAVING count(*) > 1
UNION ALL
SELECT run.run_id, format('is %s and has an open dead letter for its failure at %s', status, dead.seq)
  FROM django_hookflow_deadletterentry AS dead JOIN run USING (run_uid) WHERE NOT is_replayed AND status <> 'failed'
-- Signals: each is taken once, by a step that comes to its value; what has one id is one; none lies there while a step waits for it.
UNION ALL
SELECT run_id, format('the signal at %s is taken by %s', facts->>'by', string_agg(step_id, ', '))
  FROM taken JOIN head USING (run_uid) WHERE NOT is_superseded GROUP BY run_id, facts->>'by' HAVING count(*) > 1
UNION ALL
SELECT run_id, format('step %s came to %s by the event at %s, which is %s', taken.step_id, taken.payload->>'result', taken.facts->>'by', sent.type)
  FROM taken JOIN head USING (run_uid)
    LEFT JOIN event AS sent ON sent.run_uid = taken.run_uid AND sent.seq = (taken.facts->>'by')::integer AND sent.seq < taken.seq
  WHERE sent.type IS DISTINCT FROM 'signal.received' OR (sent.payload->>'value') IS DISTINCT FROM (taken.payload->>'result')
UNION ALL
SELECT run_id, format('%s signals have the id %s', count(*), facts->>'id')
  FROM event JOIN head USING (run_uid) WHERE type = 'signal.received' AND facts->>'id' IS NOT NULL
  GROUP BY run_id, facts->>'id' HAVING count(*) > 1
UNION ALL
SELECT run_id, format('step %s waits for the signal at %s', wait.step_id, sent.seq)
  FROM wait JOIN event AS sent ON sent.run_uid = wait.run_uid AND sent.type = 'signal.received' AND sent.facts->>'name' = wait.key
    JOIN head ON head.run_uid = wait.run_uid
  WHERE wait.kind = 'signal'
    AND NOT EXISTS (SELECT FROM taken WHERE taken.run_uid = sent.run_uid AND NOT is_superseded AND (taken.facts->>'by')::integer = sent.seq)
-- Atomic effects: one row for each record of an atomic step, superseded ones too, and no other.
UNION ALL
SELECT coalesce(effect.run_id, recorded_effect.run_id), format('step %s has %s', coalesce(effect.step_id, recorded_effect.step_id),
    CASE WHEN effect.id IS NULL THEN 'a record without effect' ELSE 'an effect without record' END)
  FROM effect FULL JOIN recorded_effect ON (effect.run_id, effect.step_id, effect.id)
    = (recorded_effect.run_id, recorded_effect.step_id, recorded_effect.id)
  WHERE effect.id IS NULL OR recorded_effect.id IS NULL
-- Not stuck: a run that goes on by itself has its turn announced; one that waits for somebody, or for another run, has not, but
-- for its deadline.
UNION ALL
SELECT run_id, format('is %s and has announced %s', status, coalesce(announced, 'nothing'))
  FROM run LEFT JOIN (
    SELECT run_uid, string_agg(kind, ', ') AS announced FROM outbox WHERE kind = 'turn' GROUP BY run_uid) AS outbox USING (run_uid)
  WHERE CASE WHEN EXISTS (SELECT FROM wait WHERE wait.run_uid = run.run_uid AND wait.scope IS NOT NULL)
    -- Branches that are awaited together: one may wait for somebody while a turn works on another or is announced for it.
    THEN announced IS NULL AND status IN ('pending', 'running', 'in_doubt')
      AND EXISTS (SELECT FROM due WHERE due.run_uid = run.run_uid AND due.due_at IS NOT NULL)
    ELSE announced IS DISTINCT FROM CASE
    WHEN status IN ('pending', 'running') AND NOT EXISTS (SELECT FROM wait WHERE wait.run_uid = run.run_uid AND wait.kind = 'child')
      OR status IN ('pending', 'running', 'paused', 'in_doubt') AND EXISTS (SELECT FROM wait WHERE wait.run_uid = run.run_uid AND wait.kind = 'deadline')
    THEN 'turn' END END
-- What nobody works on is announced for when its waits are due.
UNION ALL
SELECT run_id, format('is announced for %s and waits until %s', due_at, waits.due)
  FROM outbox JOIN run USING (run_uid) CROSS JOIN LATERAL (
    SELECT CASE WHEN bool_or(kind = 'hold') THEN min(wait.due_at) FILTER (WHERE kind = 'deadline')
                WHEN bool_or(kind <> 'deadline') THEN (SELECT due.due_at FROM due WHERE due.run_uid = outbox.run_uid) END AS due,
           bool_or(scope IS NOT NULL) AS has_branches
    FROM wait WHERE wait.run_uid = outbox.run_uid) AS waits
  WHERE outbox.kind = 'turn' AND turn_seq IS NULL AND due_at IS DISTINCT FROM waits.due
    AND NOT (due_at IS NULL AND coalesce(has_branches, false))  -- of which one may go on at once
-- Status follows from waits: held is paused, a doubt is in doubt, and what has ended waits for nothing.
UNION ALL
SELECT run_id, format('is %s and waits for %s', status, coalesce(kinds, 'nothing'))
  FROM run LEFT JOIN (SELECT run_uid, string_agg(kind, ', ') AS kinds, bool_or(scope IS NOT NULL) AS has_branches FROM wait GROUP BY run_uid) AS wait USING (run_uid)
  WHERE (status = 'paused') <> coalesce(kinds LIKE '%hold%', false) OR status = 'in_doubt' AND coalesce(kinds, '') NOT LIKE '%doubt%'
    OR status <> 'in_doubt' AND kinds LIKE '%doubt%' AND has_branches IS NOT TRUE
    OR completed_at IS NOT NULL AND kinds IS NOT NULL
UNION ALL
SELECT run_id, format('has ended (%s) and its %s is announced', status, kind) FROM run JOIN outbox USING (run_uid)
  WHERE completed_at IS NOT NULL AND kind <> 'ended'
-- Children: who waits for one that has ended will hear of it, and none lives on that nothing waits for.
UNION ALL
SELECT run_id, format('waits in %s for a run that has ended', awaited.step_id)
  FROM django_hookflow_wait AS awaited JOIN head USING (run_uid) CROSS JOIN LATERAL hookflow_ended_child(awaited) AS ended (child_uid)
  WHERE awaited.run_uid BETWEEN p_from AND p_to
    AND NOT EXISTS (SELECT FROM outbox WHERE outbox.run_uid = ended.child_uid AND kind = 'ended')
UNION ALL
SELECT run_id, 'lives, and nothing waits for it' FROM run
  WHERE parent_uid IS NOT NULL AND completed_at IS NULL
    AND NOT EXISTS (SELECT FROM wait WHERE wait.run_uid = run.parent_uid AND step_id = parent_step AND kind = 'child' AND key = run.run_id)
    AND NOT EXISTS (SELECT FROM outbox WHERE outbox.run_uid = run.parent_uid AND kind = 'ended')
    AND NOT EXISTS (SELECT FROM event WHERE event.run_uid = run.run_uid AND hookflow_ends_run(type))
UNION ALL
SELECT run_id, 'diverged, though its code never changed' FROM run WHERE status = 'diverged'
-- Projections are what the log folds to: the same comparison as hookflow_rebuild --check makes.
UNION ALL
SELECT coalesce(stored.run_id, folded.run_id), format('the run is %s, folded %s', stored, folded)
  FROM (SELECT * FROM django_hookflow_workflowrun WHERE id BETWEEN p_from AND p_to) AS stored
    FULL JOIN hookflow_fold_runs(p_from, p_to) AS folded USING (id) WHERE stored *= folded IS NOT TRUE
UNION ALL
SELECT coalesce(stored.run_uid, folded.run_uid)::text, format('a wait is %s, folded %s', stored, folded)
  FROM (SELECT * FROM django_hookflow_wait WHERE run_uid BETWEEN p_from AND p_to) AS stored
    FULL JOIN hookflow_fold_waits(p_from, p_to) AS folded USING (run_uid, step_id, kind) WHERE stored *= folded IS NOT TRUE
UNION ALL
SELECT coalesce(stored.run_id, folded.run_id), format('a dead letter is %s, folded %s', stored, folded)
  FROM (SELECT * FROM django_hookflow_deadletterentry WHERE run_uid BETWEEN p_from AND p_to) AS stored
    FULL JOIN hookflow_fold_dead_letters(p_from, p_to) AS folded USING (run_uid, seq) WHERE stored *= folded IS NOT TRUE;
END $$;
