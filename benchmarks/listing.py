"""The admin's list of runs, with so many of them: how long the server takes for each way of looking at it."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from benchmarks.report import Figure

if TYPE_CHECKING:
    from django.test import Client

RUNS = "/admin/django_hookflow/workflowrun/"

#: Runs of thirty days, one after the other: most completed, some in every other state, a few stuck. The first hundredth
#: is of a workflow that nobody starts any more, which is the hard case for a list that begins at the newest. Set by set
#: and not through the log: what lists read is all there.
FILL = """
TRUNCATE django_hookflow_workflowrun, django_hookflow_wait, django_hookflow_deadletterentry, django_hookflow_outbox CASCADE;

INSERT INTO django_hookflow_workflowrun
  (id, run_id, workflow_id, status, data, error_type, error_message, created_at, updated_at, completed_at, label)
SELECT
  (lpad(to_hex((extract(epoch FROM created_at) * 1000)::bigint), 12, '0') || '70008' || substr(md5(n::text), 1, 15))::uuid,
  'order-' || lpad(n::text, 9, '0'), CASE WHEN n <= {runs} / 100 THEN 'shop.retired' ELSE 'shop.flow-' || n % 7 END, status,
  jsonb_build_object('order', n), '', '', created_at, created_at + interval '1 second',
  CASE WHEN status IN ('completed', 'failed', 'cancelled') THEN created_at + n % 60 * interval '1 second' END,
  CASE WHEN n % 10 = 0 THEN 'customer-' || n % 1000 ELSE '' END
FROM (
  SELECT n, now() - ({runs} - n) * (interval '30 days' / {runs}) AS created_at,
    CASE WHEN n % 1000 < 900 THEN 'completed' WHEN n % 1000 < 930 THEN 'failed' WHEN n % 1000 < 935 THEN 'cancelled'
         WHEN n % 1000 < 937 THEN 'in_doubt' WHEN n % 1000 < 938 THEN 'diverged' WHEN n % 1000 < 940 THEN 'paused'
         WHEN n % 1000 < 950 THEN 'pending' ELSE 'running' END AS status
  FROM generate_series(1, {runs}) AS n
) AS run;

-- What is waited for: of the runs that run half sleep, a few are about to try again, others are held, in doubt or diverged;
-- every tenth run that lives has a deadline.
INSERT INTO django_hookflow_wait (id, run_uid, step_id, kind, due_at, since_seq)
SELECT row_number() OVER (ORDER BY created_at), id, CASE WHEN kind IN ('sleep', 'backoff', 'doubt') THEN 'wait' ELSE '' END, kind,
  CASE WHEN kind IN ('sleep', 'backoff', 'deadline') THEN now() + interval '30 days' END, 3
FROM (
  SELECT id, created_at, CASE status WHEN 'paused' THEN 'hold' WHEN 'in_doubt' THEN 'doubt' WHEN 'diverged' THEN 'divergence'
    WHEN 'running' THEN CASE WHEN right(run_id, 9)::integer % 2 = 0 THEN 'sleep'
                             WHEN right(run_id, 9)::integer % 1000 = 999 THEN 'backoff' END END AS kind
  FROM django_hookflow_workflowrun
  UNION ALL
  SELECT id, created_at, 'deadline' FROM django_hookflow_workflowrun
  WHERE completed_at IS NULL AND right(run_id, 9)::integer % 10 = 0
) AS waiting
WHERE kind IS NOT NULL;

-- What is announced: sleepers, turns that wait for a relay, and every hundredth that has waited for an hour.
INSERT INTO django_hookflow_outbox (run_uid, seq, due_at, announced_at, send_at, attempts)
SELECT id, 3, due_at, now() - interval '1 hour', greatest(due_at, now()), 1
FROM (SELECT run.id, coalesce(wait.due_at,
        CASE WHEN row_number() OVER (ORDER BY run.created_at) % 100 = 0 THEN now() - interval '1 hour' ELSE now() END) AS due_at
      FROM django_hookflow_workflowrun AS run
      LEFT JOIN django_hookflow_wait AS wait ON wait.run_uid = run.id AND wait.kind IN ('sleep', 'backoff')
      WHERE run.status IN ('running', 'pending')) AS live;

INSERT INTO django_hookflow_deadletterentry (id, run_uid, seq, workflow_id, run_id, step_id, payload, error_type,
  error_message, error_traceback, fingerprint, attempt_count, is_replayed, created_at)
SELECT row_number() OVER (ORDER BY created_at), id, 6, workflow_id, run_id, 'charge', '{{}}', 'shop.Declined', 'declined', '',
  left(md5(right(run_id, 1)), 16), 3,
  false, created_at
