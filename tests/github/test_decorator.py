"""trigger_github_workflow: first the function, then the dispatch."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING

import pytest

from django_hookflow.exceptions import HookFlowException
from django_hookflow.github import GitHubError, trigger_github_workflow
from tests.github.server import GitHub, say

if TYPE_CHECKING:
    from pytest_django import Settings


def test_the_function_runs_first_and_its_result_is_returned(github: GitHub) -> None:
    requests_while_running: list[int] = []

    @trigger_github_workflow(repo="octo/shop", workflow_file="deploy.yml", ref="v1")
    def add(a: int, *, b: int) -> int:
        """Adds."""
        requests_while_running.append(len(github.requests))
        return a + b

    assert add(2, b=3) == 5
    assert requests_while_running == [0]
    assert [request.json for request in github.requests] == [{"ref": "v1"}]
    assert (add.__name__, add.__doc__) == ("add", "Adds.")


def test_each_call_dispatches_once(github: GitHub) -> None:
    @trigger_github_workflow(workflow_file="deploy.yml")
    def work() -> None:
        pass

    work()
    work()

    assert len(github.requests) == 2


def test_a_function_that_raises_dispatches_nothing(github: GitHub) -> None:
    @trigger_github_workflow(workflow_file="deploy.yml")
    def broken() -> None:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        broken()

    assert github.requests == []


@pytest.mark.parametrize(
    ("repo", "file", "said"), [(None, "deploy.yml", "no GitHub repository"), ("octo/shop", None, "no workflow file")]
)
def test_without_repository_or_file_the_call_raises_before_the_function_runs(
    github: GitHub, settings: Settings, repo: str | None, file: str | None, said: str
) -> None:
    settings.GITHUB_DEFAULT_REPO = None
    ran: list[bool] = []

    @trigger_github_workflow(repo=repo, workflow_file=file)
    def work() -> None:
        ran.append(True)

    with pytest.raises(HookFlowException, match=said):
        work()
    assert (ran, github.requests) == ([], [])


def test_a_refused_dispatch_is_raised_although_the_function_has_run(github: GitHub) -> None:
    github.answers.append(say(500, "down"))
    ran: list[bool] = []

    @trigger_github_workflow(workflow_file="deploy.yml")
    def work() -> None:
        ran.append(True)

    with pytest.raises(GitHubError, match="500"):
        work()
    assert ran == [True]


def test_a_coroutine_function_stays_one_and_dispatches_when_it_is_done(github: GitHub) -> None:
    @trigger_github_workflow(workflow_file="deploy.yml")
    async def work(value: int) -> int:
        await asyncio.sleep(0)
        assert github.requests == []
        return value * 2

    assert inspect.iscoroutinefunction(work)
    assert asyncio.run(work(21)) == 42
    assert len(github.requests) == 1
