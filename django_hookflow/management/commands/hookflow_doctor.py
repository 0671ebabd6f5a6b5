"""``manage.py hookflow_doctor``: looks at everything a deployment depends on; for each finding, the way out."""

from __future__ import annotations

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from django_hookflow.doctor.examination import AREAS, Examined, examine
from django_hookflow.doctor.report import Paint, as_json, exit_code, lines_of, summary
from django_hookflow.terminals import encodable, encoding_of

#: Styles of Django's palettes; its NOTICE is red, as errors are.
PALETTE = {"ok": "SUCCESS", "info": "HTTP_INFO", "warning": "WARNING", "error": "ERROR"}


class Command(BaseCommand):
    help = (
        "Checks keys, public address, schema, guards, roles, clocks, partitions, relay, runs and more, and suggests a "
        "fix for each problem. Makes no changes and prints no secrets. Exits with status 0 if there are no errors "
        "(warnings are allowed), 1 if there are errors, and 2 if the database cannot be examined."
    )
    # It is what one runs when a check fails, so no check may keep it from running.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print the report as one JSON object")
        parser.add_argument(
            "--only",
            nargs="+",
            action="extend",
            default=[],
            choices=list(AREAS),
            metavar="AREA",
            help=f"check only these areas: {', '.join(AREAS)}",
        )
        parser.add_argument("--offline", action="store_true", help="do not contact QStash or the public address")

    def handle(self, *args: Any, only: list[str], offline: bool, **options: Any) -> None:
        examined: list[Examined] = []
        paint = self._paint_with(options)
        for area in examine(only, offline=offline):
            examined.append(area)
            if not options["json"]:
                self.stdout.write(encodable("\n".join(lines_of(area, paint)), encoding_of(self.stdout)))
                self.stdout.flush()  # the next area may have to wait for an answer
        self.stdout.write(_dump(examined) if options["json"] else f"\n{summary(examined)}")
        if code := exit_code(examined):
            sys.exit(code)

    def _paint_with(self, options: dict[str, Any]) -> Paint:
        is_coloured = options["force_color"] or self.stdout.isatty()

        def paint(level: str, text: str) -> str:
            return str(getattr(self.style, PALETTE[level])(text)) if is_coloured else text

        return paint


def _dump(examined: list[Examined]) -> str:
    return json.dumps(as_json(examined), indent=2)  # in ASCII, which no terminal takes for commands