FROM django_hookflow_workflowrun WHERE status = 'failed';

-- The events of the newest tenth: one turn with three steps, of which one needed a second attempt.
INSERT INTO django_hookflow_event (run_uid, seq, type, step_id, facts, recorded_at, hash)
SELECT id, seq, types[seq], step_ids[seq],
  CASE seq WHEN 2 THEN json_build_object('worker', 'w', 'message_id', 'msg_' || age) ELSE '{{"attempt":1,"took":0.1}}' END,
  created_at + seq * interval '100 milliseconds', sha256('')
FROM (SELECT *, row_number() OVER (ORDER BY created_at DESC) AS age
      FROM django_hookflow_workflowrun ORDER BY created_at DESC LIMIT {runs} / 10) AS run,
  (SELECT ARRAY['run.triggered','turn.started','step.completed','step.failed','step.completed','step.completed'] AS types,
          ARRAY[NULL,NULL,'validate','charge','charge','send'] AS step_ids) AS story,
  generate_series(1, 6) AS seq
ORDER BY created_at, seq
"""
VACUUM = """VACUUM ANALYZE django_hookflow_workflowrun, django_hookflow_wait, django_hookflow_outbox, django_hookflow_lease,
  django_hookflow_event, django_hookflow_deadletterentry"""

#: Ways of looking at the list, by name. The last page is the last that is offered.
VIEWS: dict[str, dict[str, Any]] = {
    "all": {},
    "the last page offered": {"p": 20},
    "older runs": {"until": "2000-01-01"},
    "the last week": {"when": "week"},
    "oldest first": {"o": 5},
    "failed": {"status__exact": "failed"},
    "completed": {"status__exact": "completed"},
    "diverged": {"status__exact": "diverged"},
    "of one workflow": {"workflow": "shop.flow-3"},
    "of one workflow, the last page offered": {"workflow": "shop.flow-3", "p": 20},
    "failed, of one workflow": {"workflow": "shop.flow-3", "status__exact": "failed"},
    "of a workflow long retired": {"workflow": "shop.retired"},
    "of no workflow there is": {"workflow": "shop.nothing"},
    "sleeping": {"state": "sleeping"},
    "waiting": {"state": "waiting"},
    "retrying": {"state": "retrying"},
    "retrying, of one workflow": {"state": "retrying", "workflow": "shop.flow-3"},
    "paused": {"status__exact": "paused"},
    "in doubt": {"status__exact": "in_doubt"},
    "sleeping, of one workflow": {"state": "sleeping", "workflow": "shop.flow-3"},
    "stuck": {"state": "stuck"},
    "stuck, of one workflow": {"state": "stuck", "workflow": "shop.flow-3"},
    "search: an id": {"q": "order-000000777"},
    "search: how every id begins": {"q": "order-"},
    "search: how some ids begin": {"q": "order-0000001"},
    "search: how no id begins": {"q": "parcel-"},
    "search: how ids begin, failed": {"q": "order-0000009", "status__exact": "failed"},
    "search: a label": {"q": "customer-770"},
    "search: how labels begin": {"q": "customer-7"},
    "search: a step": {"q": "step:charge"},
    "search: no step": {"q": "step:nothing"},
    "search: a message": {"q": "message:msg_25"},
    "search: an error": {"q": "error:Declined"},
    "search: a cause": {"q": "cause:eccbc87e4b5ce2fe"},
    "search: an id with a slip": {"q": "ordr-000000777"},
    "search: a value in the data": {"q": "data.order:99990"},
    "search: a value in the data, of one workflow": {"q": "data.order:99990", "workflow": "shop.flow-2"},
}


def measure_listing(runs: int, rounds: int) -> list[Figure]:
    """Adds ``runs`` runs and looks at their list in each way; the time of a request, inside the process that serves it."""
    fill(runs)
    client = log_in()
    return [
        Figure(f"list of {runs:,} runs: {name}", median_milliseconds(client, query, rounds), "ms", at_most=200)
        for name, query in VIEWS.items()
    ]


def fill(runs: int) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(FILL.format(runs=runs))
        cursor.execute(VACUUM)


def log_in() -> Client:
    from django.contrib.auth.models import User
    from django.test import Client

    client = Client()
    client.force_login(User.objects.create_superuser("benchmarks"))
    return client


def median_milliseconds(client: Client, query: dict[str, Any], rounds: int) -> float:
    url = f"{RUNS}?{urlencode(query)}"
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        response = client.get(url)
        times.append((time.perf_counter() - start) * 1000)
        assert response.status_code == 200 or (response.status_code == 302 and "e=1" in response["Location"]), url
    return statistics.median(times)
