"""What is kept of an error, whatever it is."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import pytest

from django_hookflow import Retry, WorkflowContext, workflow
from django_hookflow.durations import LONGEST_SECONDS
from django_hookflow.registry import InvalidWorkflow
from django_hookflow.runtime.failures import MASKED, MAX_TEXT, mask
from django_hookflow.runtime.retries import retry_after
from django_hookflow.testing import Hookflow

pytestmark = pytest.mark.django_db(transaction=True)


class Unreadable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    @property
    def status_code(self) -> int:
        raise RuntimeError("no status")

    @property
    def response(self) -> Any:
        raise RuntimeError("no response")


class InNoTime(Exception):
    retry_after = 10**400


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (Unreadable(), "tests.runtime.test_failures.Unreadable: (its text could not be read: RuntimeError)"),
        (InNoTime("late"), "tests.runtime.test_failures.InNoTime: late"),
        (Exception("\ud800 and \x00"), r"Exception: \ud800 and \x00"),
    ],
    ids=["unreadable", "absurd", "not Unicode"],
)
def test_an_error_is_recorded_as_the_steps_whatever_it_is_like(hookflow: Hookflow, error: Exception, told: str) -> None:
    def fail() -> None:
        raise error

    @workflow(workflow_id="tests.failing_oddly", retry=Retry(max_attempts=2))
    def failing(ctx: WorkflowContext) -> None:
        ctx.step.run("fail", fail)

    run = hookflow.run(failing)
    assert run.error_message == f"step 'fail' failed after 2 attempts: {told}"
    assert hookflow.history(run.run_id)[1:] == [
        "step.failed fail",
        "step.suspended fail",
        "step.retried fail",
        "step.failed fail",
        "run.failed fail",
    ]


@pytest.mark.parametrize("text", ["a-" * 5_000_000, "a.b+" * 2_500_000, "x" * 10_000_000], ids=["-", ".", "x"])
def test_megabytes_are_cut_before_they_are_searched(text: str) -> None:
    """These patterns would take hours on the whole, while the worker's lease is renewed: the test would hang."""
    kept = mask(f"password=hunter22, {text}, token=abcdef")
    assert kept.startswith(f"password={MASKED}, {text[:1000]}")
    assert kept.endswith(f"{text[-1000:]}, token={MASKED}")
    assert "characters cut" in kept
    assert len(kept) < MAX_TEXT + 100


def test_a_text_that_fits_is_kept_whole() -> None:
    text = "a" * MAX_TEXT
    assert mask(text) == text
    assert mask(f"{text}bb").count("\n… 2 characters cut …\n") == 1


def test_a_workflow_whose_call_would_not_run_it_is_refused() -> None:
    def generator(ctx: WorkflowContext) -> Any:
        yield ctx.step.run("a", int)

    async def async_generator(ctx: WorkflowContext) -> Any:
        yield ctx.step.run("a", int)

    for function in (generator, async_generator):
        with pytest.raises(InvalidWorkflow, match=f"{function.__name__} is a generator function"):
            workflow(function)


@pytest.mark.parametrize("policy", [Retry(max_attempts=500, factor=1e9), Retry(500, 1e300, 1e9, 1e308), Retry(500, 0)])
def test_a_delay_is_one_that_a_clock_has_however_often_it_grows(policy: Retry) -> None:
    for attempt in (1, 2, 40, 101, 499):
        delay = policy.delay_after(ConnectionError(), attempt)
        assert delay is not None
        assert 0 <= delay <= LONGEST_SECONDS


@pytest.mark.parametrize("options", [{"first_delay": nan}, {"max_delay": inf}, {"factor": nan}, {"jitter": nan}])
def test_a_policy_without_numbers_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="out of range"):
        Retry(**options)  # type: ignore[arg-type]


class Headers(dict[str, str]):
    def get(self, *args: Any) -> Any:
        raise RuntimeError("no header")


def test_headers_that_cannot_be_read_ask_for_nothing() -> None:
    error = ConnectionError()
    error.response = type("Response", (), {"headers": Headers()})()  # type: ignore[attr-defined]
    assert retry_after(error) is None
