"""Scenario 18: retention interrupted at any statement and at any change it makes on the disk.

Whenever it is, every run is whole in the database or whole in an archive, what lives is as it was, and the next call
finishes. A connection is cut by the wire of ``tests.crashes``, a process kills itself with SIGKILL (:mod:`.doomed`).
"""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from django.core.management import CommandError
from django.db import InterfaceError, OperationalError, connection

from tests.crashes.conftest import wire
from tests.crashes.wire import Cut, Side, Wire
from tests.log.calls import ask, log_of
from tests.retention.small import make_batches_small
from tests.retention.stage import (
    DAYS,
    archived,
    archived_in,
    archives_in,
    assert_nothing_differs,
    cleanup,
    contents,
    ended_of,
    make_runs,
    manifest_of,
    run_command,
    traces_of,
)
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from django_hookflow.testing import Hookflow

__all__ = ["wire"]

pytestmark = pytest.mark.django_db(transaction=True)

SIDES: tuple[Side, ...] = ("before", "after")


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two files of two batches each for eight runs, so that there is something to be between."""
    make_batches_small(monkeypatch.setattr)


class Attempt:
    """Runs that are due and runs that are not, what they were, and what became of them."""

    def __init__(self, hookflow: Hookflow, name: str) -> None:
        hookflow.advance(31 * DAYS)
        cleanup()  # of what was young in the attempt before
        self.gone = ended_of(make_runs(16, f"{name}-old"))
        hookflow.advance(31 * DAYS)
        make_runs(8, f"{name}-young")
        self.lengths = {uid: len(log_of(uid)) for uid in self.gone.values()}
        self.others = contents(without=tuple(self.gone.values()))

    def problems(self, directory: Path) -> list[str]:
        """What has been lost, changed or left half-way."""
        kept = archived_in(directory)
        found = [] if contents(without=tuple(self.gone.values())) == self.others else ["another run was touched"]
        for run_id, uid in self.gone.items():
            rows, tombstone = len(log_of(uid)), run_id in archived()
            if tombstone and (traces_of(uid) or len(kept.get(str(uid), [])) != self.lengths[uid]):
                found.append(f"{run_id}: {traces_of(uid)} rows left, {len(kept.get(str(uid), []))} events in archives")
            if not tombstone and rows != self.lengths[uid]:
                found.append(f"{run_id}: {rows} events of {self.lengths[uid]}, and no tombstone")
        return found


def clean_up(wire: Wire, directory: Path, cut: Cut | None) -> bool:
    """Whether the command went through."""
    wire.start_over(cut)
    connection.close()
    try:
        with wire.watched():
            cleanup("--archive-to", str(directory))
    except (OperationalError, InterfaceError, CommandError):
        return False
    finally:
        if cut:
            connection.close()
    return True


def test_the_connection_is_cut_at_every_statement(
    hookflow: Hookflow, wire: Wire, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    first = Attempt(hookflow, "undisturbed")
    (tmp_path / "undisturbed").mkdir()
    assert clean_up(wire, tmp_path / "undisturbed", None)
    assert first.problems(tmp_path / "undisturbed") == []
    statements = list(wire.statements)
    # Two portions of two batches; in front of each portion an empty call, to see whether it may be done at all.
    assert sum("FROM hookflow_retire(" in statement for statement in statements) == 6
    failed = []
    for cut in [Cut(at, side, for_good=True) for at in range(len(statements)) for side in SIDES]:
        name = f"{cut.side}-{cut.at}"
        directory = tmp_path / name
        directory.mkdir()
        attempt = Attempt(hookflow, name)
        clean_up(wire, directory, cut)
        assert wire.has_cut, f"nothing was cut {cut}"
        printed = f"{cut} ({statements[cut.at]:.60})"
        failed += [f"{printed}: {problem}" for problem in attempt.problems(directory)]
        cleanup("--archive-to", str(directory))
        failed += [f"{printed}, then again: {problem}" for problem in attempt.problems(directory)]
        failed += [f"{printed}: {run_id} is still there" for run_id in attempt.gone.keys() - archived()]
    record_property("crash points", f"{len(statements)} statements of a cleanup")
    assert failed == []
    assert_nothing_differs()


def die(environment: dict[str, str], directory: Path, at: int) -> subprocess.CompletedProcess[str]:
    """A cleanup in a process that kills itself at its ``at``-th change on the disk or in the database."""
    command = [sys.executable, "-m", "tests.retention.doomed", str(at), "--archive-to", str(directory)]
    # Changes that Python makes by itself, to its caches, are none of the cleanup's.
    environment = {**environment, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_process_is_killed_at_every_change_it_makes(
    hookflow: Hookflow, tmp_path: Path, process_environment: dict[str, str]
) -> None:
    for at in range(1, 100):
        directory = tmp_path / str(at)
        directory.mkdir()
        attempt = Attempt(hookflow, f"killed-{at}")
        done = die(process_environment, directory, at)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        wait_until(lambda: not ask("SELECT FROM pg_stat_activity WHERE application_name = 'doomed'"), "it is gone")
        assert attempt.problems(directory) == [], done.stdout
        cleanup("--archive-to", str(directory))
        assert attempt.problems(directory) == [], done.stdout
        assert attempt.gone.keys() <= archived()
    assert "WorkflowRun: 8 removed" in done.stdout
    assert at > 20
    assert_nothing_differs()


def test_a_run_may_stand_in_two_archives_and_both_are_right(
    hookflow: Hookflow, tmp_path: Path, process_environment: dict[str, str]
) -> None:
    """Killed between the archive and the removal: what is archived again is the same."""
    attempt = Attempt(hookflow, "twice")
    for at in range(1, 100):
        die(process_environment, tmp_path, at)
        if list(tmp_path.glob("*.jsonl.gz")):
            break
    assert archived() == set()
    cleanup("--archive-to", str(tmp_path))
    files = [str(path) for path in sorted(tmp_path.glob("*.jsonl.gz"))]
    named = [run["run_uid"] for path in archives_in(tmp_path) for run in manifest_of(path)["runs"]]
    assert len(named) > len(set(named)) == len(attempt.gone)
    printed = run_command("hookflow_archive", "verify", *files).splitlines()
    assert all("no problems; " in line for line in printed)
