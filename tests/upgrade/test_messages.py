"""Messages that 0.0.4 left with QStash arrive after the upgrade, signed as QStash signs: their runs go on."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.e2e.database import Database
from tests.roles.dba import DBA, ROLES
from tests.upgrade.test_takeover import check_log, rows

if TYPE_CHECKING:
    from tests.upgrade.old_release import Project

SUSPENDED, COMPLETED, STALE = (
    {"code": 200, "answer": {"status": name}} for name in ("suspended", "completed", "stale")
)

#: What is done after the upgrade by a run, and what its message's delivery comes to.
GOES_ON = {
    "pending": (["check 1"], SUSPENDED),
    "running": ([], SUSPENDED),
    "sleeping": (["charge 3", "ship 3"], COMPLETED),  # QStash delivers it when the sleep is over: here, an hour early
    "awake": (["charge 4", "ship 4"], COMPLETED),
    "ahead": (["ship 5"], COMPLETED),  # its message knows the step "charge", which the tables lack
    "stateless": (["charge 13", "ship 13"], COMPLETED),  # 0.0.x kept no run of it
}


def status_of(project: Project, run_id: str) -> str:
    return str(project.database.value("SELECT status FROM django_hookflow_workflowrun WHERE run_id = %s", run_id))


@pytest.mark.parametrize("run_id", GOES_ON)
def test_its_run_goes_on_and_no_step_is_repeated(upgraded: Project, live: dict[str, Any], run_id: str) -> None:
    effects, answer = GOES_ON[run_id]

    first, second = upgraded.deliver(live[run_id], live[run_id])

    assert (first, second) == (answer, STALE)
    assert upgraded.done() == effects
    assert status_of(upgraded, run_id) == ("completed" if answer == COMPLETED else "running")
    check_log(upgraded)


def test_all_of_them_and_each_twice(upgraded: Project, live: dict[str, Any]) -> None:
    messages = [live[run_id] for run_id in GOES_ON]
    upgraded.deliver(*messages)
    before = rows(upgraded, "SELECT position FROM django_hookflow_event ORDER BY 1")
    assert upgraded.deliver(*messages, *messages) == [STALE] * 12
    assert rows(upgraded, "SELECT position FROM django_hookflow_event ORDER BY 1") == before
    assert sorted(upgraded.done()) == sorted(step for effects, _ in GOES_ON.values() for step in effects)


def test_results_come_to_the_workflow_as_they_were(upgraded: Project, live: dict[str, Any]) -> None:
    """The workflow itself asserts that {"$set": …} is what it returned, and not a set."""
    upgraded.deliver(live["awake"], live["stateless"])
    result = {"status": "completed", "result": {"of": 10, "paid": 200}}
    assert (
        rows(upgraded, "SELECT result FROM django_hookflow_workflowrun WHERE run_id IN ('awake', 'stateless')")
        == [(result,)] * 2
    )


def test_a_message_without_a_run_begins_one_that_says_where_it_comes_from(
    upgraded: Project, live: dict[str, Any]
) -> None:
    upgraded.deliver(live["stateless"])
    told = rows(
        upgraded,
        "SELECT type, facts->'origin'->>'kind', facts->'origin'->>'events' FROM django_hookflow_event AS event"
        " JOIN django_hookflow_workflowrun AS run ON run.id = event.run_uid WHERE run.run_id = 'stateless' ORDER BY seq LIMIT 4",
    )
    assert told[0] == ("run.triggered", "import", "4")
    assert told[3] == ("run.imported", None, None)


def test_a_run_that_the_import_has_not_come_to_is_imported_first(project: Project, live: dict[str, Any]) -> None:
    project.manage("migrate", "django_hookflow", "0009_import", "--verbosity", "0")
    assert project.deliver(live["awake"]) == [COMPLETED]
    assert project.done() == ["charge 4", "ship 4"]
    project.manage("migrate", "--verbosity", "0")
    began = project.database.value(
        "SELECT created_at < now() - interval '0' FROM django_hookflow_workflowrun WHERE run_id = 'awake'"
    )
    assert began is True
    check_log(project)


def test_a_login_that_may_only_call_functions_takes_it_over(
    project: Project, live: dict[str, Any], server: str
) -> None:
    """The old tables are the owner's, then, and the application reads them through the function alone."""
    dba = DBA(server)
    guarded = replace(project, database=Database.create(server, project.database))
    try:
        guarded.manage("migrate", "django_hookflow", "0009_import", "--verbosity", "0")
        dba.apply(guarded.database, ROLES)
        web = replace(guarded, database=dba.login("web", guarded.database, dba.role("app")))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            rows(web, "SELECT * FROM hookflow_0_0_workflowrun")
        assert web.deliver(live["awake"], live["stateless"]) == [COMPLETED, COMPLETED]
        guarded.manage("migrate", "--verbosity", "0")
        check_log(guarded)
    finally:
        guarded.database.drop(server)  # first, for its objects belong to roles
        dba.close()


@pytest.mark.parametrize("action", ["resume", "cancel"])
def test_an_operator_was_there_first(upgraded: Project, live: dict[str, Any], action: str) -> None:
    upgraded.new(
        "-c",
        "import django; from django.conf import settings; settings.DJANGO_HOOKFLOW_TRANSPORT = 'inline'; django.setup()\n"
        f"from django_hookflow.models import WorkflowRun\nWorkflowRun.objects.get(run_id='awake').{action}()\n",
    )
    assert upgraded.deliver(live["awake"]) == [STALE]
    assert upgraded.done() == []


def test_runs_that_have_ended_stay_as_they_are(upgraded: Project, live: dict[str, Any]) -> None:
    before = rows(upgraded, "SELECT position FROM django_hookflow_event ORDER BY 1")
    late = {**live["awake"], "body": live["awake"]["body"].replace('"awake"', '"completed"')}
    assert upgraded.deliver(late) == [STALE]
    assert rows(upgraded, "SELECT position FROM django_hookflow_event ORDER BY 1") == before


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"completed_steps": []}, "data, or completed_steps, is not an object"),
        ({"completed_steps": {"a": "\x00"}}, "NUL"),
        ({"run_id": ""}, "run_id is not a non-empty string"),
        ({"run_id": "x" * 300}, "more than 255"),
        ({"data": {"a": "\ud800"}}, "surrogate"),
    ],
)
def test_what_cannot_be_one_is_refused(
    upgraded: Project, live: dict[str, Any], change: dict[str, Any], problem: str
) -> None:
    body = json.dumps({**json.loads(live["awake"]["body"]), **change})
    ((answer),) = upgraded.deliver({**live["awake"], "body": body})
    assert answer["code"] == 400
    assert problem in answer["answer"]["error"]
    assert upgraded.done() == []


def test_a_workflow_that_nobody_has_code_for_is_left_alone(upgraded: Project, live: dict[str, Any]) -> None:
    gone = {key: value.replace("order", "gone") if value else value for key, value in live["pending"].items()}
    (answer,) = upgraded.deliver(gone)
    assert answer["code"] == 404
    assert status_of(upgraded, "pending") == "paused"
