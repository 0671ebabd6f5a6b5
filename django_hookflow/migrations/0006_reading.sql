-- Reading the log: what a reader needs to miss nothing, how far each subscriber has come, and views for analysts.
--
-- position grows with time, but transactions commit in another order. A reader that wants every event once remembers
-- which transactions had ended when it last looked (a pg_snapshot), so each event says which one wrote it.

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
  run.created_at AS triggered_at, history.started_at, run.completed_at AS ended_at,
  run.completed_at - run.created_at AS duration,
  history.waited, history.worked,
  history.turns, history.steps, history.failures
FROM (SELECT id AS run_uid, * FROM django_hookflow_workflowrun) AS run
CROSS JOIN LATERAL (
  SELECT min(recorded_at) FILTER (WHERE is_turn) AS started_at,
    coalesce(sum(recorded_at - idle_since) FILTER (WHERE is_turn OR is_end AND NOT in_turn), interval '0') AS waited,
    coalesce(sum(took), interval '0') AS worked,
    (count(*) FILTER (WHERE is_turn))::integer AS turns,
    (count(*) FILTER (WHERE type = 'step.completed'))::integer AS steps,
    (count(*) FILTER (WHERE type IN ('step.failed', 'turn.failed')))::integer AS failures
  FROM (
    -- A turn that begins, or an end that comes without one, ends a time in which nobody worked on the run: since what was
    -- recorded last by a turn, or since the trigger.
    SELECT event.*,
      max(recorded_at) FILTER (WHERE is_of_turn OR type = 'run.triggered') OVER before AS idle_since,
      max(seq) FILTER (WHERE is_turn) OVER before > coalesce(max(seq) FILTER (WHERE ends_turn) OVER before, 0) AS in_turn
    FROM (
      SELECT seq, type, recorded_at, type = 'turn.started' AS is_turn, hookflow_ends_run(type) AS is_end,
        make_interval(secs => (facts->>'took')::float8) AS took,
        type IN ('step.suspended', 'turn.failed', 'turn.abandoned', 'run.diverged') OR hookflow_ends_run(type) AS ends_turn,
        -- A step.completed of another kind, or a resolved one, ends a wait, and no turn has worked at it.
        type IN ('turn.started', 'turn.failed', 'turn.abandoned', 'step.intended', 'step.suspended', 'run.diverged')
          OR hookflow_ends_run(type) OR type = 'step.failed' AND facts->>'kind' IS DISTINCT FROM 'child'
          OR type = 'step.completed' AND facts->>'kind' IN ('run', 'atomic', 'call') AND facts->>'resolved' IS NULL AS is_of_turn
      FROM django_hookflow_event AS event WHERE event.run_uid = run.run_uid
    ) AS event
    WINDOW before AS (ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
  ) AS event
) AS history;

CREATE VIEW hookflow_step_durations AS
SELECT event.run_uid, head.run_id, head.workflow_id, event.seq, event.step_id,
  event.facts->>'kind' AS kind,
  coalesce((event.facts->>'attempt')::integer, 1) AS attempt,
  CASE event.type WHEN 'step.completed' THEN 'completed' ELSE 'failed' END AS outcome,
  event.recorded_at AS ended_at,
  make_interval(secs => (event.facts->>'took')::float8) AS duration,
  coalesce(waiting.ended_at - waiting.began_at, interval '0') AS waited
FROM django_hookflow_event AS event
JOIN django_hookflow_head AS head ON head.run_uid = event.run_uid
-- From the step's last wait to what settled it: the retry, or this very outcome. Looked for only where there has been
-- something to wait for, and then it is a few events away.
LEFT JOIN LATERAL (
  SELECT earlier.type, earlier.recorded_at AS began_at, coalesce((
      SELECT settling.recorded_at FROM django_hookflow_event AS settling
      WHERE settling.run_uid = event.run_uid AND settling.seq > earlier.seq AND settling.seq < event.seq
        AND settling.step_id = event.step_id AND settling.type = 'step.retried'
      ORDER BY settling.seq LIMIT 1), event.recorded_at) AS ended_at
  FROM django_hookflow_event AS earlier
  WHERE (event.facts->>'kind' NOT IN ('run', 'atomic', 'call') OR (event.facts->>'attempt')::integer > 1
         OR event.facts->>'resolved' IS NOT NULL)
    AND earlier.run_uid = event.run_uid AND earlier.seq < event.seq AND earlier.step_id = event.step_id
    AND earlier.type IN ('step.suspended', 'step.superseded')
  ORDER BY earlier.seq DESC LIMIT 1
) AS waiting ON waiting.type = 'step.suspended'
WHERE event.type IN ('step.completed', 'step.failed');

CREATE VIEW hookflow_failures AS
SELECT event.run_uid, head.run_id, head.workflow_id, event.seq,
  split_part(event.type, '.', 1) AS what,
  event.step_id,
  event.facts->>'error' AS error_type,
  event.payload->>'message' AS error_message,
  coalesce(event.facts->>'attempt', event.facts->>'attempts')::integer AS attempt,
  event.facts->>'retry_in' IS NULL AS final,
  make_interval(secs => (event.facts->>'retry_in')::float8) AS retry_in,
  event.recorded_at AS failed_at,
  event.facts->>'fingerprint' AS fingerprint
FROM hookflow_event_readable AS event
JOIN django_hookflow_head AS head ON head.run_uid = event.run_uid
WHERE event.type IN ('step.failed', 'turn.failed', 'run.failed', 'run.diverged');

CREATE VIEW hookflow_operations AS
SELECT event.run_uid, head.run_id, head.workflow_id, event.seq,
  event.type AS operation,
  event.step_id,
  event.actor,
  nullif(event.payload->>'reason', '') AS reason,
  event.recorded_at AS operated_at
FROM hookflow_event_readable AS event
JOIN django_hookflow_head AS head ON head.run_uid = event.run_uid
WHERE hookflow_is_act(event.type) OR event.type = 'run.triggered' AND event.actor IS NOT NULL;

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
    ('hookflow_run_durations', 'waited', 'when nobody worked on it, up to its last turn or its end: asleep, until a retry, held, in doubt, failed, or until a message came'),
    ('hookflow_run_durations', 'worked', 'what the attempts of its steps took, by their workers'' clocks: lost attempts and what stands between steps left out'),
    ('hookflow_run_durations', 'turns', 'how many turns have begun'),
    ('hookflow_run_durations', 'steps', 'how many times a step completed, those superseded by a rewind included'),
    ('hookflow_run_durations', 'failures', 'how many attempts of steps, or of what stands between steps, failed'),
    ('hookflow_step_durations', NULL, 'One row for each attempt of a step that came to an end; an attempt whose worker was lost has none.'),
    ('hookflow_step_durations', 'seq', 'of the event that ended the attempt'),
    ('hookflow_step_durations', 'kind', 'run, atomic, call, or of a wait what it was for: sleep, …'),
    ('hookflow_step_durations', 'attempt', 'from 1; counts anew after a replay or a rewind'),
    ('hookflow_step_durations', 'outcome', 'completed or failed'),
    ('hookflow_step_durations', 'duration', 'how long the attempt worked, by its worker''s clock, whatever was recorded meanwhile; 0 where a wait came to its end'),
    ('hookflow_step_durations', 'waited', 'what it waited for before: from the failure of the attempt before to the retry, or from the beginning of a sleep or a doubt to its end'),
    ('hookflow_failures', NULL, 'One row for each failure in the log.'),
    ('hookflow_failures', 'seq', 'of the event'),
    ('hookflow_failures', 'what', 'step: an attempt of a step; turn: the workflow, between steps; run: the run, failed or diverged'),
    ('hookflow_failures', 'step_id', 'the step, or the step the run failed in; null if it was none'),
    ('hookflow_failures', 'error_type', 'dotted path of the exception''s class, also where the payload is redacted'),
    ('hookflow_failures', 'error_message', 'its message; null where the payload is redacted'),
    ('hookflow_failures', 'attempt', 'which attempt it was; of a run, how many there were'),
    ('hookflow_failures', 'final', 'whether it is not tried again by itself'),
    ('hookflow_failures', 'retry_in', 'how long after it the next attempt is due; null if final'),
    ('hookflow_failures', 'failed_at', 'when it was recorded'),
    ('hookflow_failures', 'fingerprint', 'the same for failures of the same cause; null of a divergence'),
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
