"""``manage.py hookflow_archive verify|show``: proves archives, and reads them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import InterfaceError, OperationalError

from django_hookflow.evidence.audit import (
    CheckedFile,
    Problem,
    Unreadable,
    facts_of,
    find_unproved,
    read_events,
    read_known,
)
from django_hookflow.evidence.proving import checked_claims, signed_claims
from django_hookflow.management.base import LogCommand, describe_outage
from django_hookflow.retention.proving import (
    archives_in,
    check_with_manifest,
    compare_with_tombstones,
    find_tombstones_without,
)


class Command(LogCommand):
    help = "Verifies archives of the event log, or prints the contents of one."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        commands = parser.add_subparsers(dest="action", required=True, metavar="verify|show")
        verify = commands.add_parser(
            "verify",
            help=(
                "recompute every hash and compare it with the manifest and the tombstones in the database; exit with "
                "status 1 if anything differs"
            ),
        )
        verify.add_argument(
            "files", nargs="*", type=Path, metavar="FILE", help="NAME.jsonl.gz, with its manifest in the same directory"
        )
        verify.add_argument(
            "--all",
            type=Path,
            metavar="DIR",
            help="verify every archive in this directory, and check that none of the archived runs is missing",
        )
        verify.add_argument(
            "--checkpoint", type=Path, metavar="FILE", help="also compare the runs with this checkpoint"
        )
        verify.add_argument("--without-database", action="store_true", help="do not compare with the database")
        show = commands.add_parser("show", help="print the events, one per line")
        show.add_argument("file", type=Path, metavar="FILE")
        show.add_argument("--run", metavar="RUN_ID", help="only the run with this ID")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["action"] == "show":
            self._show(options["file"], options["run"])
            return
        if (options["all"] is None) == (not options["files"]):
            raise CommandError("specify either the archives to verify or --all DIR")
        if options["all"] is not None and options["without_database"]:
            raise CommandError(
                "--all cannot be combined with --without-database: it reads the list of archived runs from the database"
            )
        if options["all"] is not None and not options["all"].is_dir():
            raise CommandError(f"--all {options['all']}: not a directory")
        if options["checkpoint"] is not None:
            self._check_signature(options["checkpoint"], options["without_database"])
        if self._verify_all(options):
            sys.exit(1)

    def _verify_all(self, options: dict[str, Any]) -> int:
        """How many problems there are."""
        checkpoint, directory = options["checkpoint"], options["all"]
        found = set[str]()
        files, problems = list[CheckedFile](), 0
        for path in options["files"] or archives_in(directory):
            known = () if checkpoint is None else read_known(checkpoint)
            files.append(checked := check_with_manifest(path, known))
            problems += self._report(checked, found, options["without_database"])
        if checkpoint is not None:
            seen = set[str]().union(*(file.ends for file in files))
            problems += self._print(
                find_unproved((run for run in read_known(checkpoint) if run.run_uid in seen), files)
            )
        if directory is not None:
            missing = self._print(find_tombstones_without(found, directory))
            self.stdout.write(f"{directory}: {len(found)} archived runs found, {missing} missing")
            problems += missing
        return problems

    def _print(self, problems: Iterable[Problem]) -> int:
        number = 0
        for problem in problems:
            self.stdout.write(str(problem))
            number += 1
        return number

    def _check_signature(self, checkpoint: Path, without_database: bool) -> None:
        """Before anything is compared with it."""
        signed_claims(checkpoint) if without_database else checked_claims(checkpoint)

    def _report(self, checked: CheckedFile, found: set[str], without_database: bool) -> int:
        """How many problems there are with a file; adds the runs that end in it as their tombstones do to ``found``."""
        problems, line = list(checked.problems), str(checked)
        if not problems and not without_database:
            try:
                compared = compare_with_tombstones(checked.path)
                problems += compared.problems
                found |= compared.retired
                line += f"; {compared}"
            except (OperationalError, InterfaceError) as error:
                line += f"; not compared: {describe_outage(error)}"
        for problem in problems:
            self.stdout.write(problem)
        self.stdout.write(line)
        return len(problems)

    def _show(self, path: Path, run_id: str | None) -> None:
        shown, shows = False, False
        try:
            for event in read_events(path):
                if event["seq"] == 1:
                    shows = run_id is None or _run_id_of(event) == run_id
                    if shows:
                        self.stdout.write(f"run {_run_id_of(event)}")
                if shows:
                    shown = True
                    self.stdout.write(_as_line(event))
        except (OSError, Unreadable, EOFError, UnicodeError) as error:
            raise CommandError(f"{path}: {error}") from error
        if run_id is not None and not shown:
            raise CommandError(f"{path} does not contain run {run_id!r}")


def _run_id_of(event: dict[str, Any]) -> str:
    """The id of a run, from its first event."""
    return str(facts_of(event).get("run_id", event["run_uid"]))


def _as_line(event: dict[str, Any]) -> str:
    payload = "[redacted]" if event["payload_digest"] else event["payload"]
    facts = event["facts"] if event["facts"] != "{}" else ""
    parts = [
        f"  #{event['seq']}",
        *(event[name] for name in ("recorded_at", "type", "step_id", "actor")),
        facts,
        payload,
    ]
    return "  ".join(part for part in parts if part)
