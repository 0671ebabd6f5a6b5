"""The proof sheet: what it says of a run that holds and of one that does not, and what an auditor does with the files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection

from django_hookflow.evidence import audit
from tests.admin import history
from tests.admin.conftest import RUNS
from tests.admin.page import facts, parse
from tests.evidence.checkpointing import SECRET, checkpoint, lines_of
from tests.evidence.exporting import edit_lines, run_audit

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from django.test import Client
    from pytest_django import Settings

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def key(settings: Settings) -> None:
    settings.DJANGO_HOOKFLOW_CHECKPOINT_KEY = SECRET


@pytest.fixture
def run(db: None) -> UUID:
    key = history.start("order/1 ü")
    history.add_steps(key, 700, result="ü")
    history.complete(key)
    return key


def sheet(client: Client, run: UUID) -> Any:
    return parse(client.get(f"{RUNS}{run}/proof/"))


def downloaded(client: Client, run: UUID, name: str, folder: Path) -> Path:
    answer: Any = client.get(f"{RUNS}{run}/proof/{name}")
    assert answer.status_code == 200
    path = folder / name
    path.write_bytes(b"".join(answer))
    return path


def test_what_was_checked_and_where_the_chain_ends(superuser: Client, run: UUID) -> None:
    page = sheet(superuser, run)

    assert "The projection matches the log at #703" in page.text
    assert "The hash chain verifies: 703 events" in page.text
    with connection.cursor() as cursor:
        cursor.execute("SELECT encode(head_hash, 'hex') FROM django_hookflow_head WHERE run_uid = %s", [run])
        (digest,) = cursor.fetchone()
    text = page.text
    assert digest in text
    assert str(run) in text
    assert "by root" in text
    assert "No checkpoint has been made since this run began." in text


def test_an_auditor_checks_the_download_with_the_script_alone(superuser: Client, run: UUID, tmp_path: Path) -> None:
    events = downloaded(superuser, run, "events.jsonl", tmp_path)
    script = downloaded(superuser, run, "audit.py", tmp_path)

    assert run_audit(events)[0] == 0
    assert len(lines_of(events)) == 703
    assert script.read_bytes() == Path(audit.__file__).read_bytes()
    edit_lines(events, (3, {"step_id": "another"}))
    status, lines = run_audit(events)
    assert status == 1
    assert "#4" in lines[0]


def test_the_checkpoint_that_covers_it(superuser: Client, run: UUID, tmp_path: Path) -> None:
    checkpoint(tmp_path / "first")
    page = sheet(superuser, run)
    assert "covers the whole chain" in page.text
    (line,) = [line for line in (tmp_path / "first").read_text().splitlines() if str(run) in line]
    assert line.replace(" ", "").startswith(facts_of(page, "Line for this run starts with").replace(" ", ""))
    checkpoint(tmp_path / "second")
    assert facts_of(sheet(superuser, run), "Made") == facts_of(page, "Made"), "the first that has all of it"


def test_a_chain_that_has_grown_since_the_last_checkpoint(superuser: Client, tmp_path: Path) -> None:
    run = history.start("order-1")
    checkpoint(tmp_path / "first")
    history.add_steps(run, 2)
    with connection.cursor() as cursor:  # all of a test is one moment
        cursor.execute("UPDATE django_hookflow_head SET last_at = last_at + interval '1 h' WHERE run_uid = %s", [run])

    text = sheet(superuser, run).text

    assert "No checkpoint has been made since the last event." in text


def facts_of(page: Any, term: str) -> str:
    terms = [e.text for e in page.all("dt")]
    return str([e.text for e in page.all("dd")][terms.index(term)])


def test_a_run_that_was_tampered_with(superuser: Client, run: UUID) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE django_hookflow_head SET head_hash = sha256('x') WHERE run_uid = %s", [run])
    page = sheet(superuser, run)
    assert "The hash chain does not verify" in page.text
    assert facts(page)["Run"] == "order/1 ü"


def test_the_events_take_the_permission_to_see_payloads(staff: Callable[..., Client], run: UUID) -> None:
    client = staff("view_workflowrun")
    page = sheet(client, run)
    assert "requires the permission “Can see the payloads of workflow runs”" in page.text
    assert client.get(f"{RUNS}{run}/proof/events.jsonl").status_code == 403
    assert client.get(f"{RUNS}{run}/proof/audit.py").status_code == 200


def test_who_may_not_see_runs_gets_nothing(staff: Callable[..., Client], run: UUID) -> None:
    client = staff("view_deadletterentry")
    for name in ("", "events.jsonl", "audit.py"):
        assert client.get(f"{RUNS}{run}/proof/{name}").status_code == 403


def test_a_run_that_there_is_not(superuser: Client) -> None:
    assert superuser.get(f"{RUNS}0198c0de-0000-7000-8000-000000000000/proof/").status_code == 404


def test_an_archived_run_says_where_its_events_are(superuser: Client, run: UUID) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE django_hookflow_head SET archived_at = now() WHERE run_uid = %s", [run])
    page = sheet(superuser, run)
    assert "The events of this run are in an archive" in page.text
    assert page.all("a", href="events.jsonl") == []
