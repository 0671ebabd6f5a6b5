"""What dispatch_workflow refuses itself, and what it says when GitHub refuses, or does not answer."""

from __future__ import annotations

import socket
import struct
import time
import traceback
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from django_hookflow import github as module
from django_hookflow.exceptions import HookFlowException
from django_hookflow.github import (
    DispatchRejected,
    GitHubError,
    GitHubSilent,
    GitHubUnreachable,
    RateLimited,
    WorkflowNotFound,
    dispatch_workflow,
)
from tests.github.server import TOKEN, GitHub, say
from tests.runtime.slow_servers import trickling

if TYPE_CHECKING:
    from pytest_django import Settings


def test_a_missing_token_is_said_before_anything_is_sent(github: GitHub, settings: Settings) -> None:
    settings.GITHUB_PERSONAL_ACCESS_TOKEN = ""

    with pytest.raises(ValueError, match="GITHUB_PERSONAL_ACCESS_TOKEN is not configured") as raised:
        dispatch_workflow(workflow_file="deploy.yml")

    assert isinstance(raised.value, HookFlowException)
    assert isinstance(raised.value, ImproperlyConfigured)
    assert github.requests == []


@pytest.mark.parametrize("token", ["two words", "line\nbreak", "schlüssel-geheim", "tab\tbed"])
def test_a_token_that_cannot_be_a_header_is_refused_without_being_shown(
    github: GitHub, settings: Settings, token: str
) -> None:
    settings.GITHUB_PERSONAL_ACCESS_TOKEN = token

    with pytest.raises(ValueError, match="contains an invalid character") as raised:
        dispatch_workflow(workflow_file="deploy.yml")

    assert token not in "".join(traceback.format_exception(raised.value))
    assert github.requests == []


def test_a_missing_repository_names_both_ways_to_give_it(github: GitHub, settings: Settings) -> None:
    settings.GITHUB_DEFAULT_REPO = None

    with pytest.raises(ValueError, match="repo='owner/name' or set GITHUB_DEFAULT_REPO") as raised:
        dispatch_workflow(workflow_file="deploy.yml")

    assert isinstance(raised.value, HookFlowException)


@pytest.mark.parametrize(
    "repo", ["shop", "octo/", "/shop", "octo/shop/more", "https://github.com/octo/shop", "octo/..", "o c/s", "o/s?x", 5]
)
def test_a_repository_of_another_form_is_refused(github: GitHub, repo: Any) -> None:
    with pytest.raises(ValueError, match="use owner/name"):
        dispatch_workflow(repo=repo, workflow_file="deploy.yml")

    assert github.requests == []


@pytest.mark.parametrize("file", [None, "", "a/b.yml", "..", ".github/workflows/"])
def test_a_missing_or_impossible_file_is_refused(github: GitHub, file: Any) -> None:
    with pytest.raises(ValueError, match="workflow file") as raised:
        dispatch_workflow(workflow_file=file)

    assert isinstance(raised.value, HookFlowException)
    assert github.requests == []


@pytest.mark.parametrize("ref", ["", None])
def test_a_missing_ref_is_refused(github: GitHub, ref: Any) -> None:
    with pytest.raises(ValueError, match="branch or tag"):
        dispatch_workflow(workflow_file="deploy.yml", ref=ref)


def test_twenty_five_inputs_are_sent_and_one_more_is_refused(github: GitHub) -> None:
    github.answers.append((204, {}, b""))

    dispatch_workflow(workflow_file="deploy.yml", inputs={f"i{n}": "x" for n in range(25)})
    with pytest.raises(ValueError, match="26 inputs are too many"):
        dispatch_workflow(workflow_file="deploy.yml", inputs={f"i{n}": "x" for n in range(26)})

    assert len(github.requests) == 1


def test_inputs_up_to_the_limit_are_sent_and_longer_ones_refused(github: GitHub) -> None:
    frame = len('{"count": ""}')

    dispatch_workflow(workflow_file="deploy.yml", inputs={"count": "x" * (65_535 - frame)})
    with pytest.raises(ValueError, match="65,536 characters"):
        dispatch_workflow(workflow_file="deploy.yml", inputs={"count": "x" * (65_536 - frame)})

    assert len(github.requests) == 1


