"""Checkpoints made and compared by their commands, and their files read and written by hand."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import jwt
from django.core.management import call_command

from tests.evidence.tampering import verify

SECRET = "only-for-tests-" + "0" * 60
LAST = "3 runs with 24 events verified: no problems"


def checkpoint(path: Path) -> str:
    output = StringIO()
    call_command("hookflow_checkpoint", "--output", str(path), stdout=output)
    return output.getvalue().strip()


def prove(*paths: Path, also: tuple[str, ...] = ()) -> tuple[int, list[str]]:
    """The exit status, and all lines but the one of the checkpoint and the last."""
    status, lines, _ = verify(*(part for path in paths for part in ("--checkpoint", str(path))), *also)
    return status, [line for line in lines if not re.search(r": (no|1|\d+) runs? compared", line)]


def lines_of(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_lines(path: Path, lines: list[Any]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def claims_of(path: Path) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(lines_of(path)[0]["token"], options={"verify_signature": False})
    return claims


WITHOUT_CRYPTOGRAPHY = """
import sys
sys.modules["cryptography"] = None  # as if it were not installed
import django
django.setup()
from django.conf import settings
from django.core.management import call_command
settings.DJANGO_HOOKFLOW_CHECKPOINT_KEY = "0" * 40
settings.DJANGO_HOOKFLOW_CHECKPOINT_ALGORITHM = sys.argv[2]
call_command(sys.argv[1], *sys.argv[3:])
"""


def without_cryptography(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT_CRYPTOGRAPHY, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
