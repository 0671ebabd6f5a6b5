-- Reading the log: what a reader needs to miss nothing, how far each subscriber has come, and views for analysts.
--
-- position grows with time, but transactions commit in another order. A reader that wants every event once remembers
-- which transactions had ended when it last looked (a pg_snapshot), so each event says which one wrote it.

-- The transaction, not the subtransaction that a savepoint makes, which is what xmin would say. Null for events that are
-- older than this column; all those are committed. Added without a default first: nothing is rewritten.
ALTER TABLE django_hookflow_event ADD COLUMN xid xid8;
ALTER TABLE django_hookflow_event ALTER COLUMN xid SET DEFAULT pg_current_xact_id();
COMMENT ON COLUMN django_hookflow_event.xid IS 'the transaction that appended the event; null for events older than this column';

CREATE TABLE django_hookflow_subscriber (
  name       varchar(200) NOT NULL,
  checkpoint jsonb        NOT NULL,    -- as feed/positions.py writes it
  failures   integer      NOT NULL,    -- in a row, at one and the same event
  retry_at   timestamptz,
  last_error text         NOT NULL,
  updated_at timestamptz  NOT NULL,
  CONSTRAINT django_hookflow_subscriber_pk PRIMARY KEY (name)
) WITH (fillfactor = 70);

-- The views. Their names and columns are promised to whoever has reports on them: columns are added at the end, and
-- none is renamed or removed. One run's rows come by the key of the log, whether it is named by run_uid or run_id.
-- For a day's rows name the runs that started then, so that other partitions are not looked at:
--   WHERE run_uid >= hookflow_uid_at('2026-05-01') AND run_uid < hookflow_uid_at('2026-05-02')

CREATE VIEW hookflow_run_durations AS
SELECT run.run_uid, run.run_id, run.workflow_id, run.status,
  run.created_at AS triggered_at, told.started_at, run.completed_at AS ended_at,
  run.completed_at - run.created_at AS duration,
  told.waited,
  run.completed_at - run.created_at - told.waited AS worked,
  told.turns, told.steps, told.failures
FROM django_hookflow_workflowrun AS run
CROSS JOIN LATERAL (
  SELECT min(recorded_at) FILTER (WHERE type = 'turn.started') AS started_at,
    coalesce(sum(recorded_at - recorded_before) FILTER (WHERE type = 'turn.started'), interval '0') AS waited,
    (count(*) FILTER (WHERE type = 'turn.started'))::integer AS turns,
    (count(*) FILTER (WHERE type = 'step.completed'))::integer AS steps,
    (count(*) FILTER (WHERE type IN ('step.failed', 'turn.failed')))::integer AS failures
  FROM (SELECT type, recorded_at, lag(recorded_at) OVER (ORDER BY seq) AS recorded_before
        FROM django_hookflow_event AS event WHERE event.run_uid = run.run_uid) AS event
) AS told;

CREATE VIEW hookflow_step_durations AS
SELECT event.run_uid, head.run_id, head.workflow_id, event.seq, event.step_id,
  event.payload->>'kind' AS kind,
  coalesce((event.payload->>'attempt')::integer, 1) AS attempt,
  CASE event.type WHEN 'step.completed' THEN 'completed' ELSE 'failed' END AS outcome,
  event.recorded_at AS ended_at,
  event.recorded_at - before.recorded_at AS duration,
  coalesce(before.recorded_at - waiting.recorded_at, interval '0') AS waited
FROM hookflow_event_told AS event
JOIN django_hookflow_head AS head ON head.run_uid = event.run_uid
LEFT JOIN django_hookflow_event AS before ON before.run_uid = event.run_uid AND before.seq = event.seq - 1
-- Looked for only where there has been something to wait for, and then it is a few events away.
LEFT JOIN LATERAL (
  SELECT earlier.recorded_at FROM django_hookflow_event AS earlier
  WHERE (event.payload->>'kind' = 'sleep' OR (event.payload->>'attempt')::integer > 1)
    AND earlier.run_uid = event.run_uid AND earlier.seq < event.seq AND earlier.step_id = event.step_id
    AND earlier.type IN ('step.failed', 'sleep.started')
  ORDER BY earlier.seq DESC LIMIT 1
) AS waiting ON true
WHERE event.type IN ('step.completed', 'step.failed');

CREATE VIEW hookflow_failures AS
SELECT event.run_uid, head.run_id, head.workflow_id, event.seq,
  split_part(event.type, '.', 1) AS what,
  event.step_id,
  event.payload->'error'->>'type' AS error_type,
  event.payload->'error'->>'message' AS error_message,
  coalesce(event.payload->>'attempt', event.payload->>'attempts')::integer AS attempt,
  event.type = 'run.failed' OR event.payload->>'retry_in' IS NULL
    AND (event.payload IS NOT NULL OR event.type = 'run.diverged') AS final,
  make_interval(secs => (event.payload->>'retry_in')::float8) AS retry_in,
  event.recorded_at AS failed_at
FROM hookflow_event_told AS event
JOIN django_hookflow_head AS head ON head.run_uid = event.run_uid
WHERE event.type IN ('step.failed', 'turn.failed', 'run.failed', 'run.diverged');

CREATE VIEW hookflow_operations AS
SELECT event.run_uid, head.run_id, head.workflow_id, event.seq,
  event.type AS operation,
  event.step_id,
  event.actor,
  nullif(event.payload->>'reason', '') AS reason,
  event.recorded_at AS operated_at
