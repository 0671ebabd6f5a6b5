"""Calls that QStash makes: what it is asked to do, and what is made of the answer it reports.

An attempt is two pieces of work. The first publishes the request, under a deduplication id of run, step and attempt, and
then begins a wait of kind ``callback``: a worker that is lost in between publishes the same once more, and QStash takes it
once. The report settles the wait (:func:`take`): the step is completed with the result, and its body is recorded once. Of
any other answer the next turn does the second piece: it fails as an ordinary call does, so that errors and retries are the
same. QStash itself tries once.
"""

from __future__ import annotations

import base64
import json
import math
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import requests
from django.db import transaction
from django.db.models.fields.json import KeyTextTransform
from requests.auth import HTTPBasicAuth
from requests.structures import CaseInsensitiveDict
from requests.utils import get_auth_from_url, get_encoding_from_headers

from django_hookflow import sealing
from django_hookflow.conf import conf
from django_hookflow.delivery import outbox
from django_hookflow.delivery.messages import public_url
from django_hookflow.delivery.transports.qstash import label, publish
from django_hookflow.events import codec, log, types
from django_hookflow.events.database import alias, repeated_on_conflict
from django_hookflow.exceptions import HookFlowException, NotSerializable, RedactedHistory, StepTimedOut, UnknownRun
from django_hookflow.exchange import Asked, ResponseTooLarge, check
from django_hookflow.models import Head, Wait, WorkflowEvent, WorkflowRun
from django_hookflow.retry_after import retry_after_seconds
from django_hookflow.runtime import calls
from django_hookflow.runtime.step import StepOutcome, Todo

#: What a report holds beside the answer's body, in bytes, at most.
ROOM = 256 * 1024


class AnswerMissing(StepTimedOut):
    """QStash has not reported the answer to an offloaded call in the time it had."""

    def __init__(self, asked: Asked, seconds: float) -> None:
        HookFlowException.__init__(
            self, f"{asked} was sent through QStash, which reported no answer within {seconds:g} s"
        )


def is_possible() -> bool:
    """Whether the transport makes requests for others."""
    return conf.transport == "qstash"


def work_of(step: Todo, build: Callable[[], Asked]) -> Callable[[], Any]:
    """What is to be done now in an attempt of a call whose request ``build`` makes."""
    record = step.execution.history.steps.get(step.step_id)
    if record is None or not (record.is_answered or record.is_timed_out):
        return partial(_hand_over, step, build)
    if record.is_timed_out:
        return partial(_miss, build, _seconds(step))
    if record.payload is None:
        raise RedactedHistory(step.step_id)
    answer = codec.untag(step.execution.opened(json.loads(record.payload)["answer"]))
    return partial(_use, build, answer)


def _hand_over(step: Todo, build: Callable[[], Asked]) -> StepOutcome:
    asked = build()
    check(asked)
    key = _key(step)
    publish(_destination(asked.url), _headers(step, asked, key), asked.body)
    return step.waiting(types.CALLBACK, _seconds(step), str(key))


def _miss(build: Callable[[], Asked], seconds: float) -> Any:
    raise AnswerMissing(build(), seconds)


def _use(build: Callable[[], Asked], answer: dict[str, Any]) -> dict[str, Any]:
    asked, status = build(), answer["status"]
    if answer.get("problem") == "too large":
        raise ResponseTooLarge(asked.url, conf.max_payload_size)
    if answer.get("problem"):
        raise requests.ConnectionError(f"{asked} failed: {answer['problem']}")
    if 300 <= status < 400 and answer["redirects"]:
        raise requests.TooManyRedirects(f"{asked} answered with a redirect, which QStash does not follow")
    return calls.result_of(asked, status, answer["size"], answer["retry_after"], answer["text"])


def _key(step: Todo) -> UUID:
    """Another one for each attempt, also of a step that is run again."""
    execution = step.execution
    name = f"callback\n{step.step_id}\n{execution.history.superseded[step.step_id]}\n{step.attempt}"
    return uuid.uuid5(execution.journal.run_uid, name)


def _timeout(step: Todo) -> float:
    return step.options.timeout or calls.TIMEOUT


def _seconds(step: Todo) -> float:
    """How long the step waits for the report, which may be as late as any delivery."""
    return _timeout(step) + conf.overdue_seconds


