"""Archives: written before anything goes, proved with every tool there is, and refused when they are not what they were."""

from __future__ import annotations

import gzip
import json
import os
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import override_settings

from django_hookflow.evidence import audit
from django_hookflow.evidence.audit import manifest_path
from tests.log.calls import append, ask, head_of, log_of, session, step
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

if TYPE_CHECKING:
    from collections.abc import Callable

    from django_hookflow.testing import Hookflow

pytestmark = pytest.mark.django_db(transaction=True)


def verify(*arguments: str) -> tuple[int, list[str]]:
    """The exit status and the lines of ``hookflow_archive verify``."""
    output = StringIO()
    try:
        call_command("hookflow_archive", "verify", *arguments, stdout=output)
    except SystemExit as exit_:
        return int(str(exit_.code)), output.getvalue().splitlines()
    return 0, output.getvalue().splitlines()


@pytest.fixture
def archive(hookflow: Hookflow, tmp_path: Path) -> Path:
    """An archive of eight runs, which are retired."""
    make_runs(16)
    hookflow.advance(31 * DAYS)
    cleanup("--archive-to", str(tmp_path))
    (path,) = archives_in(tmp_path)
    return path


def test_an_archive_has_every_event_of_what_goes(hookflow: Hookflow, tmp_path: Path) -> None:
    runs = make_runs(32)
    gone = ended_of(runs)
    before = {str(uid): log_of(uid) for uid in gone.values()}
    heads = {str(uid): head_of(uid) for uid in gone.values()}
    hookflow.advance(31 * DAYS)
    assert cleanup("--archive-to", str(tmp_path))["WorkflowRun"] == len(gone)
    found = archived_in(tmp_path)
    assert found.keys() == before.keys()
    for uid, events in found.items():
        for event, row in zip(events, before[uid], strict=True):
            assert (event["facts"], event["payload"]) == (row["facts_text"], row["payload_text"])
            assert (event["seq"], event["type"], event["step_id"]) == (row["seq"], row["type"], row["step_id"])
            assert bytes.fromhex(event["hash"]) == bytes(row["hash"])
    (path,) = archives_in(tmp_path)
    manifest = manifest_of(path)
    assert manifest["events"] == sum(map(len, before.values()))
    for run in manifest["runs"]:
        head = heads[run["run_uid"]]
        assert run["head_hash"] == bytes(head["head_hash"]).hex()
        assert (run["run_id"], run["workflow_id"], run["last_seq"]) == tuple(
            head[name] for name in ("run_id", "workflow_id", "last_seq")
        )
    assert traces_of(*gone.values()) == 0
    assert_nothing_differs()


def test_the_setting_names_the_directory(hookflow: Hookflow, tmp_path: Path) -> None:
    make_runs(8)
    hookflow.advance(31 * DAYS)
    with override_settings(DJANGO_HOOKFLOW_ARCHIVE_DIR=str(tmp_path)):
        cleanup("--dlq-only")
        assert archives_in(tmp_path) == []
        cleanup()
    assert len(archived_in(tmp_path)) == 4
    with override_settings(DJANGO_HOOKFLOW_ARCHIVE_DIR=str(tmp_path)):
        cleanup()  # nothing is due: no file without events
    assert len(archives_in(tmp_path)) == 1


