"""The application's version, in the event that begins each turn."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from django_hookflow import WorkflowContext, workflow
from django_hookflow.app_version import _resolved
from django_hookflow.testing import Hookflow

pytestmark = pytest.mark.django_db(transaction=True)

HERE = "tests.runtime.test_app_version"
VERSION = "2026.11"

calls: list[str] = []


@pytest.fixture(autouse=True)
def _forget() -> None:
    _resolved.cache_clear()
    calls.clear()


def find_version() -> str:
    calls.append("asked")
    return "r7-a1b2c3"


def raise_an_error() -> str:
    calls.append("asked")
    raise SystemError("no git here")


def answer_a_screen() -> str:
    return "\x1b[2J\x00"


def answer_a_book() -> str:
    return "é" * 1000


@workflow(workflow_id="tests.app_version")
def napping(ctx: WorkflowContext) -> None:
    ctx.step.sleep("nap", 60)


def versions(hookflow: Hookflow) -> list[Any]:
    """What the two turns of a run have recorded."""
    run = hookflow.run(napping)
    assert run.status == "completed"
    return [event.facts.get("version") for event in hookflow.events(run.run_id) if event.type == "turn.started"]


@pytest.mark.parametrize(
    ("setting", "version"),
    [
        (None, None),
        ("", None),
        ("1.2.3", "1.2.3"),
        ("release-7", "release-7"),
        ("v1.beta", "v1.beta"),
        ("..", ".."),
        (f"{HERE}.VERSION", VERSION),
        (f"{HERE}.find_version", "r7-a1b2c3"),
        (f"{HERE}.answer_a_book", "é" * 200),
    ],
)
def test_it_is_recorded_with_each_turn(hookflow: Hookflow, settings: Any, setting: Any, version: Any) -> None:
    settings.DJANGO_HOOKFLOW_APP_VERSION = setting
    assert versions(hookflow) == [version, version]
    assert len(calls) <= 1, "asked once a process"


@pytest.mark.parametrize("name", ["raise_an_error", "answer_a_screen", "not_there", "VERSION.more"])
def test_an_error_in_it_is_logged_once_and_fails_no_turn(
    hookflow: Hookflow, settings: Any, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    settings.DJANGO_HOOKFLOW_APP_VERSION = f"{HERE}.{name}"
    with caplog.at_level(logging.ERROR, "django_hookflow.turn"):
        assert versions(hookflow) == [None, None]
    [record] = caplog.records
    assert record.getMessage().startswith("DJANGO_HOOKFLOW_APP_VERSION: ")
    assert len(calls) <= 1
