"""A PostgreSQL that the system has installed, in another major version than the embedded one."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django_hookflow.demo.installation import unprivileged_user
from django_hookflow.demo.postgres import FAST, Address, clean_environment, wait_until_ready
from django_hookflow.demo.processes import Child
from tests.upgrade.old_release import temporary_directory

PORT = 5432  # only names the socket file, in a directory of its own


@contextmanager
def running(installation: Path) -> Iterator[str]:
    """The URL of a server of its own from the programs in ``installation``."""
    user = unprivileged_user() if os.geteuid() == 0 else None
    directory = temporary_directory()
    try:
        if user is not None:
            shutil.chown(directory, user)
        data = directory / "data"
        initdb = [
            installation / "bin" / "initdb",
            "-D",
            data,
            "-U",
            "hookflow",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "-N",
        ]
        extra: dict[str, object] = {} if user is None else {"user": user, "group": user, "extra_groups": []}
        subprocess.run(initdb, env=clean_environment(), cwd=directory, stdout=subprocess.DEVNULL, check=True, **extra)  # type: ignore[call-overload]
        options = {"listen_addresses": "", "unix_socket_directories": str(directory), **FAST}
        arguments = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        address = Address(host=str(directory), port=PORT)
        log = directory / "log"
        with (
            log.open("wb") as output,
            Child(
                [installation / "bin" / "postgres", "-D", data, *arguments],
                env=clean_environment(),
                cwd=directory,
                output=output,
                user=user,
            ) as server,
        ):
            wait_until_ready(installation, address, server, log)
            yield address.url()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
