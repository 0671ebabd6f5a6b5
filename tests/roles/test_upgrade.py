"""A database of an older release, with runs in it, is given the later files and goes on."""

from __future__ import annotations

import json
import uuid
from functools import partial
from typing import Any

import psycopg
import pytest

from django_hookflow.runtime.trigger import uuid7
from tests.e2e.conftest import migrate
from tests.e2e.deployment import Deployment
from tests.e2e.project import Project
from tests.log.calls import append as append_events
from tests.log.calls import ask, claim, failure, sleep, step
from tests.roles.conftest import Deploy
from tests.roles.dba import DBA, MIGRATIONS, ROLES, Guarded
from tests.sql.catalog import catalog_of
from tests.waiting import wait_until

#: An application can write with these; the others are here what a later release brings.
OLDER = [path for path in MIGRATIONS if path.name < "0006"]
LATER = [path for path in MIGRATIONS if path not in OLDER]
ORDER = "shop.workflows.process_order"
FAILURE = failure("plain", "no network", error="builtins.OSError", attempts=4)


@pytest.fixture
def older(dba: DBA) -> Guarded:
    """One run that has finished, one that sleeps and one that has failed, as the older release has written them."""
    guarded = dba.create_guarded(files=OLDER)
    with psycopg.connect(guarded.web.conninfo, autocommit=True) as session:
        finished = begin(session, "finished", "two-effects")
        done = [step(name, name) for name in ("plain", "atomic")]
        append_events(finished, 2, *done, ("run.completed", None, {"result": None}), ends_turn=True, session=session)
        asleep = begin(session, "asleep", ORDER, order_id="7")
        validated = step("validate", {"id": "7", "amount": 100})
        append_events(asleep, 2, validated, sleep("wait-for-payment", 1), ends_turn=True, session=session)
        failed = begin(session, "failed", "two-effects")
        append_events(failed, 2, FAILURE, ends_turn=True, session=session)
    return guarded


def begin(session: psycopg.Connection[Any], run_id: str, workflow: str, **data: Any) -> uuid.UUID:
    run_uid = uuid7()
    statement = "SELECT * FROM hookflow_start(%s, %s, %s, '{}'::json, %s::json, NULL)"
    ask(statement, run_uid, run_id, workflow, json.dumps({"data": data}), session=session)
    assert claim(run_id, 1, workflow_id=workflow, session=session)[0]["answer"] == "run"
    return run_uid


def is_completed(shop: Deployment, run_id: str) -> bool:
    return shop.status(run_id) == "completed"


def upgrade_by_psql(dba: DBA, project: Project, guarded: Guarded) -> None:
    """As a login that is a member of hookflow_owner and acts as it; new files and roles in one transaction."""
    dba.apply(guarded.deployer, *LATER, ROLES, options=f"-c role={dba.role('owner')}")


def upgrade_by_migrate(dba: DBA, project: Project, guarded: Guarded) -> None:
    """As a login that is a member of hookflow_owner. What it makes is its own until roles.sql has seen it."""
    migrate(project, guarded.deployer)
    dba.apply(guarded.deployer, ROLES)


@pytest.mark.parametrize("upgrade", [upgrade_by_psql, upgrade_by_migrate])
def test_runs_go_on_after_the_upgrade(dba: DBA, project: Project, deploy: Deploy, older: Guarded, upgrade: Any) -> None:
    upgrade(dba, project, older)
    assert catalog_of(older.database.name) == catalog_of(dba.create_guarded().database.name)

    migrate(project, older.deployer)  # nothing of ours: the rest of the project's tables
    older.deployer.execute(
        f"GRANT ALL ON shop_ledgerentry TO {dba.role('web')}; GRANT ALL ON SEQUENCE shop_ledgerentry_id_seq TO {dba.role('web')}"
    )
    shop = deploy(older.web, DJANGO_HOOKFLOW_TRANSPORT="inline")
    relay = shop.start_relay()
    replay = "from django_hookflow.dlq import DeadLetterEntry as D; print(D.objects.get().replay())"
    assert shop.manage("shell", "-c", replay).stdout.split()[-1] == "failed"
    for run_id in ("asleep", "failed", "finished"):
        wait_until(partial(is_completed, shop, run_id), f"{run_id} is completed")
    relay.stop()
    assert (shop.ledger("asleep"), shop.ledger("failed"), shop.ledger("finished")) == (
        ["ledger"],
        ["atomic", "plain"],
        [],
    )
    for command in (["hookflow_rebuild", "--check"], ["hookflow_verify"], ["migrate", "--check"]):
        done = shop.manage(*command)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_application_goes_on_between_the_two_steps(dba: DBA, older: Guarded) -> None:
    """SQL first, then code: what the older release calls is still there, and still the application's to call."""
    dba.apply(older.deployer, *LATER, ROLES, options=f"-c role={dba.role('owner')}")
    with psycopg.connect(older.web.conninfo, autocommit=True) as session:
        run_uid = begin(session, "between", "two-effects")
        append_events(run_uid, 2, ("run.completed", None, {"result": None}), ends_turn=True, session=session)
    assert older.analyst.value("SELECT status FROM django_hookflow_workflowrun WHERE run_id = 'between'") == "completed"
