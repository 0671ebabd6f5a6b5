"""The proof sheet of a run: what was checked and when, where its chain ends, and how somebody else checks it without us.

The sheet is for printing. The events are downloaded as ``evidence/audit.py`` reads them, and so is that script.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.text import slugify

from django_hookflow.admin.base import ReadOnlyAdmin, may_see_payloads
from django_hookflow.admin.run_page.integrity import examine
from django_hookflow.events.database import cursor, database_now
from django_hookflow.evidence import audit
from django_hookflow.sql import load

if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterator
    from uuid import UUID

    from django.http import HttpRequest
    from django.urls import URLPattern

    from django_hookflow.models import WorkflowRun

EVENTS_PER_SLICE = 500


@dataclass(frozen=True)
class ChainEnd:
    """Where the chain of a run ends, and what the checkpoint that knows most of it knows; None where there is none."""

    last_seq: int
    hash: str
    last_at: datetime.datetime
    archived_at: datetime.datetime | None
    checkpoint: int | None
    made_at: datetime.datetime | None
    root: str | None
    token_digest: str | None
    known_seq: int | None
    known_hash: str | None

    @property
    def is_covered(self) -> bool:
        return self.known_seq == self.last_seq

    def line_of(self, run: WorkflowRun) -> str:
        """How the line of the run in that checkpoint begins."""
        known = [str(run.pk), run.run_id, self.known_seq, self.known_hash]
        return json.dumps(known, ensure_ascii=False, separators=(",", ":"))[:-1]


def chain_end_of(run_uid: UUID) -> ChainEnd | None:
    with cursor() as c:
        c.execute(load("proof"), {"run_uid": run_uid})
        row = c.fetchone()
    return ChainEnd(*row) if row else None


class Proof(ReadOnlyAdmin):
    def get_urls(self) -> list[URLPattern]:
        name = "django_hookflow_workflowrun_proof"
        wrap = self.admin_site.admin_view
        return [
            path("<uuid:run_uid>/proof/", wrap(self.proof_view), name=name),
            path("<uuid:run_uid>/proof/events.jsonl", wrap(self.proof_events_view), name=f"{name}_events"),
            path("<uuid:run_uid>/proof/audit.py", wrap(self.proof_script_view), name=f"{name}_script"),
            *super().get_urls(),
        ]

    def proof_view(self, request: HttpRequest, run_uid: UUID) -> HttpResponse:
        run = self._run(request, run_uid)
        end = chain_end_of(run.pk)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"Proof sheet: run {run.run_id}",
            "run": run,
            "checked_at": database_now(),
            "checked_by": request.user.get_username(),
            "end": end,
            "line": end.line_of(run) if end and end.known_seq else "",
            "findings": examine(run.run_id, end.last_seq if end else 0),
            "file": file_name(run),
            "sees_payloads": may_see_payloads(request),
        }
        return TemplateResponse(request, "admin/django_hookflow/proof.html", context)

    def proof_events_view(self, request: HttpRequest, run_uid: UUID) -> StreamingHttpResponse:
        run = self._run(request, run_uid)
        if not may_see_payloads(request):
            raise PermissionDenied
        response = StreamingHttpResponse(lines_of(run.pk), content_type="application/x-ndjson")
        response["Content-Disposition"] = f'attachment; filename="{file_name(run)}"'
        return response

    def proof_script_view(self, request: HttpRequest, run_uid: UUID) -> HttpResponse:
        self._run(request, run_uid)
        response = HttpResponse(Path(audit.__file__).read_bytes(), content_type="text/x-python; charset=utf-8")
        response["Content-Disposition"] = 'attachment; filename="audit.py"'
        return response

    def _run(self, request: HttpRequest, run_uid: UUID) -> WorkflowRun:
        run: WorkflowRun | None = self.get_object(request, str(run_uid))
        if not self.has_view_permission(request, run):
            raise PermissionDenied
        if run is None:
            raise Http404
        return run


def file_name(run: WorkflowRun) -> str:
    return f"{slugify(run.run_id)[:100] or 'run'}.jsonl"


def lines_of(run_uid: UUID) -> Iterator[str]:
    """The events of the run, a line each, read so many at a time; no cursor is held between them."""
    statement = load("event_lines").replace(
        "ORDER BY run_uid, seq", "WHERE seq > %(after)s ORDER BY seq LIMIT %(limit)s"
    )
    after = 0
    while True:
        with cursor() as c:
            c.execute(statement, {"from": run_uid, "to": run_uid, "after": after, "limit": EVENTS_PER_SLICE})
            lines = [line for (line,) in c.fetchall()]
        yield from (f"{line}\n" for line in lines)
        after += len(lines)
        if len(lines) < EVENTS_PER_SLICE:
            return
