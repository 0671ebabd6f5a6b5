"""Starting GitHub Actions workflows: ``dispatch_workflow`` and the decorator ``trigger_github_workflow``.

Whatever can be seen to be wrong without asking (token, repository, file, inputs) is refused before anything is sent.
What GitHub refuses is raised as a :class:`GitHubError` with the status it answered, by which a step's retries are
decided. A dispatch is not idempotent: GitHub starts one run for each request it accepts, so after a timeout it is
unknown whether a run was started, and a second try may start a second one.

Wire format: https://docs.github.com/rest/actions/workflows#create-a-workflow-dispatch-event
"""

from __future__ import annotations

import functools
import http.client
import inspect
import json
import re
from email.utils import parsedate_to_datetime
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import quote, urljoin, urlsplit

import requests
from asgiref.sync import sync_to_async

from django_hookflow import __version__
from django_hookflow.conf import conf
from django_hookflow.exceptions import HookFlowException, NotConfigured
from django_hookflow.exchange import Answer, Asked, Session, send
from django_hookflow.retry_after import retry_after_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    F = TypeVar("F", bound=Callable[..., Any])

__all__ = ["GitHubError", "dispatch_workflow", "trigger_github_workflow"]

API_VERSION = "2026-03-10"
#: Seconds for the whole of it. GitHub gives up on a request after 10 itself.
TIMEOUT = 15.0
MAX_INPUTS = 25
MAX_INPUT_CHARACTERS = 65_535
#: Statuses after which GitHub wants the same request sent again elsewhere, and how often that is done.
REDIRECTS = (301, 302, 307, 308)
MAX_REDIRECTS = 3

_REPOSITORY = re.compile(r"[A-Za-z0-9_-]+/[A-Za-z0-9._-]+")
_WORKFLOW_FOLDER = ".github/workflows/"


