"""Events on their way out: exported with psql as an auditor does, and the script that stands alone."""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import django_hookflow.sql
from django_hookflow.evidence import audit
from tests.log.calls import psql

FIRST, LAST = "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"


def run_audit(*arguments: Any) -> tuple[int, list[str]]:
    """The script as an auditor runs it: away from the package, with the standard library and nothing else."""
    script = str(Path(audit.__file__))
    done = subprocess.run(
        [sys.executable, "-I", "-S", script, *map(str, arguments)], capture_output=True, text=True, check=False, cwd="/"
    )
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


def export(path: Path, run_uid: object = None, **environment: str) -> Path:
    """What the statement's own comment says to do with sed and psql, in an environment."""
    first, last = (run_uid, run_uid) if run_uid else (FIRST, LAST)
    statement = (Path(django_hookflow.sql.__file__).parent / "event_lines.sql").read_text(encoding="utf-8")
    assert "PGCLIENTENCODING=UTF8 psql" in statement
    statement = statement.replace("%(from)s", f"'{first}'").replace("%(to)s", f"'{last}'")
    done = psql("-c", statement, environment={**environment, "PGCLIENTENCODING": "UTF8"})
    assert done.returncode == 0, done.stderr
    path.write_bytes(done.stdout.encode("utf-8"))
    return path


def archive(path: Path, events: Path) -> Path:
    """The archive of exported events, with a manifest that fits."""
    path.write_bytes(gzip.compress(events.read_bytes(), mtime=0))
    lines = [json.loads(line) for line in events.read_text(encoding="utf-8").splitlines()]
    ends = {line["run_uid"]: {"last_seq": line["seq"], "head_hash": line["hash"]} for line in lines}
    names = {line["run_uid"]: json.loads(line["facts"]) for line in lines if line["seq"] == 1}
    manifest = {
        "format": "django-hookflow-archive-1",
        "lines": "django-hookflow-event-1",
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "made_at": "2026-01-01T00:00:00Z",
        "events": len(lines),
        "runs": [
            {"run_uid": uid, "run_id": names[uid]["run_id"], "workflow_id": names[uid]["workflow"], **end}
            for uid, end in ends.items()
        ],
    }
    manifest_of(path).write_text(json.dumps(manifest), encoding="utf-8")
    return path


def manifest_of(path: Path) -> Path:
    return path.with_name(path.name.replace(".jsonl.gz", ".manifest.json"))


def edit_manifest(path: Path, **changes: Any) -> None:
    manifest = json.loads(manifest_of(path).read_text(encoding="utf-8"))
    manifest_of(path).write_text(json.dumps({**manifest, **changes}), encoding="utf-8")


def edit_lines(path: Path, *edits: tuple[int, dict[str, Any]]) -> None:
    """Changes members of lines, counted from 0."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for number, changes in edits:
        lines[number].update(changes)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
