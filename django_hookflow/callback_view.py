"""Where QStash reports the answers to offloaded calls. Statuses are chosen as for deliveries (:mod:`.views`)."""

from __future__ import annotations

import logging
from uuid import UUID

from django.db import DatabaseError
from django.http import HttpRequest, JsonResponse

from django_hookflow.conf import conf
from django_hookflow.exceptions import NeedsLog, NotMigrated
from django_hookflow.runtime import offloading
from django_hookflow.terminals import clean
from django_hookflow.views import NON_RETRYABLE_HEADER, NON_RETRYABLE_STATUS, Refused, authenticated_body, exempted

logger = logging.getLogger("django_hookflow.webhook")


def receive(request: HttpRequest, run_uid: UUID, key: UUID) -> JsonResponse:
    """Takes one report: ``{"status": what came of it}`` with 200, or ``{"error": text}`` with the status that fits."""
    try:
        return JsonResponse({"status": _take(request, run_uid, key)})
    except Refused as refusal:
        logger.warning(
            "hookflow: report for run %s refused, %s: %s", run_uid, refusal.status, clean(str(refusal)[:1_000])
        )
        return JsonResponse({"error": str(refusal)}, status=refusal.status, headers=refusal.headers)


callback = exempted(receive)


def _take(request: HttpRequest, run_uid: UUID, key: UUID) -> str:
    # The body is base64, so longer by a third, and an answer that is a little too large is to be known as such.
    body = authenticated_body(request, f"callback/{run_uid}/{key}/", 2 * conf.max_payload_size + offloading.ROOM)
    try:
        report = offloading.parse_report(body)
    except offloading.BadReport as error:
        raise Refused(400, str(error)) from error
    if not report.is_final:
        return "ignored"
    try:
        answer = offloading.take(run_uid, key, report.answer)
    except NeedsLog as error:
        raise Refused(NON_RETRYABLE_STATUS, str(error), {NON_RETRYABLE_HEADER: "true"}) from error
    except (NotMigrated, DatabaseError) as error:
        logger.exception("hookflow: the database could not be reached for a report on run %s", run_uid)
        raise Refused(503, "the database could not be reached", {"Retry-After": "5"}) from error
    if answer == "unknown":
        raise Refused(NON_RETRYABLE_STATUS, f"there is no run {run_uid}", {NON_RETRYABLE_HEADER: "true"})
    if answer == "early":
        raise Refused(503, "the step is not waiting yet, retry later", {"Retry-After": _pause(request)})
    return answer


def _pause(request: HttpRequest) -> str:
    """Seconds: short at first, for the wait is recorded right after the request is published."""
    retried = request.headers.get("Upstash-Retried", "")
    return str(5 * 6 ** min(int(retried) if retried.isdecimal() and len(retried) < 3 else 0, 3))
