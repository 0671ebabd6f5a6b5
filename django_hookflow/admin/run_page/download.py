"""A run and its events as one JSON document, written as it is read: a run of any length costs little memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from django.core.serializers.json import DjangoJSONEncoder
from django.http import StreamingHttpResponse
from django.utils.text import slugify

from django_hookflow.events.database import cursor
from django_hookflow.sql import load

if TYPE_CHECKING:
    from uuid import UUID

    from django_hookflow.models import WorkflowRun

EVENTS_PER_SLICE = 500
#: Of payloads as they are stored, where a text that repeats itself takes a hundredth, and of lines.
BYTES_PER_SLICE = {"stored": 256 * 1024, "bytes": 4 * 1024 * 1024}
FACTS = ("run_id", "workflow_id", "label", "status", "created_at", "updated_at", "completed_at", "wake_at")


def download(run: WorkflowRun, until: int) -> StreamingHttpResponse:
    """The run with its events up to ``until``."""
    facts = {"run_uid": str(run.run_uid), **{name: getattr(run, name) for name in FACTS}, "until": until}
    response = StreamingHttpResponse(write(facts, run.run_uid, until), content_type="application/json")
    response["Content-Disposition"] = f'attachment; filename="{slugify(run.run_id)[:100] or "run"}.json"'
    return response


def write(facts: dict[str, Any], run_uid: UUID, until: int) -> Iterator[str]:
    opening = json.dumps(facts, cls=DjangoJSONEncoder, ensure_ascii=False)
    yield f'{opening[:-1]}, "events": ['
    separator = "\n"
    for line in lines(run_uid, until):
        yield separator + line
        separator = ",\n"
    yield "\n]}\n"


def lines(run_uid: UUID, until: int) -> Iterator[str]:
    """The events as texts of JSON, read so many at a time; no cursor is held between them."""
    asked = {"run_uid": run_uid, "until": until, "limit": EVENTS_PER_SLICE, **BYTES_PER_SLICE}
    after = 0
    while after < until:
        with cursor() as c:
            c.execute(load("page_download"), {**asked, "after": after})
            rows = c.fetchall()
        if not rows:
            return
        yield from (line for _, line in rows)
        after = rows[-1][0]
