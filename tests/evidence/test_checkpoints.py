"""Checkpoints: what the owner of the database can otherwise do unseen shows against them."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from django.core.management import CommandError
from django.db import connection, transaction

from django_hookflow.evidence import checkpoints, proving
from django_hookflow.evidence.files import OutputExists, new_file
from django_hookflow.evidence.signing import ISSUER
from tests.evidence.checkpointing import SECRET, WITHOUT_CRYPTOGRAPHY, checkpoint, claims_of, lines_of, prove
from tests.evidence.exporting import archive, export, run_audit
from tests.evidence.tampering import make_run, retire, rewrite_chain, tamper, verify
from tests.log.calls import append, as_json, ask, psql, session, wait_until_blocked
from tests.projections.histories import make_runs
from tests.waiting import wait_until

if TYPE_CHECKING:
    from uuid import UUID

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_checkpoint_says_where_each_chain_ends_and_is_signed(uids: list[UUID], tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    printed = checkpoint(path)
    header, *runs = lines_of(path)
    assert header["format"] == "django-hookflow-checkpoint-1"
    heads = ask(
        "SELECT run_uid::text, run_id, last_seq, encode(head_hash, 'hex') AS hash, encode(tombstone_hash, 'hex') AS tombstone"
        " FROM django_hookflow_head ORDER BY 1"
    )
    assert runs == [list(head.values()) for head in heads]
    claims = jwt.decode(header["token"], SECRET, algorithms=["HS256"])
    (row,) = ask("SELECT *, floor(extract(epoch FROM made_at))::bigint AS iat FROM django_hookflow_checkpoint")
    assert claims == {
        "iss": ISSUER,
        "iat": row["iat"],
        "runs": 3,
        "events": 24,
        "root": bytes(row["root"]).hex(),
        "previous": None,
        "database": ask("SELECT current_database() AS name")[0]["name"],
        "first_run": runs[0][0],
    }
    assert printed == f"Checkpoint written to {path}: 3 runs, 24 events, root {claims['root']}"
    assert list(tmp_path.iterdir()) == [path]


def test_the_log_as_it_was_and_as_it_went_on_is_proved(uids: list[UUID], tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    checkpoint(path)
    assert prove(path) == (0, [])
    append(uids[0], None, ("note", None, 1))
    make_run("order-4")
    status, lines, last = verify("--checkpoint", path)
    assert (status, len(lines)) == (0, 1)
    assert lines[0].startswith(f"checkpoint {path} of ")
    assert lines[0].endswith(" UTC: 3 runs compared")
    assert last == "4 runs with 33 events verified: no problems"


def remove_run(uid: UUID) -> None:
    tamper(
        f"DELETE FROM django_hookflow_event WHERE run_uid = '{uid}'",
        f"DELETE FROM django_hookflow_head WHERE run_uid = '{uid}'",
        f"DELETE FROM django_hookflow_workflowrun WHERE id = '{uid}'",
    )


def cut_tail(uid: UUID) -> None:
    rewrite_chain(uid, f"DELETE FROM django_hookflow_event WHERE run_uid = '{uid}' AND seq > 5")


def rewrite(uid: UUID) -> None:
    rewrite_chain(uid, f"UPDATE django_hookflow_event SET payload = '1' WHERE run_uid = '{uid}' AND seq = 5")


def rename(uid: UUID) -> None:
    rewrite_chain(
        uid,
        "UPDATE django_hookflow_event SET facts = replace(facts::text, 'order-2', 'order-9')::json "
        f"WHERE run_uid = '{uid}' AND seq = 1",
    )
    ask("UPDATE django_hookflow_head SET run_id = 'order-9' WHERE run_uid = %s", uid)


def bury(uid: UUID) -> None:
    """Archived by the book, with a chain of which nobody has the archive."""
    rewrite(uid)
    retire(uid)


UNSEEN = {
    remove_run: "run order-2: has no head and no events, but the checkpoint has it up to #8",
    cut_tail: "run order-2: its head ends at #5, but the checkpoint has it up to #8",
    rewrite: "run order-2: #8 is differs from the event in the checkpoint",
    rename: "run order-2: its head has the run_id 'order-9', but the checkpoint has this one",
    bury: "run order-2: is archived, but the hash of #8 in its head differs from the checkpoint",
}


@pytest.mark.parametrize("tampering", UNSEEN)
def test_scenario_16_what_the_owner_does_to_whole_chains_is_found_with_a_checkpoint(
    tampering: Any, uids: list[UUID], tmp_path: Path
) -> None:
    """Scenario 16, the owner's part: a cut tail, a removed run and a chain written anew hold by themselves, and are found."""
    path = tmp_path / "one.jsonl"
    checkpoint(path)
    tampering(uids[1])
    assert verify()[:2] == (0, [])
    assert prove(path) == (1, [UNSEEN[tampering]])
    if tampering is not rename:
        assert prove(path, also=("--run", "order-2")) == (1, [UNSEEN[tampering]])
    assert prove(path, also=("--run", "order-1")) == (0, [])


