"""``cleanup_workflows`` in a process that kills itself with SIGKILL at a chosen change it is about to make.

Changes are what others could see afterwards: a file made, a name given or taken on the disk (the interpreter's audit
events), and a statement on the database.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import django
from django.core.management import call_command
from django.db import connection

from tests.retention.small import make_batches_small

ON_DISK = {"os.rename", "os.remove", "os.mkdir", "os.rmdir"}


class Doom:
    def __init__(self, at: int) -> None:
        self.left = at

    def count(self) -> None:
        self.left -= 1
        if self.left == 0:
            sys.stdout.flush()
            os.kill(os.getpid(), signal.SIGKILL)

    def on_audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        is_written = event == "open" and isinstance(arguments[1], str) and arguments[1].startswith("w")
        if event in ON_DISK or is_written:
            self.count()

    def on_statement(self, execute: Any, *arguments: Any) -> Any:
        self.count()
        answer = execute(*arguments)
        self.count()
        return answer


def main(at: int, arguments: list[str]) -> None:
    os.environ["PGAPPNAME"] = "doomed"
    django.setup()
    make_batches_small()
    doom = Doom(at)
    connection.ensure_connection()
    sys.addaudithook(doom.on_audit)
    with connection.execute_wrapper(doom.on_statement):
        call_command("cleanup_workflows", *arguments)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