FROM hookflow_event_told AS event
JOIN django_hookflow_head AS head ON head.run_uid = event.run_uid
WHERE event.type IN ('run.cancelled', 'run.paused', 'run.resumed', 'run.replayed', 'run.replay_repeated', 'run.restarted',
                     'run.rewound', 'step.resolved', 'event.redacted', 'dead_letter.removed')
   OR event.type = 'run.triggered' AND event.actor IS NOT NULL;

DO $comment$
DECLARE
  described record;
BEGIN
  FOR described IN SELECT * FROM (VALUES
    ('hookflow_run_durations', NULL, 'One row a run that is not archived: how long it took, and how much of that it waited.'),
    ('hookflow_run_durations', 'status', 'as in django_hookflow_workflowrun'),
    ('hookflow_run_durations', 'triggered_at', 'when the run was started by somebody'),
    ('hookflow_run_durations', 'started_at', 'when its first turn began; null before'),
    ('hookflow_run_durations', 'ended_at', 'when it completed, failed or was cancelled; null before'),
    ('hookflow_run_durations', 'duration', 'from triggered_at to ended_at; null before it has ended'),
    ('hookflow_run_durations', 'waited', 'the time before each turn since the event before it: asleep, until a retry, held, or until a message came'),
    ('hookflow_run_durations', 'worked', 'duration without waited; null before it has ended'),
    ('hookflow_run_durations', 'turns', 'how many turns have begun'),
    ('hookflow_run_durations', 'steps', 'how many times a step completed, those superseded by a rewind included'),
    ('hookflow_run_durations', 'failures', 'how many attempts of steps, or of what stands between steps, failed'),
    ('hookflow_step_durations', NULL, 'One row for each attempt of a step that came to an end; an attempt whose worker was lost has none.'),
    ('hookflow_step_durations', 'seq', 'of the event that ended the attempt'),
    ('hookflow_step_durations', 'kind', 'run, atomic, call, sleep'),
    ('hookflow_step_durations', 'attempt', 'from 1; counts anew after a replay or a rewind'),
    ('hookflow_step_durations', 'outcome', 'completed or failed'),
    ('hookflow_step_durations', 'duration', 'since the event before it in its run: the attempt itself, and what the workflow did in front of it'),
    ('hookflow_step_durations', 'waited', 'between the failure of the attempt before, or the beginning of the sleep, and the turn in which this one ended'),
    ('hookflow_failures', NULL, 'One row for each failure that the log tells of.'),
    ('hookflow_failures', 'seq', 'of the event'),
    ('hookflow_failures', 'what', 'step: an attempt of a step; turn: the workflow, between steps; run: the run, failed or diverged'),
    ('hookflow_failures', 'step_id', 'the step, or the step the run failed in; null if it was none'),
    ('hookflow_failures', 'error_type', 'dotted path of the exception''s class; null where the payload is redacted'),
    ('hookflow_failures', 'error_message', 'its message; null where the payload is redacted'),
    ('hookflow_failures', 'attempt', 'which attempt it was; of a run, how many there were'),
    ('hookflow_failures', 'final', 'whether it is not tried again by itself'),
    ('hookflow_failures', 'retry_in', 'how long after it the next attempt is due; null if final'),
    ('hookflow_failures', 'failed_at', 'when it was recorded'),
    ('hookflow_operations', NULL, 'One row for each thing that people did to runs: who, what, when and why.'),
    ('hookflow_operations', 'seq', 'of the event'),
    ('hookflow_operations', 'operation', 'the type of the event: run.cancelled, run.paused, run.resumed, run.replayed, run.rewound, step.resolved, …'),
    ('hookflow_operations', 'step_id', 'the step it was about, if it was about one'),
    ('hookflow_operations', 'actor', 'who, as the caller named them; null if they were not named'),
    ('hookflow_operations', 'reason', 'why, as the caller said; null if nothing was said'),
    ('hookflow_operations', 'operated_at', 'when it was recorded')
  ) AS d (view, field, text) LOOP
    EXECUTE CASE WHEN described.field IS NULL THEN format('COMMENT ON VIEW %I IS %L', described.view, described.text)
                 ELSE format('COMMENT ON COLUMN %I.%I IS %L', described.view, described.field, described.text) END;
  END LOOP;
  FOR described IN
    SELECT attrelid::regclass AS view, attname AS field FROM pg_attribute
    WHERE attname IN ('run_uid', 'run_id', 'workflow_id', 'step_id', 'ended_at') AND col_description(attrelid, attnum) IS NULL
      AND attrelid IN ('hookflow_run_durations'::regclass, 'hookflow_step_durations'::regclass, 'hookflow_failures'::regclass,
                       'hookflow_operations'::regclass)
  LOOP
    EXECUTE format('COMMENT ON COLUMN %s.%I IS %L', described.view, described.field, CASE described.field
      WHEN 'run_uid' THEN 'the run, by the key of the log' WHEN 'run_id' THEN 'the run, by the id its caller knows'
      WHEN 'workflow_id' THEN 'the workflow it is a run of' WHEN 'step_id' THEN 'the step'
      WHEN 'ended_at' THEN 'when the attempt ended' END);
  END LOOP;
END $comment$;