def _destination(url: str) -> str:
    """The URL without what is not sent: the fragment, and user and password, which go as a header."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query, ""))


def _headers(step: Todo, asked: Asked, key: UUID) -> dict[str, str]:
    run_uid = step.execution.journal.run_uid
    sent: CaseInsensitiveDict[str] = CaseInsensitiveDict(asked.headers)
    user, password = get_auth_from_url(asked.url)
    if (user or password) and "Authorization" not in sent:
        HTTPBasicAuth(user, password)(SimpleNamespace(headers=sent))
    redacted = ",".join(["body", *(f"header[{name}]" for name in sent)])
    content_type = sent.pop("Content-Type", None)
    return {
        **{f"Upstash-Forward-{name}": value for name, value in sent.items()},
        **({} if content_type is None else {"Content-Type": content_type}),
        "Upstash-Method": asked.method,
        "Upstash-Retries": "0",
        "Upstash-Timeout": f"{math.ceil(_timeout(step))}s",
        "Upstash-Deduplication-Id": f"{run_uid}-{key}",
        "Upstash-Label": label(run_uid),
        "Upstash-Callback": public_url(f"callback/{run_uid}/{key}/"),
        "Upstash-Redact-Fields": redacted,
    }


@dataclass(frozen=True)
class Report:
    """What QStash reports of a request: ``answer`` is what is recorded, ``is_final`` that it does not try again."""

    answer: dict[str, Any]
    is_final: bool


def parse_report(raw: bytes) -> Report:
    """Raises BadReport for what is none."""
    try:
        said = json.loads(raw.decode("utf-8"))
        status, retried, most = said.get("status"), said.get("retried") or 0, said.get("maxRetries") or 0
        headers = _headers_of(said.get("header") or {})
        content = base64.b64decode(said.get("body") or "", validate=True)
        is_final = 200 <= _number(status) < 300 or _number(retried) >= _number(most)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise BadReport(type(error).__name__) from error
    return Report(_answer(_number(status), headers, content), is_final)


class BadReport(HookFlowException):
    """What came to the URL of a callback is not what QStash reports."""

    def __init__(self, problem: str) -> None:
        super().__init__(
            f'the body is not a QStash callback ({problem}); expected {{"status": int, "header": {{…}}, "body": '
            "base64}"
        )


def _number(value: Any) -> int:
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(type(value).__name__)
    return value


def _headers_of(said: Mapping[str, Any]) -> CaseInsensitiveDict[str]:
    """The headers, each of which may have several values."""
    values = {name: each[0] if isinstance(each, list) and each else each for name, each in said.items()}
    return CaseInsensitiveDict({name: value for name, value in values.items() if isinstance(value, str)})


def _answer(status: int, headers: CaseInsensitiveDict[str], content: bytes) -> dict[str, Any]:
    """What is recorded. Of a failing status the body is not: it may hold whatever the request sent."""
    if not 100 <= status <= 599:
        return {"status": 0, "problem": "QStash received no answer"}
    if len(content) > conf.max_payload_size and status < 400:
        return {"status": status, "problem": "too large"}
    length = headers.get("Content-Length", "")
    if status < 400 and content and length.isdecimal() and len(length) < 20 and int(length) > len(content):
        return {"status": status, "problem": "QStash truncated the answer"}
    text = calls.decoded(content, get_encoding_from_headers(headers)) if status < 400 else ""
    return {
        "status": status,
        "size": len(content),
        "retry_after": retry_after_seconds(headers),
        "redirects": "Location" in headers,
        "text": text.replace("\x00", "\ufffd"),
    }


def take(run_uid: UUID, key: UUID, answer: dict[str, Any]) -> str:
    """Settles the wait that a report is for; what it came to: ``recorded``, or why not.

    ``stale``: the step does not wait for it any more; ``finished``: the run has ended; ``unknown``: there is no such run;
    ``early``: that the step waits is not recorded yet.
    """
    head = Head.objects.using(alias()).filter(run_uid=run_uid).first()
    if head is None:
        return "unknown"
    wait = Wait.objects.using(alias()).filter(run_id=run_uid, kind=types.CALLBACK, key=str(key)).first()
    if wait is None:
        return _why_not(run_uid, key)
    try:
        is_new = _settle(head, wait, str(key), _payload(run_uid, answer))
    except UnknownRun:  # it has gone to an archive meanwhile
        return "finished"
    return "recorded" if is_new else "stale"


def _payload(run_uid: UUID, answer: dict[str, Any]) -> str:
    """The result of the step, or an answer of which the attempt is to make an error."""
    with suppress(NotSerializable):
        if _is_success(answer):
            result = codec.encode(
                calls.result(answer["status"], answer["text"]), path="result", limit=conf.max_payload_size
            )
            return f'{{"result":{sealing.seal(run_uid, result)}}}'
    encoded = codec.encode(answer, path="answer", limit=8 * conf.max_payload_size + ROOM)
    return f'{{"answer":{sealing.seal(run_uid, encoded)}}}'


def _is_success(answer: dict[str, Any]) -> bool:
    status = answer["status"]
    return "problem" not in answer and status < 400 and not (status >= 300 and answer["redirects"])


@repeated_on_conflict
def _settle(head: Head, wait: Wait, key: str, payload: str) -> bool:
    with transaction.atomic(using=alias()):
        done = log.join(
            head.run_uid,
            wait.step_id,
            key,
            failure=None,
            payload=payload,
            sending=outbox.sending(),
            kind=types.CALLBACK,
        )
        outbox.publish_announced(head.workflow_id, head.run_id, head.run_uid, done, using=alias())
    return done.applied


def _why_not(run_uid: UUID, key: UUID) -> str:
    run = WorkflowRun.objects.using(alias()).filter(pk=run_uid).first()
    if run is None or run.completed_at is not None:
        return "finished"
    waits = WorkflowEvent.objects.using(alias()).filter(workflow_run=run_uid, type=types.STEP_SUSPENDED)
    begun = waits.annotate(key=KeyTextTransform("key", "facts")).filter(key=str(key))
    return "stale" if begun.exists() else "early"