@pytest.mark.parametrize("value", [None, {"a": 1}, ["a"], b"bytes"])
def test_an_input_that_is_no_text_is_refused_by_name(github: GitHub, value: Any) -> None:
    with pytest.raises(ValueError, match=r"input 'count' is of type .*json\.dumps"):
        dispatch_workflow(workflow_file="deploy.yml", inputs={"count": value})

    assert github.requests == []


def test_a_wrong_token_names_the_setting_to_renew(github: GitHub, settings: Settings) -> None:
    settings.GITHUB_PERSONAL_ACCESS_TOKEN = "ghp_expired_expired_expired"

    error = fail(github)

    assert error.status_code == 401
    assert "Bad credentials" in str(error)
    assert "renew GITHUB_PERSONAL_ACCESS_TOKEN" in str(error)


def test_an_unknown_repository_is_a_value_error_too(github: GitHub) -> None:
    with pytest.raises(ValueError, match="check the owner, name and file") as raised:
        dispatch_workflow(repo="octo/nothing", workflow_file="deploy.yml")

    assert isinstance(raised.value, WorkflowNotFound)
    assert raised.value.status_code == 404


@pytest.mark.parametrize(
    ("call", "said"),
    [({"ref": "gone"}, "No ref found for: gone"), ({"inputs": {"nope": "1"}}, "Unexpected inputs provided")],
)
def test_what_github_rejects_is_told_in_its_words(github: GitHub, call: dict[str, Any], said: str) -> None:
    with pytest.raises(DispatchRejected, match=said) as raised:
        dispatch_workflow(workflow_file="deploy.yml", **call)

    assert raised.value.status_code == 422
    assert "check that the ref exists" in str(raised.value)


def test_a_token_without_the_permission_is_told_which(github: GitHub) -> None:
    github.answers.append(say(403, "Resource not accessible by personal access token"))

    error = fail(github)

    assert (error.status_code, error.retry_after) == (403, None)
    assert "Actions (read and write)" in str(error)


@pytest.mark.parametrize("status", [403, 429])
def test_a_rate_limit_carries_how_long_to_wait(github: GitHub, status: int) -> None:
    github.answers.append(say(status, "You have exceeded a secondary rate limit", Retry_After="17"))

    error = fail(github)

    assert isinstance(error, RateLimited)
    assert (error.status_code, error.retry_after) == (429, 17.0)
    assert f"GitHub answered {status}" in str(error)


def test_a_used_up_quota_waits_until_githubs_reset_by_githubs_clock(github: GitHub) -> None:
    now = int(time.time()) - 7_200  # GitHub's clock, or ours, is two hours off
    reset = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(now + 90)}

    def answer(connection: socket.socket) -> None:
        lines = [f"{name}: {value}" for name, value in {**reset, "Date": formatdate(now, usegmt=True)}.items()]
        connection.sendall("\r\n".join(["HTTP/1.1 403 Forbidden", *lines, "Content-Length: 0", "", ""]).encode())

    github.answers.append(answer)

    error = fail(github)

    assert isinstance(error, RateLimited)
    assert error.retry_after == 90.0


@pytest.mark.parametrize("retry_after", ["", "soon", "-5", "²"])
def test_a_retry_after_without_sense_is_no_reason_to_fail(github: GitHub, retry_after: str) -> None:
    github.answers.append(say(429, "slow down", Retry_After=retry_after))

    error = fail(github)

    assert (error.status_code, error.retry_after) == (429, None)


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_failure_on_githubs_side_carries_its_status(github: GitHub, status: int) -> None:
    github.answers.append((status, {"Retry-After": "3"}, b"<html>Unicorn!</html>"))

    error = fail(github)

    assert (error.status_code, error.retry_after) == (status, 3.0)
    assert "try again later" in str(error)


def test_a_redirect_is_not_followed_with_the_token(github: GitHub) -> None:
    with GitHub() as elsewhere:
        github.answers.append((307, {"Location": elsewhere.url}, b""))

        error = fail(github)

        assert elsewhere.requests == []
    assert error.status_code == 307
    assert "the repository was moved" in str(error)


