"""The doctor, called as users call it, in this process or in one of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from django.core.management import call_command

REPOSITORY = Path(__file__).parents[2]


@dataclass
class Diagnosis:
    exit_code: int
    told: dict[str, Any]
    text: str

    @property
    def codes(self) -> dict[str, str]:
        """The level of each finding, by code."""
        return {finding["code"]: finding["level"] for finding in self.told["findings"]}

    def seen(self, code: str) -> str:
        (finding,) = [finding for finding in self.told["findings"] if finding["code"] == code]
        assert finding["way_out"] or finding["level"] == "ok"
        return str(finding["seen"])

    def way_out(self, code: str) -> str:
        (finding,) = [finding for finding in self.told["findings"] if finding["code"] == code]
        return str(finding["way_out"])


def diagnose(*areas: str, offline: bool = False) -> Diagnosis:
    """What ``--json`` prints, of these areas or of all."""
    code, text = run("--json", *(["--offline"] if offline else []), *(["--only", *areas] if areas else []))
    return Diagnosis(code, json.loads(text), text)


def run(*arguments: str) -> tuple[int, str]:
    """Exit code and output, in this process."""
    out = StringIO()
    try:
        call_command("hookflow_doctor", *arguments, stdout=out)
    except SystemExit as ended:
        return int(ended.code or 0), out.getvalue()
    return 0, out.getvalue()


def run_process(
    *arguments: str, folder: Path, environment: dict[str, str], settings: str = ""
) -> subprocess.CompletedProcess[str]:
    """A process of its own, in a project that has the tests' settings and these lines after them."""
    (folder / "doctored.py").write_text(f"from tests.settings import *\n{settings}\n", encoding="utf-8")
    paths = os.pathsep.join([str(folder), str(REPOSITORY)])
    return subprocess.run(
        [sys.executable, "-m", "django", "hookflow_doctor", *arguments],
        env={**environment, "DJANGO_SETTINGS_MODULE": "doctored", "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
