"""What hookflow_rebuild --check, hookflow_verify and the auditor's script have to say of a run, however it came about."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from django.db import connection

from django_hookflow.evidence import audit
from django_hookflow.evidence.verifying import verify
from django_hookflow.projections.difference import diff
from django_hookflow.sql import load

if TYPE_CHECKING:
    from django_hookflow.models import WorkflowRun


def evidence_against(run: WorkflowRun) -> list[str]:
    """What does not hold; empty when all is well."""
    found = [f"projection: {difference}" for difference in diff(run.run_id)]
    found += [f"verify: {problem}" for part in verify(run.run_id) for problem in part.problems]
    with connection.cursor() as c:
        c.execute(load("event_lines"), {"from": run.pk, "to": run.pk})
        events = [json.loads(line) for (line,) in c.fetchall()]
    return found + [f"audit: {problem}" for problem in audit.check_run(str(run.pk), events).problems]
