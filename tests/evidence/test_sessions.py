"""Whatever the settings of a session: what is written, exported and verified in it is the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.evidence.exporting import export, run_audit
from tests.evidence.tampering import make_run, verify
from tests.log.calls import append, ask, psql

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.django_db(transaction=True)

SETTINGS = {
    "standard_conforming_strings": "off",
    "escape_string_warning": "on",
    "backslash_quote": "on",
    "bytea_output": "escape",
    "TimeZone": "Asia/Kathmandu",
    "DateStyle": "German,DMY",
    "IntervalStyle": "sql_standard",
    "client_encoding": "LATIN1",
    "extra_float_digits": "-15",
    "lc_messages": "C",
    "row_security": "off",
    "quote_all_identifiers": "on",
}
HOSTILE = {"PGOPTIONS": " ".join(f"-c {name}={value}" for name, value in SETTINGS.items())}


def make_odd_run() -> None:
    uid = make_run("größe-☃")
    facts = {"took": 0.1 + 0.2, "kind": "run"}
    append(uid, None, ("note", "c:\\temp\\☃", {"path": "\\x48'", "é": 1e-7}, facts), actor="ann\\ø")


def test_an_export_by_psql_is_the_same_whatever_the_session(tmp_path: Path) -> None:
    make_odd_run()
    plain = export(tmp_path / "plain.jsonl")
    hostile = export(tmp_path / "hostile.jsonl", **HOSTILE)
    assert hostile.read_bytes() == plain.read_bytes()
    assert run_audit(hostile) == (0, [f"{hostile}: 1 run, 9 events, no problems"])


def test_what_a_session_with_odd_settings_appends_and_verifies_holds(tmp_path: Path) -> None:
    make_odd_run()
    (run,) = ask("SELECT run_uid FROM django_hookflow_head")
    append_ = (
        "SELECT seq FROM hookflow_append('{}', NULL, ARRAY['note'], ARRAY['c:/temp'], "
        "ARRAY['{{\"took\": 0.30000000000000004}}']::json[], ARRAY['{{\"é\": 1e-7}}']::json[], 'annø')"
    )
    environment = {**HOSTILE, "PGCLIENTENCODING": "UTF8"}
    done = psql("-c", append_.format(run["run_uid"]), environment=environment)
    assert (done.returncode, done.stdout) == (0, "10\n"), done.stderr
    assert verify()[:2] == (0, [])
    for name, value in SETTINGS.items():
        if name != "client_encoding":  # which the driver needs
            ask(f"SET {name} = '{value}'")
    try:
        assert verify()[:2] == (0, [])
    finally:
        for name in SETTINGS:
            if name != "client_encoding":
                ask(f"RESET {name}")
    assert run_audit(export(tmp_path / "events.jsonl"))[0] == 0