class GitHubError(HookFlowException):
    """A dispatch failed. ``status_code`` is GitHub's answer (None: there was none), ``retry_after`` seconds or None."""

    status_code: int | None = None
    retry_after: float | None = None

    def __init__(self, message: str, *, status_code: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.retry_after = retry_after


class BadDispatch(GitHubError, ValueError):
    """What was asked for cannot be sent: no repository or file, or inputs that GitHub does not take."""


class TokenMissing(NotConfigured, ValueError):
    """There is no token to dispatch with."""

    def __init__(self) -> None:
        super().__init__(
            "GITHUB_PERSONAL_ACCESS_TOKEN",
            "a token is needed to dispatch GitHub Actions (classic: scope repo; fine-grained: Actions, read and write)",
        )


class WorkflowNotFound(GitHubError, ValueError):
    """GitHub knows no such repository or workflow file, or the token may not see it."""


class DispatchRejected(GitHubError, ValueError):
    """GitHub understood the dispatch and refused it: an unknown ref, or inputs that the workflow does not declare."""


class RateLimited(GitHubError):
    """GitHub wants fewer requests; ``retry_after`` says from when on, if GitHub did.

    ``status_code`` is 429 also where GitHub answered 403, which it does for the same thing: a 403 is not worth a
    retry, this is.
    """


class GitHubUnreachable(GitHubError, ConnectionError):
    """No connection to GitHub was made: nothing was dispatched."""


class GitHubSilent(GitHubError, TimeoutError):
    """The request was sent and no answer came: a run may have been started."""


def dispatch_workflow(
    repo: str | None = None,
    workflow_file: str | int | None = None,
    ref: str = "main",
    inputs: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Starts a GitHub Actions workflow; returns ``{"workflow_run_id": int, "run_url": str, "html_url": str}``.

    The three are None where the server does not tell (GitHub Enterprise Server). ``repo`` is ``owner/name``, by default
    ``GITHUB_DEFAULT_REPO``; ``workflow_file`` a name in ``.github/workflows``, or a workflow's number; ``ref`` a branch
    or tag. ``inputs`` go as texts, as the workflow gets them: True as ``true``, 5 as ``5``.

    Raises a ValueError that is a HookFlowException too for a missing token, a missing or unknown repository or file and
    for inputs or a ref that GitHub does not take; another GitHubError for everything else.
    """
    repository, file = resolve_target(repo, workflow_file)
    token = _read_token()
    body: dict[str, Any] = {"ref": _check_ref(ref)}
    if inputs:
        body["inputs"] = encode_inputs(inputs)
    url = f"{conf.github_api_url.rstrip('/')}/repos/{repository}/actions/workflows/{quote(file, safe='')}/dispatches"
    return _post(url, body, token, f"{file} of {repository}")


def trigger_github_workflow(
    repo: str | None = None, workflow_file: str | int | None = None, ref: str = "main"
) -> Callable[[F], F]:
    """Dispatches a GitHub Actions workflow each time the decorated function returns; its result is returned unchanged.

    If the function raises, nothing is dispatched. If repository or file are missing the call raises before the function
    runs. If the dispatch fails the call raises although the function has run. Works on ``async def`` functions too.
    """

    def decorate(function: F) -> F:
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def run_async(*args: Any, **kwargs: Any) -> Any:
                resolve_target(repo, workflow_file)
                result = await function(*args, **kwargs)
                await sync_to_async(dispatch_workflow)(repo, workflow_file, ref)
                return result

            return cast("F", run_async)

        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            resolve_target(repo, workflow_file)
            result = function(*args, **kwargs)
            dispatch_workflow(repo, workflow_file, ref)
            return result

        return cast("F", run)

    return decorate


def resolve_target(repo: str | None, workflow_file: str | int | None) -> tuple[str, str]:
    """Repository and workflow file to dispatch, with the default repository filled in. Raises BadDispatch."""
    repository = repo or conf.github_default_repo
    if not repository:
        raise BadDispatch("no GitHub repository: pass repo='owner/name' or set GITHUB_DEFAULT_REPO")
    name = repository.partition("/")[2] if isinstance(repository, str) else ""
    if not isinstance(repository, str) or not _REPOSITORY.fullmatch(repository) or name in (".", ".."):
        raise BadDispatch(f"{repository!r} is not a GitHub repository: use owner/name, without host or .git")
    file = str(workflow_file or "").removeprefix(_WORKFLOW_FOLDER)
    if not file:
        raise BadDispatch(f"no workflow file: set workflow_file to the name of a file in {_WORKFLOW_FOLDER}")
    if "/" in file or file in (".", ".."):
        raise BadDispatch(f"{file!r} is not a workflow file: pass its name in {_WORKFLOW_FOLDER}, without a path")
    return repository, file


def encode_inputs(inputs: Mapping[str, Any]) -> dict[str, str]:
    """Inputs as GitHub takes them, all texts. Raises BadDispatch for what it would refuse, or cut."""
    if len(inputs) > MAX_INPUTS:
        raise BadDispatch(
            f"{len(inputs)} inputs are too many: GitHub accepts up to {MAX_INPUTS}; combine several into one as JSON"
        )
    encoded = {}
    for name, value in inputs.items():
        if not isinstance(name, str) or not isinstance(value, (str, bool, int, float)):
            raise BadDispatch(
                f"input {name!r} is of type {type(value).__name__}: names must be strings and values strings, numbers, "
                "True or False; leave out inputs without a value, and pass structures as json.dumps(…)"
            )
        encoded[name] = str(value).lower() if isinstance(value, bool) else str(value)
    size = len(json.dumps(encoded, ensure_ascii=False))
    if size > MAX_INPUT_CHARACTERS:
        raise BadDispatch(
            f"the inputs have {size:,} characters: GitHub accepts up to {MAX_INPUT_CHARACTERS:,}; pass a reference "
            "instead"
        )
    return encoded


def _check_ref(ref: str) -> str:
    if not isinstance(ref, str) or not ref:
        raise BadDispatch(f"ref is {ref!r}: pass the name of a branch or tag")
    return ref


def _read_token() -> str:
    token = (conf.github_personal_access_token or "").strip()
    if not token:
        raise TokenMissing
    # Checked here because the library underneath shows the whole header in its error.
    if not re.fullmatch(r"[\x21-\x7e]+", token):
        raise BadDispatch("GITHUB_PERSONAL_ACCESS_TOKEN contains an invalid character: copy it again")
    return token


def _post(url: str, body: dict[str, Any], token: str, target: str) -> dict[str, Any]:
    headers = {
        "Accept": "application/vnd.github+json",
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/json",
        "User-Agent": f"django-hookflow/{__version__}",
        "X-GitHub-Api-Version": API_VERSION,
    }
    body_sent = json.dumps(body).encode()
    until = monotonic() + TIMEOUT
    for _ in range(1 + MAX_REDIRECTS):
        with Session() as session:
            try:
                answer = send(session, Asked("POST", url, headers, body_sent), timeout=until - monotonic())
            except (OSError, ValueError) as error:
                raise describe_no_answer(error, target, was_connected=session.connected) from error
        moved_to = find_new_address(url, answer)
        if moved_to is None:
            break
        url = moved_to
    content = _read_answer(answer)
    if 200 <= answer.status < 300:
        return {key: content.get(key) for key in ("workflow_run_id", "run_url", "html_url")}
    message = str(content.get("message") or http.client.responses.get(answer.status, "")).replace(token, "…")
    raise describe_refusal(answer, message, target)


def find_new_address(url: str, answer: Answer) -> str | None:
    """Where a renamed repository is now, which GitHub says with a redirect within its API; None for anything else."""
    if answer.status not in REDIRECTS or "Location" not in answer.headers:
        return None
    try:
        address = urljoin(url, answer.headers["Location"])
        here, there = ((parts.scheme, parts.hostname, parts.port) for parts in map(urlsplit, (url, address)))
    except ValueError:
        return None
    return address if here == there else None


def _read_answer(answer: Answer) -> dict[str, Any]:
    """The JSON object GitHub answered with; empty if it is none. The status alone says whether a run was started."""
    try:
        content = json.loads(answer.content)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def describe_no_answer(error: Exception, target: str, *, was_connected: bool) -> GitHubError:
    """The error for a request without an answer. It matters whether GitHub may have got it."""
    if was_connected:
        return GitHubSilent(
            f"{target}: the request was sent but there was no answer; check in the repository's Actions tab whether "
            "the workflow started before you dispatch it again"
        )
    if isinstance(error, requests.Timeout):
        return GitHubUnreachable(f"{target} was not dispatched: the connection timed out; try again later")
    if isinstance(error, requests.ConnectionError):
        return GitHubUnreachable(
            f"{target} was not dispatched: no connection ({type(error).__name__}); check the network and "
            f"DJANGO_HOOKFLOW_GITHUB_API_URL"
        )
    return GitHubError(f"{target} was not dispatched: {type(error).__name__}; check DJANGO_HOOKFLOW_GITHUB_API_URL")


def describe_refusal(answer: Answer, message: str, target: str) -> GitHubError:
    """The error for an answer that is not a success."""
    status = answer.status
    said = f"{target} was not dispatched: GitHub answered {status} ({message[:500]})"
    wait = find_retry_after(answer.headers)
    if status == 429 or (status == 403 and (wait is not None or "rate limit" in message.lower())):
        when = "later" if wait is None else f"in {wait:.0f} s"
        return RateLimited(f"{said}; too many requests, try again {when}", status_code=429, retry_after=wait)
    kind, way_out = _REFUSALS.get(status, (GitHubError, "try again later" if status >= 500 else "see GitHub's message"))
    if 300 <= status < 400:
        way_out = "the repository was moved: use its new name, and check DJANGO_HOOKFLOW_GITHUB_API_URL"
    return kind(f"{said}; {way_out}", status_code=status, retry_after=wait)


_REFUSALS: dict[int, tuple[type[GitHubError], str]] = {
    401: (GitHubError, "the token is invalid or has expired: renew GITHUB_PERSONAL_ACCESS_TOKEN"),
    403: (
        GitHubError,
        "the token lacks permission: a classic token needs the scope repo, a fine-grained token Actions (read and "
        "write) on this repository, and both must be authorized for single sign-on if the organization uses it",
    ),
    404: (
        WorkflowNotFound,
        "check the owner, name and file; GitHub gives the same answer if the token has no access to a private "
        "repository",
    ),
    422: (
        DispatchRejected,
        "check that the ref exists, and that the workflow on it has a workflow_dispatch trigger and declares these "
        "inputs",
    ),
}


def find_retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds until GitHub takes requests again: its Retry-After, or the time its rate limit is reset; None if neither.

    The reset is a time by GitHub's clock, so it is compared with the Date of the same answer and not with ours.
    """
    asked = retry_after_seconds(headers)
    if asked is not None:
        return asked
    if headers.get("X-RateLimit-Remaining") != "0" or not headers.get("X-RateLimit-Reset", "").isdecimal():
        return None
    try:
        now = parsedate_to_datetime(headers["Date"]).timestamp()
    except (KeyError, ValueError):
        return None
    return max(0.0, float(headers["X-RateLimit-Reset"]) - now)
