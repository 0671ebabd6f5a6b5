"""A database made with psql alone, and an application on it that has no other rights than hookflow_app."""

from __future__ import annotations

import json
import re

import pytest

from tests.e2e.conftest import migrate
from tests.e2e.project import Project
from tests.roles.conftest import Deploy
from tests.roles.dba import DBA, FOLDER, MIGRATIONS, Guarded
from tests.sql.catalog import catalog_of
from tests.waiting import wait_until

#: Everything an operator does from code, each followed by how its run then stands; turns are taken by a relay between.
OPERATIONS = """
import json
from django_hookflow.delivery.relay import Relay
from django_hookflow.models import DeadLetterEntry, WorkflowRun
from django_hookflow.registry import get_workflow
from django_hookflow.runtime.receiving import receive

def go_on():
    relay = Relay("inline", receive, 1)
    while relay.run_once():
        pass

def run_of(workflow, **data):
    return WorkflowRun.objects.get(run_id=get_workflow(workflow).trigger(data=data))

seen = {}
cancelled = run_of("two-effects")
seen["cancel"] = cancelled.cancel(reason="not wanted"), cancelled.status
held = run_of("two-effects")
seen["pause"] = held.pause(), held.status
go_on()
held.refresh_from_db()
seen["still"] = held.status
seen["resume"] = held.resume(), held.status
go_on()
held.refresh_from_db()
seen["resumed"] = held.status
seen["rewind"] = held.rewind(to_step="atomic"), held.status
go_on()
held.refresh_from_db()
seen["rewound"] = held.status
failed = run_of("waiting")
go_on()
failed.refresh_from_db()
seen["failed"] = failed.status
DeadLetterEntry.objects.get(run_id=failed.run_id).replay()
go_on()
seen["replayed"] = list(DeadLetterEntry.objects.filter(run_id=failed.run_id).order_by("id").values_list("is_replayed", flat=True))
print(json.dumps(seen))
"""


@pytest.fixture(scope="module")
def guarded(dba: DBA, project: Project) -> Guarded:
    """The log by psql; the project's other tables by ``migrate``, as a login that may, and usable by the application."""
    guarded = dba.create_guarded()
    web = dba.role("web")
    guarded.deployer.execute(
        f"ALTER DEFAULT PRIVILEGES GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {web};"
        f"ALTER DEFAULT PRIVILEGES GRANT USAGE ON SEQUENCES TO {web}"
    )
    migrate(project, guarded.deployer)
    return guarded


def test_the_catalog_is_that_of_migrate(dba: DBA, project: Project) -> None:
    by_psql, by_migrate = dba.create_database(), dba.create_database()
    dba.apply(by_psql, *MIGRATIONS)
    migrate(project, by_migrate)
    made_by_psql, made_by_migrate = catalog_of(by_psql.name), catalog_of(by_migrate.name)
    for kind, rows in made_by_migrate.items():
        assert made_by_psql[kind] == rows, kind
        assert rows, kind


def test_the_command_of_the_readme_installs_it(dba: DBA) -> None:
    """The first block of migrations_sql/README.md, in a shell, as it stands there."""
    database = dba.create_database()
    (command, *_) = re.findall(
        r"^```sh\n(.*?)^```$", (FOLDER / "README.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    done = dba.in_shell(database, command)
    assert done.returncode == 0, done.stderr
    assert catalog_of(database.name) == catalog_of(dba.create_guarded().database.name)


def test_runs_complete_by_webhook_and_relay(deploy: Deploy, guarded: Guarded) -> None:
    """A web process and deliveries by QStash; then a relay that finds a message QStash has lost."""
    shop = deploy(guarded.web)
    shop.start_web()
    run_id = shop.start("shop.workflows.process_order", {"order_id": "1"})
    shop.wait_for_completion(1)
    assert shop.ledger(run_id) == ["ledger"]
    assert shop.events(run_id)[-1] == "run.completed"

    shop.peer.losing = 1
    lost = shop.start("two-effects")
    wait_until(lambda: shop.peer.losing == 0, "the message is lost")
    guarded.database.execute("UPDATE django_hookflow_outbox SET send_at = now()")
    assert shop.sweep() == 1
    shop.wait_for_completion(2)
    assert shop.ledger(lost) == ["atomic", "plain"]


def test_a_worker_without_a_web_hop(deploy: Deploy, guarded: Guarded) -> None:
    """A relay that runs turns itself, a sleep included, and all that operators do."""
    shop = deploy(guarded.web, DJANGO_HOOKFLOW_TRANSPORT="inline")
    done = shop.manage("shell", "-c", OPERATIONS)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "cancel": [True, "cancelled"],
        "pause": [True, "paused"],
        "still": "paused",
        "resume": [True, "running"],
        "resumed": "completed",
        "rewind": [True, "running"],
        "rewound": "completed",
        "failed": "failed",
        "replayed": [True, False],
    }
    start = "from django_hookflow.registry import get_workflow as w; print(w('shop.workflows.process_order').trigger(data={'order_id': '2'}))"
    run_id = shop.manage("shell", "-c", start).stdout.split()[-1]
    relay = shop.start_relay()
    wait_until(lambda: shop.status(run_id) == "completed", f"run {run_id} completed")
    relay.stop()


def test_commands_that_look_work_and_those_that_write_say_so(deploy: Deploy, guarded: Guarded) -> None:
    shop = deploy(guarded.web, DJANGO_HOOKFLOW_TRANSPORT="inline")
    looked = shop.manage("hookflow_rebuild", "--check")
    assert (looked.returncode, looked.stderr) == (0, "")
    refused = shop.manage("hookflow_rebuild")
    assert refused.returncode != 0
    assert "is not allowed to rebuild projections" in refused.stderr
    as_owner = deploy(guarded.deployer, DJANGO_HOOKFLOW_TRANSPORT="inline")
    rebuilt = as_owner.manage("hookflow_rebuild")
    assert rebuilt.returncode == 0, rebuilt.stderr


def test_the_check_says_which_layers_are_on(deploy: Deploy, guarded: Guarded) -> None:
    arguments = ("check", "--deploy", "--database", "default")
    as_app = deploy(guarded.web).manage(*arguments)
    assert "django_hookflow.I030" in as_app.stderr
    assert "django_hookflow.W030" not in as_app.stderr
    as_owner = deploy(guarded.deployer).manage(*arguments)
    assert "django_hookflow.W030" in as_owner.stderr