def test_a_long_run_is_read_alone_and_many_runs_go_into_several_files(
    hookflow: Hookflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django_hookflow.retention.archive.EVENTS_PER_READ", 7)
    monkeypatch.setattr("django_hookflow.retention.runs.EVENTS_PER_PORTION", 30)
    runs = make_runs(40)
    append(runs["order-7"], None, *(step(f"größe-{n}", "ß" * n) for n in range(40)), ("run.cancelled", None, {}))
    hookflow.advance(31 * DAYS)
    gone = len(ended_of(runs)) + 1
    assert cleanup("--archive-to", str(tmp_path))["WorkflowRun"] == gone
    assert len(archives_in(tmp_path)) > 2
    assert len(archived_in(tmp_path)) == gone
    assert max(len(events) for events in archived_in(tmp_path).values()) == 45


def test_verify_and_show(archive: Path) -> None:
    status, lines = verify(str(archive))
    assert (status, lines) == (0, [f"{archive}: 8 runs, 46 events, no problems; as in their tombstones: 8 runs"])
    shown = run_command("hookflow_archive", "show", str(archive)).splitlines()
    assert len(shown) == 8 + 46
    one = run_command("hookflow_archive", "show", str(archive), "--run", "order-1").splitlines()
    assert one[0] == "run order-1"
    assert [line.split()[2] for line in one[1:]] == [
        "run.triggered",
        "turn.started",
        "step.completed",
        "step.completed",
        "run.completed",
    ]
    assert "validate" in one[3]
    assert '"ok": true' in one[3]
    with pytest.raises(CommandError, match="does not contain run 'order-2'"):
        run_command("hookflow_archive", "show", str(archive), "--run", "order-2")
    with pytest.raises(CommandError, match="No such file"):
        run_command("hookflow_archive", "show", str(archive) + ".x")


def test_the_script_that_stands_alone_agrees(archive: Path) -> None:
    command = [sys.executable, "-I", str(Path(audit.__file__)), str(archive)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "8 runs, 46 events, no problems" in done.stdout


def rewrite(path: Path, change: Callable[[list[str]], list[str]]) -> None:
    """Changes the lines of an archive, and the manifest's digest with it, as a forger would."""
    lines = gzip.decompress(path.read_bytes()).decode().splitlines(keepends=True)
    path.write_bytes(gzip.compress("".join(change(lines)).encode()))
    manifest = manifest_of(path)
    manifest["sha256"] = audit.file_digest(path)
    manifest_path(path).write_text(json.dumps(manifest))


def other_payload(line: str) -> str:
    event = json.loads(line)
    return json.dumps({**event, "payload": event["payload"].replace("order", "0rder")}) + "\n"


def other_facts(line: str) -> str:
    event = json.loads(line)
    return json.dumps({**event, "facts": event["facts"].replace("order", "0rder")}) + "\n"


def change_byte(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def change_first_run(path: Path, **changed: object) -> None:
    """Changes what the manifest has of its first run."""
    manifest = manifest_of(path)
    first, *others = manifest["runs"]
    manifest_path(path).write_text(json.dumps({**manifest, "runs": [{**first, **changed}, *others]}))


FORGERIES: dict[str, Callable[[Path], object]] = {
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-30]),
    "a byte changed": lambda path: change_byte(path, -9),
    "an event left out": lambda path: rewrite(path, lambda lines: lines[:1] + lines[2:]),
    "the last event left out": lambda path: rewrite(path, lambda lines: lines[:-1]),
    "facts changed": lambda path: rewrite(path, lambda lines: [other_facts(lines[0]), *lines[1:]]),
    "lines of another format": lambda path: manifest_path(path).write_text(
        json.dumps({**manifest_of(path), "lines": "?"})
    ),
    "a run of another name": lambda path: change_first_run(path, run_id="order-2"),
    "an event changed": lambda path: rewrite(path, lambda lines: [other_payload(lines[0]), *lines[1:]]),
    "two events exchanged": lambda path: rewrite(path, lambda lines: [lines[1], lines[0], *lines[2:]]),
    "no manifest": lambda path: manifest_path(path).unlink(),
    "a manifest of something else": lambda path: manifest_path(path).write_text("[]"),
    "a manifest nested too deep": lambda path: manifest_path(path).write_text("[" * 100_000),
    "runs of a manifest that have no names": lambda path: change_first_run(path, run_id=None),
    "runs of a manifest that are no texts": lambda path: change_first_run(path, run_uid=7),
    "runs of a manifest that are lists": lambda path: change_first_run(path, run_uid=[]),
    "ends of a manifest that are no hashes": lambda path: change_first_run(path, head_hash=7),
    "ends of a manifest that are no numbers": lambda path: change_first_run(path, last_seq="7"),
    "ends of a manifest beyond all bounds": lambda path: change_first_run(path, last_seq=2**40),
    "an event nested too deep": lambda path: rewrite(path, lambda lines: ["[" * 100_000 + "\n", *lines[1:]]),
    "no file": lambda path: path.unlink(),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_an_archive_that_is_not_what_it_was_does_not_verify(archive: Path, forgery: str) -> None:
    FORGERIES[forgery](archive)
    status, lines = verify(str(archive))
    assert status == 1
    assert len(lines) > 1


@pytest.mark.parametrize("facts", ["not JSON", "[1]", "7", "{}"])
def test_what_is_no_trigger_is_shown_all_the_same(archive: Path, facts: str) -> None:
    rewrite(archive, lambda lines: [json.dumps({**json.loads(lines[0]), "facts": facts}) + "\n", *lines[1:]])
    shown = run_command("hookflow_archive", "show", str(archive)).splitlines()
    assert shown[0] == f"run {manifest_of(archive)['runs'][0]['run_uid']}"
    assert f"run.triggered  {facts}  {{" in shown[1].replace("  {}  ", "  ") or facts == "{}"


def test_a_tombstone_that_does_not_agree_is_named(archive: Path) -> None:
    ask("DELETE FROM django_hookflow_head WHERE run_id = 'order-1'")
    ask("UPDATE django_hookflow_head SET head_hash = sha256('x') WHERE run_id = 'order-3'")
    ask("UPDATE django_hookflow_head SET last_seq = 2 WHERE run_id = 'order-4'")
    ask("UPDATE django_hookflow_head SET run_id = 'other' WHERE run_id = 'order-6'")
    status, lines = verify(str(archive))
    assert status == 1
    for run_id, problem in {
        "order-1": "has no head in this database",
        "order-3": "has a different hash at #6 in this database",
        "order-4": "ends at #2 in this database, but at #7 in the archive",
        "order-6": "is run 'other' of 'shop.order' in this database",
    }.items():
        assert any(line.startswith(f"run '{run_id}'") and problem in line for line in lines), (problem, lines)
    assert verify("--without-database", str(archive))[0] == 0


def test_a_directory_is_to_have_every_run_that_was_archived(archive: Path, hookflow: Hookflow) -> None:
    """From the tombstones to the archives: files that are gone, and runs that were removed without any."""
    directory = archive.parent
    make_runs(8, "later")
    hookflow.advance(31 * DAYS)
    cleanup("--archive-to", str(directory))
    assert verify("--all", str(directory)) == (
        0,
        [
            f"{archive}: 8 runs, 46 events, no problems; as in their tombstones: 8 runs",
            f"{archives_in(directory)[1]}: 4 runs, 23 events, no problems; as in their tombstones: 4 runs",
            f"{directory}: 12 archived runs found, 0 missing",
        ],
    )
    make_runs(8, "last")
    hookflow.advance(31 * DAYS)
    assert cleanup()["WorkflowRun"] == 4
    archive.unlink()
    status, lines = verify("--all", str(directory))
    missing = f"but no archive in {directory} matches its tombstone"
    (login,) = ask("SELECT session_user::text AS name")
    assert (status, lines[-1]) == (1, f"{directory}: 4 archived runs found, 12 missing")
    assert f"run order-1: was archived in {archive.name}, {missing}" in lines
    assert f"run last-1: was archived without an archive, by {login['name']}, {missing}" in lines


@pytest.mark.parametrize(
    ("arguments", "refusal"),
    [
        ([], "specify either the archives to verify or --all DIR"),
        (["--all", "."], "specify either the archives to verify or --all DIR"),
        (["--all", "/nowhere"], "not a directory"),
        (["--all", ".", "--without-database"], "--all cannot be combined with --without-database"),
    ],
)
def test_what_cannot_be_verified_is_refused(arguments: list[str], refusal: str) -> None:
    files = ["x.jsonl.gz"] if arguments == ["--all", "."] else []
    with pytest.raises(CommandError, match=refusal):
        verify(*arguments, *files)


def test_an_archive_can_be_verified_where_the_database_is_not(archive: Path) -> None:
    nowhere = "postgresql://nobody@/nothing?host=/nonexistent"
    done = subprocess.run(
        [sys.executable, "-m", "django", "hookflow_archive", "verify", str(archive)],
        env={**os.environ, "DATABASE_URL": nowhere, "DJANGO_SETTINGS_MODULE": "tests.settings"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "8 runs, 46 events, no problems; not compared: the database 'default' cannot be reached" in done.stdout


def test_a_run_that_moves_between_its_archive_and_its_removal_stays(hookflow: Hookflow, tmp_path: Path) -> None:
    """A replay gets in between: the run goes on, and is archived again when it has ended again."""
    runs = ended_of(make_runs(16))
    replayed = runs["order-3"]
    hookflow.advance(31 * DAYS)

    def replay_first(execute: Callable[..., Any], sql: str, *context: Any) -> Any:
        if "FROM hookflow_retire(" in sql and archives_in(tmp_path):
            with session() as operator:
                append(replayed, None, ("run.replayed", None, {"reason": ""}, {"failed_seq": 6}), session=operator)
        return execute(sql, *context)

    with connection.execute_wrapper(replay_first):
        printed = run_command("cleanup_workflows", "--archive-to", str(tmp_path))
    assert "1 run skipped because of concurrent changes" in printed
    assert archived() == set(runs) - {"order-3"}
    append(replayed, None, ("run.completed", None, {"result": 1}))
    (first,) = archives_in(tmp_path)
    assert verify(str(first)) == (
        0,
        [f"{first}: 8 runs, 46 events, no problems; as in their tombstones: 7 runs; still in the log: 1"],
    )
    hookflow.advance(31 * DAYS)
    assert cleanup("--archive-to", str(tmp_path))["WorkflowRun"] == 1
    status, lines = verify(*map(str, archives_in(tmp_path)))
    assert status == 0
    assert any("as in their tombstones: 7 runs; continued after this archive was written: 1" in line for line in lines)
    assert len(archived_in(tmp_path)[str(replayed)]) == 9  # its old dead letter went by an event
    assert_nothing_differs()


@pytest.mark.parametrize("has_archived", [False, True])
def test_two_cleanups_at_once_retire_each_run_once(hookflow: Hookflow, tmp_path: Path, has_archived: bool) -> None:
    """The other one comes when this one has found what is due, or has archived it as well."""
    runs = ended_of(make_runs(16))
    hookflow.advance(31 * DAYS)
    others: list[int] = []

    def clean_up_elsewhere() -> int:
        try:
            return cleanup("--archive-to", str(tmp_path))["WorkflowRun"]
        finally:
            connection.close()

    def let_another_go_first(execute: Callable[..., Any], sql: str, *context: Any) -> Any:
        if "FROM hookflow_retire(" in sql and not others and bool(archives_in(tmp_path)) is has_archived:
            with ThreadPoolExecutor(1) as pool:
                others.append(pool.submit(clean_up_elsewhere).result(timeout=60))
        return execute(sql, *context)

    with connection.execute_wrapper(let_another_go_first):
        printed = run_command("cleanup_workflows", "--archive-to", str(tmp_path))
    assert "WorkflowRun: 0 removed" in printed
    assert "8 runs skipped because of concurrent changes; the next cleanup will retry" in printed
    assert others == [len(runs)]
    assert len(archives_in(tmp_path)) == (2 if has_archived else 1)
    assert verify(*map(str, archives_in(tmp_path)))[0] == 0
    assert_nothing_differs()


def test_on_a_terminal_it_shows_how_far_it_is(hookflow: Hookflow, tmp_path: Path) -> None:
    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    make_runs(16)
    hookflow.advance(31 * DAYS)
    terminal, no_terminal = Terminal(), StringIO()
    call_command("cleanup_workflows", "--dlq-only", stdout=StringIO(), stderr=no_terminal)
    call_command("cleanup_workflows", "--archive-to", str(tmp_path), stdout=StringIO(), stderr=terminal)
    assert "of 8 runs" in terminal.getvalue()
    assert no_terminal.getvalue() == ""


def test_a_run_whose_chain_does_not_hold_is_evidence_and_stays(hookflow: Hookflow, tmp_path: Path) -> None:
    runs = ended_of(make_runs(16))
    hookflow.advance(31 * DAYS)
    ask("ALTER TABLE django_hookflow_event DISABLE TRIGGER pgtrigger_guard_23500")
    ask(
        "UPDATE django_hookflow_event SET payload = '{}' WHERE seq = 2 AND run_uid = ANY (%s)",
        [runs["order-1"], runs["order-9"]],
    )
    ask("DELETE FROM django_hookflow_event WHERE seq = 5 AND run_uid = %s", runs["order-3"])
    ask("ALTER TABLE django_hookflow_event ENABLE ALWAYS TRIGGER pgtrigger_guard_23500")
    output = StringIO()
    with pytest.raises(CommandError) as raised:
        call_command("cleanup_workflows", "--archive-to", str(tmp_path), stdout=output)
    assert "WorkflowRun: 5 removed" in output.getvalue()
    for run_id in ("order-1", "order-3", "order-9"):
        assert f"run '{run_id}' was not archived: " in str(raised.value)
    assert archived() == set(runs) - {"order-1", "order-3", "order-9"}
    assert len(archived_in(tmp_path)) == 5


@pytest.mark.parametrize("name", ["missing", "a-file", "a-file/below"])
def test_a_place_where_nothing_can_be_written_is_reported_before_anything_is_done(
    hookflow: Hookflow, tmp_path: Path, name: str
) -> None:
    (tmp_path / "a-file").touch()
    make_runs(8)
    hookflow.advance(31 * DAYS)
    before = contents()
    with pytest.raises(CommandError, match="it is not a directory. Nothing was removed that is not in an archive"):
        cleanup("--archive-to", str(tmp_path / name))
    assert contents() == before


def test_a_directory_that_may_not_be_written_is_reported(hookflow: Hookflow, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    if os.access(tmp_path, os.W_OK):
        pytest.skip("this user may write everywhere (root)")
    make_runs(8)
    hookflow.advance(31 * DAYS)
    with pytest.raises(CommandError, match="has no permission to write there"):
        cleanup("--archive-to", str(tmp_path))
    assert archived() == set()


def test_a_full_disk_removes_nothing(hookflow: Hookflow, tmp_path: Path, process_environment: dict[str, str]) -> None:
    """What a disk has no room for, the operating system refuses; here by a limit on the size of a file."""
    runs = make_runs(64)
    hookflow.advance(31 * DAYS)
    before = contents()
    done = subprocess.run(
        [sys.executable, "-m", "django", "cleanup_workflows", "--archive-to", str(tmp_path)],
        # Python would leave a truncated .pyc behind, too.
        env={**process_environment, "PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "File too large. Nothing was removed that is not in an archive; free some space" in done.stderr
    assert "WorkflowRun: 0 removed" in done.stdout
    assert contents() == before
    assert list(tmp_path.iterdir()) == []
    assert cleanup("--archive-to", str(tmp_path))["WorkflowRun"] == len(ended_of(runs))


@override_settings(DJANGO_HOOKFLOW_CHECKPOINT_KEY="of thirty-two bytes, or a few more")
def test_a_checkpoint_proves_the_runs_of_an_archive(hookflow: Hookflow, tmp_path: Path) -> None:
    make_runs(16)
    checkpoint = tmp_path / "checkpoint.jsonl"
    run_command("hookflow_checkpoint", "--output", str(checkpoint))
    hookflow.advance(31 * DAYS)
    cleanup("--archive-to", str(tmp_path))
    (path,) = archives_in(tmp_path)
    status, lines = verify("--checkpoint", str(checkpoint), str(path))
    assert status == 0
    assert "no problems, 8 runs proved by the checkpoint" in lines[-1]
    run_command("hookflow_verify", "--checkpoint", str(checkpoint), "--archives", str(tmp_path))
    cut = {str(uid) for uid in archived_in(tmp_path)}.pop()
    rewrite(path, lambda lines: [line for line in lines if not (cut in line and '"seq":1,' not in line)])
    status, lines = verify("--without-database", "--checkpoint", str(checkpoint), str(path))
    assert status == 1
    assert any(line.startswith(f"run {cut}: ends at #1, but the checkpoint has it up to #") for line in lines)
    with pytest.raises(SystemExit):
        run_command("hookflow_verify", "--checkpoint", str(checkpoint))


@pytest.mark.parametrize("without_database", [[], ["--without-database"]])
def test_a_checkpoint_that_another_key_signed_proves_nothing(without_database: list[str], tmp_path: Path) -> None:
    make_runs(8)
    checkpoint = tmp_path / "checkpoint.jsonl"
    with override_settings(DJANGO_HOOKFLOW_CHECKPOINT_KEY="a key that somebody else has made up"):
        run_command("hookflow_checkpoint", "--output", str(checkpoint))
    with (
        override_settings(DJANGO_HOOKFLOW_CHECKPOINT_KEY="of thirty-two bytes, or a few more"),
        pytest.raises(CommandError, match="checkpoint.jsonl"),
    ):
        verify(*without_database, "--checkpoint", str(checkpoint), str(tmp_path / "any.jsonl.gz"))
