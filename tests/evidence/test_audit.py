"""The script that stands alone: what it computes is what the server computed, and what it finds it says."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection
from hypothesis import given, settings
from hypothesis import strategies as st

from django_hookflow.evidence.audit import (
    DIGEST_BESIDE_PAYLOAD,
    HASH_DOES_NOT_HOLD,
    REDACTION_NOT_ON_RECORD,
    Known,
    MerkleTree,
    check_run,
    event_hash,
    first_previous,
    leaf_hash,
)
from django_hookflow.sql import load
from tests.evidence.exporting import archive, edit_lines, edit_manifest, export, manifest_of, run_audit
from tests.evidence.tampering import make_run
from tests.log.calls import append, ask, head_of, start
from tests.log.strategies import any_facts, words

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
)
events = st.lists(
    st.tuples(
        st.sampled_from(["turn.started", "note", "größer"]),
        st.none() | words,
        st.none() | values,
        any_facts(values),
    ),
    max_size=6,
)


def events_of(uid: UUID) -> list[dict[str, Any]]:
    with connection.cursor() as cursor:
        cursor.execute(load("event_lines"), {"from": uid, "to": uid})
        return [json.loads(line) for (line,) in cursor.fetchall()]


@pytest.mark.django_db
@settings(max_examples=60, deadline=None)
@given(data=values, history=events, actor=st.none() | words, redacts=st.booleans())
def test_its_hash_is_the_servers(data: Any, history: list[Any], actor: str | None, redacts: bool) -> None:
    uid = start(data=data)["run_uid"]
    append(uid, 1, *history, ("run.completed", None, {"result": data}), actor=actor)
    if redacts:
        ask("SELECT hookflow_redact(%s, NULL, NULL, 'asked for', 'ann')", uid)
    lines = events_of(uid)
    previous = first_previous(str(uid))
    for event in lines:
        previous = event_hash(event, previous)
        assert previous.hex() == event["hash"], event["seq"]
    checked = check_run(str(uid), lines)
    assert (checked.problems, checked.last_seq, checked.head_hash) == ([], len(lines), bytes(head_of(uid)["head_hash"]))


@pytest.fixture
def exported(transactional_db: None, tmp_path: Path) -> Path:
    for number in range(3):
        make_run(f"order-{number}")
    return export(tmp_path / "events.jsonl")


def test_events_exported_with_psql_are_checked(exported: Path) -> None:
    assert run_audit(exported) == (0, [f"{exported}: 3 runs, 24 events, no problems"])
    compressed = exported.with_name("events.jsonl.gz")
    compressed.write_bytes(gzip.compress(exported.read_bytes()))
    assert run_audit(exported, compressed)[1] == [
        f"{exported}: 3 runs, 24 events, no problems",
        f"{compressed}: 3 runs, 24 events, no problems",
    ]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"payload": "1"}, f"#3: {HASH_DOES_NOT_HOLD}"),
        ({"facts": "{}"}, f"#3: {HASH_DOES_NOT_HOLD}"),
        ({"recorded_at": "2026-01-01T00:00:00.000000Z"}, f"#3: {HASH_DOES_NOT_HOLD}"),
        ({"step_id": ""}, f"#3: {HASH_DOES_NOT_HOLD}"),
        ({"actor": ""}, f"#3: {HASH_DOES_NOT_HOLD}"),
        ({"actor": "eve"}, f"#3: {HASH_DOES_NOT_HOLD}"),
        ({"version": 2}, f"#3: {HASH_DOES_NOT_HOLD}"),
        ({"seq": 7}, "#3 to #6: missing"),
        ({"seq": 2}, "#2: not in seq order"),
        ({"payload_digest": "00" * 32}, f"#3: {DIGEST_BESIDE_PAYLOAD}"),
        ({"payload": None, "salt": None, "payload_digest": "00" * 32}, f"#3: {REDACTION_NOT_ON_RECORD}"),
    ],
)
def test_what_was_changed_in_a_line_is_found(exported: Path, changes: dict[str, Any], problem: str) -> None:
    edit_lines(exported, (2, changes))
    status, lines = run_audit(exported)
    assert status == 1
    assert any(problem in line for line in lines[:-1]), lines
    assert lines[-1].startswith(f"{exported}: 3 runs, 24 events, ")


@pytest.mark.parametrize(
    "line",
    [
        "not json",
        "[]",
        "{}",
        '{"run_uid": 1}',
        '{"run_uid": "x", "hash": "", "salt": null, "payload_digest": null, "recorded_at": "Z"}',
        '{"run_uid": "00000000-0000-0000-0000-000000000000", "seq": 1, "type": "note", "step_id": null, "actor": null,'
        ' "facts": null, "payload": null, "recorded_at": "2026-01-01T00:00:00Z", "version": 1, "salt": null,'
        ' "payload_digest": null, "hash": ""}',
    ],
)
def test_a_line_that_is_no_event_is_named(exported: Path, line: str) -> None:
    with exported.open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")
    status, lines = run_audit(exported)
    assert (status, lines[0].startswith(f"{exported}: line 25 is not an event: ")) == (1, True), lines


def test_lines_of_a_run_that_are_not_together_are_found(exported: Path) -> None:
    lines = exported.read_text(encoding="utf-8").splitlines()
    exported.write_text("\n".join([*lines[8:], *lines[:8]]), encoding="utf-8")
    status, lines = run_audit(exported)
    assert status == 1
    assert lines[0].endswith("its events are not contiguous, or the runs are not in order")


def test_a_file_that_is_not_there_is_reported(tmp_path: Path) -> None:
    status, lines = run_audit(tmp_path / "none.jsonl")
    assert (status, "No such file" in lines[0]) == (1, True)


def test_a_file_without_events_proves_nothing(tmp_path: Path) -> None:
    empty, compressed = tmp_path / "events.jsonl", tmp_path / "events.jsonl.gz"
    empty.touch()
    compressed.write_bytes(gzip.compress(b""))
    for path in (empty, compressed):
        status, lines = run_audit(path)
        assert (status, lines) == (
            1,
            [f"{path}: contains no events, so there is nothing to verify", f"{path}: no runs, no events, 1 problem"],
        )


def test_an_archive_is_checked_with_its_manifest(exported: Path) -> None:
    path = archive(exported.with_name("old.jsonl.gz"), exported)
    assert run_audit(path) == (0, [f"{path}: 3 runs, 24 events, no problems"])


def test_an_archive_of_which_a_byte_has_changed_is_not_the_one_of_its_manifest(exported: Path) -> None:
    path = archive(exported.with_name("old.jsonl.gz"), exported)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    status, lines = run_audit(path)
    assert (status, lines[0]) == (
        1,
        f"{path}: does not match the digest in old.manifest.json",
    )


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"runs": []}, "the manifest has no such run, the file 'order-0' of 'shop.order' up to #8"),
        ({"events": 25}, "24 events, the manifest has 25"),
        ({"lines": "django-hookflow-event-9"}, "its lines have the format 'django-hookflow-event-9', expected"),
        ({"format": "tar"}, "has the format 'tar', expected 'django-hookflow-archive-1'"),
        ({"runs": 1}, "is not a manifest"),
        ({"file": "other.jsonl.gz"}, "does not match the digest in"),
    ],
)
def test_a_manifest_that_says_something_else_is_found(exported: Path, changes: dict[str, Any], problem: str) -> None:
    path = archive(exported.with_name("old.jsonl.gz"), exported)
    edit_manifest(path, **changes)
    status, lines = run_audit(path)
    assert status == 1
    assert any(problem in line for line in lines), lines


def test_the_names_in_a_manifest_are_held_against_those_that_were_recorded(exported: Path) -> None:
    path = archive(exported.with_name("old.jsonl.gz"), exported)
    runs = json.loads(manifest_of(path).read_text(encoding="utf-8"))["runs"]
    edit_manifest(path, runs=[{**runs[0], "run_id": "order-9"}, *runs[1:]])
    status, (problem, _) = run_audit(path)
    assert status == 1
    assert (
        f"the manifest has 'order-9' of 'shop.order' up to #8 {runs[0]['head_hash'][:8]}…, the file 'order-" in problem
    )


def test_an_archive_cut_short_is_found_also_without_a_manifest(exported: Path) -> None:
    path = archive(exported.with_name("old.jsonl.gz"), exported)
    manifest_of(path).unlink()
    path.write_bytes(path.read_bytes()[:-20])
    status, lines = run_audit(path)
    assert (status, "ended before the end-of-stream marker" in lines[0]) == (1, True), lines


def test_what_was_redacted_twice_verifies(transactional_db: None, tmp_path: Path) -> None:
    """A second redaction takes the rest that the first retained, and names the first event only."""
    uid = make_run("order-1")
    ask("SELECT hookflow_redact(%s, 1, ARRAY['data', 'order'], 'asked for', 'ann')", uid)
    ask("SELECT hookflow_redact(%s, 1, NULL, 'asked for', 'ann')", uid)
    assert [event["type"] for event in events_of(uid) if event["payload_digest"]] == ["run.triggered", "event.retained"]
    assert run_audit(export(tmp_path / "events.jsonl"))[0] == 0


def known(number: int) -> Known:
    return Known(f"00000000-0000-7000-8000-{number:012x}", f"run-{number}", number + 1, bytes(32))


def root_by_definition(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, as it is written there."""
    import hashlib

    if len(leaves) <= 1:
        return leaves[0] if leaves else hashlib.sha256(b"").digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\1" + root_by_definition(leaves[:split]) + root_by_definition(leaves[split:])).digest()


@pytest.mark.parametrize("number", [*range(20), 63, 64, 65, 100])
def test_the_root_is_that_of_rfc_6962(number: int) -> None:
    leaves = [leaf_hash(known(n)) for n in range(number)]
    tree = MerkleTree()
    for leaf in leaves:
        tree.add(leaf)
    assert tree.root() == root_by_definition(leaves)