def test_runs_archived_since_are_proved_by_their_archives_and_by_nothing_else(uids: list[UUID], tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    checkpoint(path)
    append(uids[0], None, ("run.completed", None, {"result": 2}))
    (tmp_path / "archives").mkdir()
    archived = archive(
        tmp_path / "archives" / "old.jsonl.gz",
        joined(tmp_path / "old.jsonl", *(export(tmp_path / f"{uid}", uid) for uid in uids[:2])),
    )
    retire(*uids[:2], archive=archived.name)
    status, lines, last = verify("--checkpoint", path)
    assert (status, last) == (1, "1 run with 8 events verified, 2 archived runs left out: no problems")
    assert lines[0] == "2 runs can only be verified with their archives: pass their directory with --archives"
    assert lines[1].endswith(": 3 runs compared, 2 have been archived since")
    with_archives = ("--checkpoint", path, "--archives", archived.parent)
    assert verify(*with_archives)[0] == 0
    status, lines = run_audit("--checkpoint", path, archived, export(tmp_path / "events.jsonl"))
    assert (status, lines[1]) == (0, f"{archived}: 2 runs, 17 events, no problems, 2 runs proved by the checkpoint")
    assert lines[0] == f"{path}: 3 runs, root {claims_of(path)['root']}; the signature is not verified here"
    archived.rename(tmp_path / "elsewhere.jsonl.gz")
    status, lines, _ = verify(*with_archives)
    missing = f"was archived in old.jsonl.gz, but no archive in {archived.parent} matches its tombstone"
    assert (status, sorted(lines[:2])) == (1, [f"run order-1: {missing}", f"run order-2: {missing}"])


def test_archives_are_a_directory_and_asked_for_with_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="--archives needs a --checkpoint to compare with; to verify archives"):
        verify("--archives", tmp_path)
    with pytest.raises(CommandError, match="not a directory"):
        verify("--archives", tmp_path / "none", "--checkpoint", tmp_path / "one.jsonl")


