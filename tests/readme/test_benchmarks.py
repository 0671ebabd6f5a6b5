"""The benchmarks run once here, in their smallest size, so that they cannot rot. How fast anything is, no test says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.checkout import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


def run_benchmarks(*arguments: str) -> str:
    """Their output. They make a database of their own on the tests' server and are to remove it again."""
    environment = {key: value for key, value in os.environ.items() if key != "DJANGO_SETTINGS_MODULE"}
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks", "--quick", *arguments],
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            output, errors = process.communicate(timeout=240)
        finally:
            process.kill()
    assert process.returncode == 0, output + errors
    assert errors == ""
    assert not exists_database(f"hookflow_benchmarks_{process.pid}")
    return output


@pytest.mark.django_db(transaction=True)
def test_an_appender_that_is_told_to_go_and_to_stop_in_one_breath_stops(process_environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "benchmarks.appender", process_environment["DATABASE_URL"]]
    environment = {key: value for key, value in process_environment.items() if key != "DJANGO_SETTINGS_MODULE"}

    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, input="go\nstop\n" * 2, capture_output=True, text=True, timeout=60
    )

    assert done.stderr == ""
    first, figures, second, again = done.stdout.splitlines()
    assert first == second == "appending"
    assert json.loads(figures)["appends"] >= 1
    assert json.loads(again)["seconds"] > 0


def exists_database(name: str) -> bool:
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        return connection.execute("SELECT FROM pg_database WHERE datname = %s", [name]).fetchone() is not None


def test_the_benchmarks_compare_everything_they_promise(tmp_path: Path) -> None:
    output = run_benchmarks("--json", str(tmp_path / "figures.json"))

    told = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    figures: dict[str, dict[str, Any]] = {figure["name"]: figure for figure in told["figures"]}
    for setting in ("fsync", "synchronous_commit", "server_version", "cores"):
        assert f"{setting}: {told['machine'][setting]}" in output
    for name, figure in figures.items():
        assert name in output
        # A share can be nothing, and of so few turns a difference can be less.
        assert figure["value"] > 0 or "touch no index" in name or "costs a turn" in name, name
    compared = {re.sub(r"[\d,]{4,}", "…", name): figure["of"] for name, figure in figures.items() if figure["of"]}
    assert compared == {
        "steps of one long run, 1 thread": "raw",
        "steps of ten-step runs, trigger to completion, 1 thread": "raw",
        "events, 5 a call and commit, 1 thread": "raw",
        "steps of one long run, 4 threads": "raw",
        "steps of one map, 1 thread": "raw",
        "steps of ten-step runs, trigger to completion, 4 threads": "raw",
        "step 100 (median of the last 50)": "step 10",
        "last tenth of all steps, the mean": "first tenth",
        "rebuild from nothing, 2 connections (the default)": "INSERT … SELECT",
        "the same with one": "INSERT … SELECT",
        "rebuild with nothing to repair": "INSERT … SELECT",
        "comparing (--check), without locks": "INSERT … SELECT",
        "appends beside a rebuild from nothing, 2 connections": "alone",
        "appends beside the same with 1": "alone",
        "appends beside a comparison (--check)": "alone",
        "appends beside a verify": "alone",
        "appends beside a cleanup": "alone",
        "appends beside a cleanup with an archive": "alone",
        "append as hookflow_app": "without roles",
        "as many children, started, run and joined": "runs of their own, started and run",
        "memory of the relay at the end": "its median",
        "turns of 10 steps, by the webhook over HTTP": "direct",
        "turns of 10 steps, by the webhook over HTTP, CONN_MAX_AGE = 0": "direct",
    }
    assert all(figures[name]["ratio"] > 0 for name in figures if figures[name]["of"])
    # These are no matter of speed.
    assert figures["ten-step run: messages"]["value"] == 1
    assert figures["ten-step run: commits, trigger included"]["value"] == 13
    assert figures["message body at step 1"]["is_met"]
    assert figures["message body at step 100"]["is_met"]


def test_the_profile_tells_every_layer(tmp_path: Path) -> None:
    output = run_benchmarks("--profile", "--json", str(tmp_path / "profile.json"))

    layers = json.loads((tmp_path / "profile.json").read_text(encoding="utf-8"))["profile"]["layers"]
    assert list(layers) == [
        "SELECT 1",
        "raw INSERT and commit",
        "hookflow_complete, by psycopg",
        "hookflow_complete, by events.log",
        "a step of the engine",
        "trigger()",
        "claim of a fresh run",
        "append of run.completed",
    ]
    assert all(name in output for name in layers)
    assert all(layer["wall"] > 0 and layer["client"] > 0 for layer in layers.values())