def test_redirects_without_end_are_given_up(github: GitHub) -> None:
    github.answers.extend([(307, {"Location": "/repositories/1"}, b"")] * 9)

    with pytest.raises(GitHubError, match="the repository was moved"):
        dispatch_workflow("octo/shop", "deploy.yml")

    assert len(github.requests) == 4


def test_the_token_is_not_in_the_error_even_if_the_server_echoes_it(github: GitHub) -> None:
    github.answers.append(say(400, f"cannot read header Bearer {TOKEN}"))

    error = fail(github)

    assert TOKEN not in "".join(traceback.format_exception(error))


def test_no_connection_is_a_connection_error_and_nothing_was_sent(settings: Settings) -> None:
    with GitHub() as server:
        settings.DJANGO_HOOKFLOW_GITHUB_API_URL = server.url
    settings.GITHUB_PERSONAL_ACCESS_TOKEN = TOKEN

    with pytest.raises(ConnectionError, match="was not dispatched") as raised:
        dispatch_workflow(repo="octo/shop", workflow_file="deploy.yml")

    assert isinstance(raised.value, GitHubUnreachable)
    assert raised.value.status_code is None


def test_no_answer_in_time_says_that_a_run_may_have_started(github: GitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.2)
    github.answers.append(lambda connection: wait_for_close(connection))

    with pytest.raises(TimeoutError, match="before you dispatch it again") as raised:
        dispatch_workflow(workflow_file="deploy.yml")

    assert isinstance(raised.value, GitHubSilent)
    assert TOKEN not in "".join(traceback.format_exception(raised.value))


def test_headers_that_trickle_are_cut_at_the_deadline(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.4)
    settings.GITHUB_PERSONAL_ACCESS_TOKEN = TOKEN
    with trickling(b"HTTP/1.1 200 OK\r\n", b"X-Header: value\r\n") as server:
        settings.DJANGO_HOOKFLOW_GITHUB_API_URL = server.url
        with pytest.raises(GitHubSilent) as raised:
            dispatch_workflow("octo/shop", "deploy.yml")
        assert server.gone.wait(5)
    assert TOKEN not in "".join(traceback.format_exception(raised.value))


def test_a_dispatch_that_was_accepted_is_one_whatever_becomes_of_the_body(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.4)
    settings.GITHUB_PERSONAL_ACCESS_TOKEN = TOKEN
    with trickling(b"HTTP/1.1 200 OK\r\n\r\n", b"x") as server:
        settings.DJANGO_HOOKFLOW_GITHUB_API_URL = server.url
        assert dispatch_workflow("octo/shop", "deploy.yml")["workflow_run_id"] is None


@pytest.mark.slow  # ten seconds, in which a handshake is not over
def test_a_handshake_that_fails_dispatches_nothing(settings: Settings) -> None:
    settings.GITHUB_PERSONAL_ACCESS_TOKEN = TOKEN
    with trickling(b"this is not TLS") as server:
        settings.DJANGO_HOOKFLOW_GITHUB_API_URL = server.url.replace("http:", "https:")
        with pytest.raises(GitHubUnreachable, match="was not dispatched"):
            dispatch_workflow("octo/shop", "deploy.yml")


def test_a_connection_that_breaks_after_the_request_may_have_started_a_run(github: GitHub) -> None:
    github.answers.append(reset)

    with pytest.raises(GitHubSilent, match="before you dispatch it again"):
        dispatch_workflow(workflow_file="deploy.yml")

    assert len(github.requests) == 1


def test_an_address_that_is_none_is_named(github: GitHub, settings: Settings) -> None:
    settings.DJANGO_HOOKFLOW_GITHUB_API_URL = "api.github.com"

    with pytest.raises(GitHubError, match="check DJANGO_HOOKFLOW_GITHUB_API_URL"):
        dispatch_workflow(workflow_file="deploy.yml")


def fail(github: GitHub) -> GitHubError:
    with pytest.raises(GitHubError) as raised:
        dispatch_workflow(workflow_file="deploy.yml")
    assert len(github.requests) == 1
    return raised.value


def wait_for_close(connection: socket.socket) -> None:
    connection.settimeout(20)
    connection.recv(1)  # returns when the client has given up


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