def test_an_archive_without_its_manifest_proves_no_run_that_is_gone(uids: list[UUID], tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    checkpoint(path)
    archived = archive(tmp_path / "old.jsonl.gz", export(tmp_path / "old", uids[1]))
    retire(uids[1], archive=archived.name)
    (tmp_path / "old.manifest.json").unlink()
    status, lines, _ = verify("--checkpoint", path, "--archives", tmp_path)
    assert (status, lines[:2]) == (
        1,
        [
            f"{archived}: old.manifest.json is missing from the same directory",
            f"run order-2: was archived in old.jsonl.gz, but no archive in {tmp_path} matches its tombstone",
        ],
    )


def joined(path: Path, *parts: Path) -> Path:
    path.write_bytes(b"".join(part.read_bytes() for part in sorted(parts)))
    return path


def test_archives_are_proved_against_what_the_checkpoint_knew_before(uids: list[UUID], tmp_path: Path) -> None:
    """The owner writes a chain anew, lets it go on, archives it, and retires it by the book."""
    path = tmp_path / "one.jsonl"
    checkpoint(path)
    rewrite(uids[1])
    append(uids[1], None, ("run.completed", None, {"result": 2}))
    archived = archive(tmp_path / "old.jsonl.gz", export(tmp_path / "old", uids[1]))
    retire(uids[1], archive=archived.name)
    status, lines, _ = verify("--checkpoint", path, "--archives", tmp_path)
    assert (status, lines[0]) == (1, f"run {uids[1]} #8: differs from the event in the checkpoint")


def test_a_tombstone_that_a_checkpoint_knows_cannot_be_changed_or_taken_back(uids: list[UUID], tmp_path: Path) -> None:
    archived = archive(tmp_path / "old.jsonl.gz", export(tmp_path / "old", uids[1]))
    events = ask("SELECT * FROM django_hookflow_event WHERE run_uid = %s ORDER BY seq", uids[1])
    retire(uids[1], archive=archived.name)
    path = tmp_path / "one.jsonl"
    checkpoint(path)
    (row,) = ask("SELECT encode(tombstone_hash, 'hex') AS hash FROM django_hookflow_head WHERE run_id = 'order-2'")
    assert {line[1]: line[4] for line in lines_of(path)[1:]} == {
        "order-1": None,
        "order-2": row["hash"],
        "order-3": None,
    }
    assert prove(path) == (0, [])
    problem = "run order-2: was archived, but its tombstone differs from the one in the checkpoint"
    rebury(uids[1], "other.jsonl.gz")
    assert (verify()[:2], prove(path)) == ((0, []), (1, [problem]))
    ask(
        "UPDATE django_hookflow_head SET archived_at = NULL, tombstone = NULL, tombstone_hash = NULL WHERE run_id = 'order-2'"
    )
    for event in events:
        ask(
            "INSERT INTO django_hookflow_event (recorded_at, run_uid, seq, version, type, step_id, actor, facts, payload, salt, hash)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            *(event[name] for name in ("recorded_at", "run_uid", "seq", "version", "type", "step_id", "actor")),
            *(None if event[name] is None else as_json(event[name]) for name in ("facts", "payload")),
            *(event["salt"], event["hash"]),
        )
    assert (verify()[:2], prove(path)) == ((0, []), (1, [problem]))


def rebury(uid: UUID, archive: str) -> None:
    """The owner gives a run another tombstone, which holds."""
    ask("UPDATE django_hookflow_head SET tombstone = replace(tombstone::text, 'old.jsonl.gz', %s)::json", archive)
    ask(
        "UPDATE django_hookflow_head SET tombstone_hash = hookflow_event_hash(head_hash, run_uid, last_seq + 1, archived_at,"
        " 1::smallint, 'run.archived', NULL, NULL, tombstone::text, NULL) WHERE run_uid = %s",
        uid,
    )


@pytest.mark.parametrize(
    ("tampering", "problem"), [(rewrite, "#8: differs from the event in th"), (cut_tail, "ends at #5")]
)
def test_an_archive_that_is_not_what_the_checkpoint_knows_is_found_by_the_script(
    tampering: Any, problem: str, uids: list[UUID], tmp_path: Path
) -> None:
    path = tmp_path / "one.jsonl"
    checkpoint(path)
    tampering(uids[1])
    archived = archive(tmp_path / "old.jsonl.gz", export(tmp_path / "old.jsonl"))
    assert run_audit(archived)[0] == 0
    status, lines = run_audit("--checkpoint", path, archived)
    assert status == 1
    assert [line for line in lines if problem in line] != []


def test_the_script_names_the_runs_of_the_checkpoint_that_no_file_has(uids: list[UUID], tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    checkpoint(path)
    parts = [export(tmp_path / f"{number}.jsonl", uid) for number, uid in enumerate(uids)]
    assert run_audit("--checkpoint", path, *parts)[0] == 0
    status, lines = run_audit("--checkpoint", path, *parts[1:])
    unseen = f"run {uids[0]}: 'order-1' is not in any of the files, but the checkpoint has it up to #8"
    assert (status, lines[-1]) == (1, unseen)


# The chain of checkpoints.


@pytest.fixture
def chain(uids: list[UUID], tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.jsonl" for number in range(3)]
    for path in paths:
        append(uids[0], None, ("note", None, 1))
        checkpoint(path)
    return paths


def test_checkpoints_are_a_chain(chain: list[Path]) -> None:
    digests = [hashlib.sha256(lines_of(path)[0]["token"].encode()).hexdigest() for path in chain]
    assert [claims_of(path)["previous"] for path in chain] == [None, *digests[:2]]
    assert prove(*chain) == (0, [])
    assert prove(*chain[1:]) == (0, [])
    for wrong in ([chain[1], chain[0]], [chain[0], chain[2]], [chain[0], chain[0]]):
        status, (problem,) = prove(*wrong)
        assert status == 1
        assert problem.startswith(f"checkpoint {wrong[1]}: does not follow {wrong[0]} (digest ")
        assert problem.endswith("Pass all checkpoints from the first to the last, oldest first")


def test_two_at_once_follow_each_other(uids: list[UUID], tmp_path: Path) -> None:
    """The second waits for the first, and reads what it continues after that."""
    pids: list[int] = []

    def make_another() -> str:
        try:
            pids.append(ask("SELECT pg_backend_pid() AS pid")[0]["pid"])
            return checkpoint(tmp_path / "two.jsonl")
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool, transaction.atomic():
        checkpoint(tmp_path / "one.jsonl")
        other = pool.submit(make_another)
        (pid,) = wait_until(lambda: pids, "the other has begun")
        wait_until_blocked(pid, "the other waits for the first")
        # Appends do not wait for either.
        with session() as own:
            own.execute("SET lock_timeout = '1ms'")
            append(uids[0], None, ("note", None, 1), session=own)
    pool.shutdown()
    other.result(timeout=20)
    assert prove(tmp_path / "one.jsonl", tmp_path / "two.jsonl") == (0, [])


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE django_hookflow_checkpoint SET runs = 0",
        "DELETE FROM django_hookflow_checkpoint",
        "TRUNCATE django_hookflow_checkpoint",
    ],
)
def test_the_record_of_checkpoints_is_guarded(change: str, chain: list[Path]) -> None:
    for escape in ("SELECT 1", "SET session_replication_role = replica"):
        tried = psql("-c", escape, "-c", change)
        assert tried.returncode != 0
        assert "ERROR:  23001: hookflow: the chain of checkpoints is append-only" in tried.stderr
    assert prove(*chain) == (0, [])


def test_a_checkpoint_that_the_database_does_not_know_is_reported(chain: list[Path]) -> None:
    """Its owner can remove the record: until the guard is on again, nothing is kept of it."""
    ask("ALTER TABLE django_hookflow_checkpoint DISABLE TRIGGER USER")
    ask("DELETE FROM django_hookflow_checkpoint")
    for row in ask("SELECT tgname FROM pg_trigger WHERE tgrelid = 'django_hookflow_checkpoint'::regclass"):
        ask(f"ALTER TABLE django_hookflow_checkpoint ENABLE ALWAYS TRIGGER {row['tgname']}")
    status, (problem,) = prove(chain[0])
    assert status == 1
    assert problem.startswith(f"checkpoint {chain[0]}: this database has no record of it. It was made from database ")


# The file.


def test_a_file_that_is_there_is_not_overwritten(uids: list[UUID], tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    path.write_text("something else")
    with pytest.raises(CommandError, match="one.jsonl already exists and was not overwritten: choose another name"):
        checkpoint(path)
    nowhere = tmp_path / "no"
    with pytest.raises(CommandError) as refused:
        checkpoint(nowhere / "one.jsonl")
    assert (
        str(refused.value) == f"one.jsonl cannot be written: {nowhere} is not a directory; create it or choose another"
    )
    assert (path.read_text(), list(tmp_path.iterdir())) == ("something else", [path])
    assert ask("SELECT FROM django_hookflow_checkpoint") == []


def test_many_runs_go_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "BATCH", 7)
    monkeypatch.setattr(proving, "BATCH", 6)
    path = tmp_path / "one.jsonl"
    checkpoint(path)
    assert prove(path) == (0, [])
    make_runs(30)
    checkpoint(tmp_path / "two.jsonl")
    assert len(lines_of(tmp_path / "two.jsonl")) == 31
    assert prove(path, tmp_path / "two.jsonl") == (0, [])


def test_only_the_runs_that_are_verified_are_compared(uids: list[UUID], tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    checkpoint(path)
    _, lines, last = verify("--checkpoint", path, "--run", "order-2")
    assert lines[0].endswith(": 1 run compared")
    assert last == "1 run with 8 events verified: no problems"
    with pytest.raises(CommandError, match="no run has the ID 'ghost'"):
        verify("--checkpoint", path, "--run", "ghost")


def test_one_that_is_killed_leaves_no_checkpoint_and_nothing_in_the_way(
    uids: list[UUID], tmp_path: Path, process_environment: dict[str, str]
) -> None:
    path = tmp_path / "one.jsonl"
    environment = {
        **process_environment,
        "PGAPPNAME": "to-be-killed",
        "PYTHONPATH": str(Path.cwd()),
    }
    with session() as other, other.transaction():
        other.execute("LOCK TABLE django_hookflow_checkpoint")
        command = [sys.executable, "-c", WITHOUT_CRYPTOGRAPHY, "hookflow_checkpoint", "HS256", "--output", str(path)]
        with subprocess.Popen(command, env=environment) as process:
            waiting = (
                "SELECT FROM pg_stat_activity WHERE application_name = 'to-be-killed' AND wait_event_type = 'Lock'"
            )
            wait_until(lambda: ask(waiting), "it waits for the lock on the record")
            process.kill()
    assert [part.suffix for part in tmp_path.iterdir()] == [".part"]
    assert ask("SELECT FROM django_hookflow_checkpoint") == []
    checkpoint(path)
    assert prove(path) == (0, [])


def write_and_be_overtaken(path: Path) -> None:
    with new_file(path) as file:
        file.write(b"mine")
        path.write_text("another's")


def test_a_name_taken_meanwhile_is_left_alone_and_the_checkpoint_kept(tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    with pytest.raises(OutputExists, match="the complete file has been kept as ") as raised:
        write_and_be_overtaken(path)
    assert path.read_text() == "another's"
    kept = Path(str(raised.value).rpartition(" as ")[2])
    assert kept.read_text() == "mine"
