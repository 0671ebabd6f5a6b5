"""The files of this checkout, without what builds and tests leave beside them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


def files_of_the_project(under: str = ".") -> set[str]:
    """Paths from the top of the repository: those git tracks or would track. Skips the test where git cannot say."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed: build leftovers cannot be told from files of the project")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", under]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("not a git checkout: build leftovers cannot be told from files of the project")
    return {name for name in listed.stdout.splitlines() if (REPOSITORY / name).exists()}
