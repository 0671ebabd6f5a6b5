"""``manage.py migrate`` alone takes a database of 0.0.4 over: what is in the log afterwards, and what users had in theirs."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from django_hookflow.runtime.failures import fingerprint
from tests.e2e.database import Database

if TYPE_CHECKING:
    from tests.upgrade.old_release import Project

LIVE = {"pending", "running", "sleeping", "awake", "ahead"}
#: How 0.0.x is to be looked at when it has been put aside.
OLD = "hookflow_0_0_"


def check_log(project: Project) -> None:
    """Projections are what the log says, and each chain holds, head and all."""
    assert "no differences" in project.manage("hookflow_rebuild", "--check")
    project.manage("hookflow_verify")


def rows(project: Project, query: str) -> list[tuple[Any, ...]]:
    return project.database.rows(query)


def test_every_run_is_there_with_what_it_was(upgraded: Project) -> None:
    differences = rows(
        upgraded,
        f"""SELECT old.run_id, old.status, new.status FROM {OLD}workflowrun AS old
        LEFT JOIN django_hookflow_workflowrun AS new USING (run_id),
        -- A run that failed first and completed in the end kept the message; it stands in the dead letter.
        LATERAL (SELECT CASE old.status WHEN 'completed' THEN '' ELSE old.error_message END) AS old_error (message)
        WHERE (old.workflow_id, hookflow_untagged(old.data), hookflow_untagged(old.result), old_error.message, old.created_at, old.completed_at)
            IS DISTINCT FROM (new.workflow_id, new.data, new.result, new.error_message, new.created_at, new.completed_at)
          OR new.status <> CASE WHEN old.status IN ('completed', 'failed') THEN old.status ELSE 'paused' END""",
    )
    assert differences == []
    kept = rows(
        upgraded,
        f"""SELECT count(*), bool_and(facts->>'status' = old.status AND (facts->>'updated_at')::timestamptz = old.updated_at)
        FROM {OLD}workflowrun AS old JOIN django_hookflow_event AS event ON event.type = 'run.imported' AND (facts->>'id')::bigint = old.id""",
    )
    assert kept == [(upgraded.database.value(f"SELECT count(*) FROM {OLD}workflowrun"), True)]


def test_every_step_is_there_with_its_result_and_its_time(upgraded: Project) -> None:
    differences = rows(
        upgraded,
        f"""SELECT run.run_id, old.step_id FROM {OLD}stepexecution AS old JOIN {OLD}workflowrun AS run ON run.id = old.workflow_run_id
        LEFT JOIN (django_hookflow_stepexecution AS new JOIN django_hookflow_workflowrun AS owner ON owner.id = new.workflow_run_id)
          ON owner.run_id = run.run_id AND new.step_id = old.step_id
        WHERE (hookflow_untagged(old.result), old.executed_at, 1) IS DISTINCT FROM (new.result, new.executed_at, new.attempts)""",
    )
    assert differences == [("sleeping", "wait")]  # which has not come to its end
    assert rows(
        upgraded,
        f"""SELECT wait.kind, wait.due_at = old.executed_at + interval '1 hour' FROM django_hookflow_wait AS wait
        JOIN django_hookflow_workflowrun AS run ON run.id = wait.run_uid, {OLD}stepexecution AS old
        WHERE run.run_id = 'sleeping' AND wait.step_id = 'wait' AND old.step_id = 'wait'
          AND old.workflow_run_id = (SELECT id FROM {OLD}workflowrun WHERE run_id = 'sleeping')""",
    ) == [("sleep", True)]


def test_every_dead_letter_is_there(upgraded: Project) -> None:
    letters = (
        """SELECT run_id, error_message, error_traceback, attempt_count, is_replayed FROM {} ORDER BY run_id, id"""
    )
    old = rows(upgraded, letters.format(f"{OLD}deadletterentry"))
    new = rows(upgraded, letters.format("django_hookflow_deadletterentry"))
    # A run that failed outside of a step had no letter; every failure has one now.
    assert [letter[:4] for letter in new if letter[0] != "crashed"] == [letter[:4] for letter in old]
    # One is replayed that 0.0.4 had replayed, and one after which the run went on.
    assert {letter[0] for letter in old if letter[4]} == {"replayed"}
    open_letters = [letter[0] for letter in new if not letter[4]]
    assert open_letters == ["crashed", "failed", "failed-twice", "stateless-failed"]
    causes = rows(upgraded, "SELECT error_type, error_message, fingerprint FROM django_hookflow_deadletterentry")
    assert {type_ for type_, *_ in causes} == {"LookupError", ""}
    assert [known for *_, known in causes] == [fingerprint(None, type_, message) for type_, message, _ in causes]


def test_projections_are_the_fold_of_the_log_and_every_chain_holds(upgraded: Project) -> None:
    check_log(upgraded)


def test_living_runs_are_held_with_nothing_announced(upgraded: Project) -> None:
    held = rows(
        upgraded,
        "SELECT run_id FROM django_hookflow_workflowrun WHERE status = 'paused' AND NOT starts_with(run_id, 'replay-')",
    )
    assert {run_id for (run_id,) in held} == LIVE
    assert upgraded.database.value("SELECT count(*) FROM django_hookflow_wait WHERE kind = 'hold'") == len(LIVE) + 1
    assert upgraded.database.value("SELECT count(*) FROM django_hookflow_outbox") == 0


def test_somebody_has_them_go_on(upgraded: Project) -> None:
    """One by one or in bulk; here a relay runs them."""
    upgraded.new(
        "-c",
        "import django; from django.conf import settings; settings.DJANGO_HOOKFLOW_TRANSPORT = 'inline'; django.setup()\n"
        "from django.core.management import call_command\nfrom django_hookflow.models import WorkflowRun\n"
        "for run in WorkflowRun.objects.filter(status='paused'): assert run.resume(actor='ops', reason='upgraded')\n"
        "call_command('hookflow_relay', '--once')\n",
    )
    statuses = dict(rows(upgraded, "SELECT run_id, status FROM django_hookflow_workflowrun"))
    assert {name: statuses[name] for name in LIVE} == {
        "pending": "running", "running": "running", "sleeping": "running", "awake": "completed", "ahead": "completed",
    }  # fmt: skip
    done = upgraded.done()
    assert sorted(done) == sorted(set(done))
    assert {"check 1", "charge 4", "ship 4", "charge 5"} <= set(done)
    assert not {"check 2", "check 3", "check 4", "check 5"} & set(done)
    check_log(upgraded)


def test_what_was_imported_can_be_redacted(upgraded: Project) -> None:
    upgraded.new(
        "-c",
        "import django; django.setup()\nfrom django_hookflow.models import WorkflowRun\n"
        "assert WorkflowRun.objects.get(run_id='failed').redact(reason='erasure', actor='ada')\n",
    )
    letter = "SELECT error_message, error_traceback FROM django_hookflow_deadletterentry WHERE run_id = 'failed'"
    assert rows(upgraded, letter) == [("", "")]
    check_log(upgraded)


def test_trigger_with_the_same_id_and_data_is_the_same_run(upgraded: Project) -> None:
    upgraded.new(
        "-c",
        "import django; django.setup()\n"
        "from django_hookflow.exceptions import RunConflict\nfrom shop.workflows import order\n"
        "assert order.trigger({'number': 6, 'seconds': 0}, run_id='completed') == 'completed'\n"
        "try: order.trigger({'number': 0}, run_id='completed')\n"
        "except RunConflict: pass\n"
        "else: raise AssertionError('no conflict')\n",
    )
    assert upgraded.database.value("SELECT count(*) FROM django_hookflow_outbox") == 0


def test_foreign_keys_of_the_project_go_on_working(upgraded: Project) -> None:
    of = "SELECT run.run_id FROM {} AS t LEFT JOIN django_hookflow_workflowrun AS run ON run.id = t.{} ORDER BY t.id"
    assert rows(upgraded, of.format("shop_order", "run_id")) == [("completed",), ("failed",), ("pending",), (None,)]
    assert rows(upgraded, of.format("shop_note", "run_id")) == [("completed",)] * 2
    assert rows(upgraded, of.format("shop_receipt", "run_id")) == [("failed",)]
    assert rows(upgraded, of.format("shop_trace", "run_id")) == [("completed",)]
    assert sorted(rows(upgraded, of.format("shop_basket_runs", "workflowrun_id"))) == [("completed",), ("sleeping",)]
    assert rows(upgraded, "SELECT run_id FROM shop_mention") == [("crashed",)]
    # As a new database would have them: the same columns, indexes and constraints.
    assert upgraded.manage("makemigrations", "--check", "--dry-run") == "No changes detected\n"
    upgraded.new(
        "-c",
        "import django; django.setup()\n"
        "from django_hookflow.models import WorkflowRun\nfrom shop.models import Basket, Note, Order, Receipt\n"
        "run = WorkflowRun.objects.get(run_id='completed')\n"
        "assert {o.number for o in Order.objects.filter(run=run)} == {0} and run.order_set.count() == 1\n"
        "assert Order.objects.get(run__run_id='failed').run.status == 'failed'\n"
        "Note.objects.create(run=run, text='c'); Order.objects.create(run=run, number=5)\n"
        "from django.db import IntegrityError, transaction\n"
        "for refused in (lambda: Note.objects.create(run=run, text='a'), lambda: Receipt.objects.create(run_id='%032x' % 1)):\n"
        "    try:\n        refused()\n    except IntegrityError: pass\n    else: raise AssertionError('taken')\n",
    )


def test_cleanup_does_what_their_on_delete_says(upgraded: Project) -> None:
    printed = upgraded.manage("cleanup_workflows", "--days-old", "0")
    assert "run 'failed' was kept: shop.Receipt 1 refers to it with on_delete=PROTECT" in printed
    left = {
        run_id
        for (run_id,) in rows(
            upgraded, "SELECT run_id FROM django_hookflow_workflowrun WHERE NOT starts_with(run_id, 'replay-')"
        )
    }
    assert left == LIVE | {"failed"}
    assert upgraded.database.value("SELECT count(*) FROM shop_note") == 0
    assert rows(upgraded, "SELECT number FROM shop_order WHERE run_id IS NULL ORDER BY 1") == [(0,), (99,)]


def test_the_url_has_the_name_it_had(upgraded: Project) -> None:
    reverse = (
        "import django; django.setup()\nfrom django.urls import reverse\n"
        "print(reverse('django_hookflow:django_hookflow_workflows:workflow_webhook', args=['order']))\n"
    )
    assert upgraded.new("-c", reverse) == upgraded.old("-c", reverse) == "/hookflow/workflow/order/\n"


@pytest.mark.parametrize("name", ["0002_workflowrun_retry_attempt", "0002_alter_deadletterentry_id_and_more"])
def test_other_names_that_are_recorded_are_in_nobodys_way(project: Project, name: str) -> None:
    project.database.execute(
        f"INSERT INTO django_migrations (app, name, applied) VALUES ('django_hookflow', '{name}', now())"
    )
    project.manage("migrate", "--verbosity", "0")
    project.manage("migrate", "--check")
    assert "schema" not in json.dumps(
        [line for line in project.manage("showmigrations", "django_hookflow").splitlines() if "[ ]" in line]
    )
    check_log(project)


def test_a_database_without_the_migration_that_makemigrations_writes(project: Project) -> None:
    """As of a project that has no foreign key to a run."""
    project.database.execute("DELETE FROM django_migrations WHERE app = 'django_hookflow' AND name LIKE '0002%'")
    project.database.execute("DELETE FROM django_migrations WHERE app = 'shop'")
    project.database.execute(
        "DROP TABLE shop_basket_runs, shop_basket, shop_order, shop_note, shop_receipt, shop_mention, shop_trace"
    )
    project.manage("migrate", "--verbosity", "0")
    check_log(project)


def test_once_more_changes_nothing(upgraded: Project) -> None:
    everything = "SELECT position, hash FROM django_hookflow_event ORDER BY 1"
    before = rows(upgraded, everything)
    upgraded.manage("migrate", "--verbosity", "0")
    upgraded.database.execute("CALL hookflow_import()")
    assert rows(upgraded, everything) == before


def test_what_was_interrupted_goes_on_with_the_rest(project: Project) -> None:
    project.manage("migrate", "django_hookflow", "0009_import", "--verbosity", "0")
    assert project.database.value("SELECT hookflow_import_next(0, 4)") == 4
    assert project.database.value("SELECT count(*) FROM django_hookflow_head") == 4
    project.manage("migrate", "--verbosity", "0")
    assert project.database.value(f"SELECT count(*) FROM {OLD}workflowrun") + 1 == project.database.value(
        "SELECT count(*) FROM django_hookflow_head"
    )
    check_log(project)


def test_a_dba_imports_by_hand(project: Project) -> None:
    project.manage("migrate", "django_hookflow", "0009_import", "--verbosity", "0")
    project.database.execute("CALL hookflow_import(3)")
    project.manage("migrate", "--verbosity", "0")
    assert project.database.value("SELECT pg_typeof(run_id)::text FROM shop_order LIMIT 1") == "uuid"
    check_log(project)


@pytest.mark.parametrize("target", ["0002_alter_stepexecution_step_id_alter_workflowrun_data", "zero"])
def test_the_way_back_leads_to_a_0_0_4_that_works(project: Project, live: dict[str, Any], target: str) -> None:
    tables = ("workflowrun", "stepexecution", "deadletterentry")
    everything = [f"SELECT t::text FROM django_hookflow_{table} AS t ORDER BY id" for table in tables]
    before = [rows(project, query) for query in everything]
    orders = rows(project, "SELECT id, run_id FROM shop_order ORDER BY id")
    project.manage("migrate", "--verbosity", "0")

    project.manage("migrate", "django_hookflow", target, "--verbosity", "0")

    assert [rows(project, query) for query in everything] == before
    assert project.database.value("SELECT count(*) FROM pg_proc WHERE starts_with(proname, 'hookflow')") == 0
    if target == "zero":  # Django takes back what depends on it first, and then looks whether the tables are there
        project.old("-m", "django", "migrate", "--fake-initial", "--verbosity", "0")
    else:
        assert rows(project, "SELECT id, run_id FROM shop_order ORDER BY id") == orders
        assert "No migrations to apply" in project.old("-m", "django", "migrate")
    project.old(
        "-c",
        "import django; django.setup()\nfrom django_hookflow.models import WorkflowRun\n"
        "from django_hookflow.persistence import WorkflowPersistence as p\n"
        "p.create_run('after', 'order', {}); p.save_step('after', 'check', 1); p.mark_completed('after', 2)\n"
        "assert WorkflowRun.objects.get(run_id='after').step_executions.count() == 1\n",
    )
    project.manage("migrate", "--verbosity", "0")  # and forward again
    assert (
        project.database.value("SELECT status FROM django_hookflow_workflowrun WHERE run_id = 'after'") == "completed"
    )
    check_log(project)


def test_a_new_database_notices_nothing(project: Project, server: str) -> None:
    database = Database.create(server)
    try:
        fresh = replace(project, database=database)
        fresh.manage("migrate", "--verbosity", "0")
        assert database.value("SELECT count(*) FROM pg_class WHERE starts_with(relname, 'hookflow_0_0')") == 0
        assert database.value("SELECT count(*) FROM django_hookflow_head") == 0
        fresh.manage("migrate", "django_hookflow", "zero", "--verbosity", "0")
        assert database.value("SELECT count(*) FROM pg_class WHERE relname ~ 'hookflow'") == 0
        fresh.manage("migrate", "--verbosity", "0")
    finally:
        database.drop(server)
