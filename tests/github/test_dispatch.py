"""dispatch_workflow: what is sent, and what a caller gets back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from django_hookflow.exceptions import HookFlowException
from django_hookflow.github import dispatch_workflow
from tests.github.server import RUN, TOKEN, GitHub

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_django import Settings


def test_sends_what_github_documents_and_returns_the_run(github: GitHub) -> None:
    answer = dispatch_workflow(
        repo="octo/shop", workflow_file="deploy.yml", ref="v1", inputs={"environment": "staging"}
    )

    assert answer == RUN
    (request,) = github.requests
    assert (request.method, request.path) == ("POST", "/repos/octo/shop/actions/workflows/deploy.yml/dispatches")
    assert request.json == {"ref": "v1", "inputs": {"environment": "staging"}}
    assert request.headers["Authorization"] == f"Bearer {TOKEN}"
    assert request.headers["Accept"] == "application/vnd.github+json"
    assert request.headers["X-GitHub-Api-Version"] == "2026-03-10"
    assert request.headers["User-Agent"].startswith("django-hookflow/")
    assert request.headers["Content-Type"] == "application/json"


def test_defaults_are_the_settings_repository_the_branch_main_and_no_inputs(github: GitHub) -> None:
    dispatch_workflow(workflow_file="deploy.yml")

    assert github.requests[0].path.startswith("/repos/octo/shop/")
    assert github.requests[0].json == {"ref": "main"}


def test_a_server_that_answers_204_tells_no_run(github: GitHub) -> None:
    github.enterprise = True

    answer = dispatch_workflow(workflow_file="deploy.yml")

    assert answer == {"workflow_run_id": None, "run_url": None, "html_url": None}


def test_the_answer_can_be_recorded_as_a_step_result(github: GitHub) -> None:
    answer = dispatch_workflow(workflow_file="deploy.yml")

    assert json.loads(json.dumps(answer)) == answer


def test_inputs_arrive_as_the_texts_a_workflow_gets(github: GitHub) -> None:
    dispatch_workflow(workflow_file="deploy.yml", inputs={"dry_run": True, "count": 3, "environment": "prüf"})

    assert github.requests[0].json["inputs"] == {"dry_run": "true", "count": "3", "environment": "prüf"}


def test_a_path_in_the_workflow_folder_names_the_file(github: GitHub) -> None:
    dispatch_workflow(workflow_file=".github/workflows/deploy.yml")

    assert github.requests[0].path.endswith("/workflows/deploy.yml/dispatches")


def test_a_file_name_cannot_change_the_address(github: GitHub) -> None:
    with pytest.raises(HookFlowException, match="404"):
        dispatch_workflow(workflow_file="a b?c#d.yml")

    assert github.requests[0].path == "/repos/octo/shop/actions/workflows/a%20b%3Fc%23d.yml/dispatches"


def test_the_base_url_may_have_a_path_and_a_trailing_slash(github: GitHub, settings: Settings) -> None:
    settings.DJANGO_HOOKFLOW_GITHUB_API_URL = f"{github.url}/api/v3/"

    with pytest.raises(HookFlowException, match="404"):  # the local server has no such path
        dispatch_workflow(workflow_file="deploy.yml")

    assert github.requests[0].path == "/api/v3/repos/octo/shop/actions/workflows/deploy.yml/dispatches"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("is_whole", [True, False])
def test_a_renamed_repository_is_dispatched_where_it_is_now(github: GitHub, status: int, is_whole: bool) -> None:
    now = "/repos/octo/shop/actions/workflows/deploy.yml/dispatches"
    github.answers.append((status, {"Location": github.url + now if is_whole else now}, b""))

    assert dispatch_workflow("octo/old-shop", "deploy.yml", inputs={"count": 1}) == RUN

    first, second = github.requests
    assert (second.method, second.path, second.body) == ("POST", now, first.body)
    assert second.headers["Authorization"] == first.headers["Authorization"]


def test_a_netrc_entry_does_not_replace_the_token(
    github: GitHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))

    assert dispatch_workflow(workflow_file="deploy.yml") == RUN


def test_a_token_with_a_line_break_at_its_end_is_taken_without(github: GitHub, settings: Settings) -> None:
    settings.GITHUB_PERSONAL_ACCESS_TOKEN = f"{TOKEN}\n"

    assert dispatch_workflow(workflow_file="deploy.yml") == RUN


def test_a_successful_answer_that_breaks_off_is_still_a_success(github: GitHub) -> None:
    github.answers.append((200, {"Content-Length": "1000"}, b'{"workflow_run_id": 1'))

    assert dispatch_workflow(workflow_file="deploy.yml")["workflow_run_id"] is None


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"not json", b"\xff\xfe", b"[" * 60_000])
def test_a_successful_answer_without_sense_is_still_a_success(github: GitHub, body: bytes) -> None:
    github.answers.append((200, {}, body))

    assert dispatch_workflow(workflow_file="deploy.yml") == {"workflow_run_id": None, "run_url": None, "html_url": None}
