"""The webhook: where deliveries come in.

A request is refused for its size before it is read, for its signature before it is parsed, for its content before
anything is looked up; nothing is changed until the turn has been claimed. Statuses are chosen for what the deliverer
does with them: 2xx ends a delivery, and so answers everything that is already decided; 489 ends it for good; anything
else has it repeated.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.db import DatabaseError, connections, transaction
from django.http import HttpRequest, HttpResponseBase, JsonResponse, UnreadablePostError
from django.views.decorators.csrf import csrf_exempt

from django_hookflow.conf import conf
from django_hookflow.delivery.messages import BadMessage, Received, parse_body, public_url
from django_hookflow.delivery.signature import InvalidSignature, verify
from django_hookflow.exceptions import NeedsLog, NotMigrated, UnknownWorkflow
from django_hookflow.runtime.receiving import receive as receive_message
from django_hookflow.runtime.turn import TurnResult
from django_hookflow.terminals import clean

logger = logging.getLogger("django_hookflow.webhook")

#: QStash takes this status, with the header beside it, for a delivery that can never succeed.
NON_RETRYABLE_STATUS = 489
NON_RETRYABLE_HEADER = "Upstash-NonRetryable-Error"


class Refused(Exception):
    """A request the webhook answers with an error."""

    def __init__(self, status: int, error: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(error)
        self.status = status
        self.headers = headers or {}


def receive(request: HttpRequest, workflow_id: str) -> JsonResponse:
    """Takes one delivery: ``{"status": answer}`` with 200, or ``{"error": text}`` with the status that fits."""
    try:
        result = _run(_authenticated_message(request, workflow_id), request)
    except Refused as refusal:
        named, why = clean(workflow_id[:200]), clean(str(refusal)[:1_000])  # nobody has signed these yet
        logger.warning("hookflow: delivery for %s refused, %s: %s", named, refusal.status, why)
        return JsonResponse({"error": str(refusal)}, status=refusal.status, headers=refusal.headers)
    return JsonResponse({"status": result.answer})


def _authenticated_message(request: HttpRequest, workflow_id: str) -> Received:
    body = authenticated_body(request, f"workflow/{workflow_id}/")
    try:
        received = parse_body(body)
    except BadMessage as error:
        raise Refused(400, str(error)) from error
    if received.workflow_id != workflow_id:
        raise Refused(400, f"the URL names workflow {workflow_id!r}, the body {received.workflow_id!r}")
    return received


def authenticated_body(request: HttpRequest, path: str, limit: int | None = None) -> bytes:
    """The body of a signed request to ``path`` below ``django_hookflow.urls``. Raises Refused."""
    if request.method != "POST":
        raise Refused(405, "deliveries are POST requests", {"Allow": "POST"})
    body = read_body(request, limit)
    urls = {request.build_absolute_uri()}
    if conf.domain:
        # As published: a proxy may have taken a part of the path away that is in DJANGO_HOOKFLOW_WEBHOOK_PATH.
        urls |= {conf.domain + request.get_full_path(), public_url(path)}
    try:
        verify(request.headers.get("Upstash-Signature", ""), body, urls)
    except InvalidSignature as error:
        raise Refused(401, str(error)) from error
    return body


def read_body(request: HttpRequest, limit: int | None = None) -> bytes:
    """The request's body, refused for its size before it is read."""
    limit = conf.max_payload_size if limit is None else limit
    too_large = Refused(413, f"the body is larger than {limit:,} bytes (DJANGO_HOOKFLOW_MAX_PAYLOAD_SIZE)")
    length = request.META.get("CONTENT_LENGTH") or "0"
    if not length.isdecimal() or int(length) > limit:
        raise too_large
    try:
        body: bytes = request.body
    except RequestDataTooBig as error:
        raise too_large from error
    except UnreadablePostError as error:
        raise Refused(400, "the body could not be read completely") from error
    if len(body) > limit:
        raise too_large
    return body


def _run(message: Received, request: HttpRequest) -> TurnResult:
    delivery = {
        "message_id": clean(request.headers.get("Upstash-Message-Id", "")[:200]),  # headers are not signed
        "retried": clean(request.headers.get("Upstash-Retried", "0")[:20]),
    }
    try:
        result = receive_message(
            message.kind,
            message.workflow_id,
            message.run_id,
            message.seq,
            content=message.content,
            delivery=delivery,
            is_retry=delivery["retried"] not in ("", "0"),
        )
    except UnknownWorkflow as error:
        raise Refused(404, str(error)) from error
    except BadMessage as error:
        raise Refused(400, str(error)) from error
    except NeedsLog as error:
        raise Refused(NON_RETRYABLE_STATUS, str(error), {NON_RETRYABLE_HEADER: "true"}) from error
    except NotMigrated as error:
        raise Refused(503, str(error), {"Retry-After": "5"}) from error
    except DatabaseError as error:
        logger.exception("hookflow: the database could not be reached for run %s", clean(message.run_id[:200]))
        raise Refused(503, "the database could not be reached", {"Retry-After": "5"}) from error
    if result.answer == "unknown" or result.dead:
        error_text = result.dead or f"workflow {message.workflow_id!r} has no run {message.run_id!r}"
        raise Refused(NON_RETRYABLE_STATUS, error_text, {NON_RETRYABLE_HEADER: "true"})
    if result.retry_after is not None:
        wait = str(max(1, math.ceil(result.retry_after)))
        raise Refused(503, f"the turn is {result.answer}, retry later", {"Retry-After": wait})
    return result


def exempted(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """The view without what a project may put around every view: CSRF, login, and a transaction that spans the turn."""
    bare: Any = csrf_exempt(view)
    bare.login_required = False  # what @login_not_required sets, from Django 5.1 on
    for alias in connections:
        bare = transaction.non_atomic_requests(using=alias)(bare)
    return bare  # type: ignore[no-any-return]


workflow = exempted(receive)
