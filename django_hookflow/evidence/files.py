"""Files that are there whole or not at all, and never take the place of another."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from django_hookflow.exceptions import HookFlowException


class OutputExists(HookFlowException, FileExistsError):
    """The file to be written is there already."""

    def __init__(self, path: Path, kept: Path | None = None) -> None:
        instead = "choose another name" if kept is None else f"the complete file has been kept as {kept}"
        super().__init__(f"{path} already exists and was not overwritten: {instead}")


class NoDirectory(HookFlowException, NotADirectoryError):
    """The directory of the file to be written is not there."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path.name} cannot be written: {path.parent} is not a directory; create it or choose another"
        )


@contextmanager
def new_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that gets its name when the block ends without an error, and is on the disk by then.

    Raises OutputExists, before the block if it can, NoDirectory and other OSErrors.
    """
    if path.exists():
        raise OutputExists(path)
    if not path.parent.is_dir():
        # Not made here: where a disk should be mounted and is not, it would be made on another.
        raise NoDirectory(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("xb") as file:
            yield file
            put_on_disk(file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if path.exists():  # since: somebody else chose the same name
        raise OutputExists(path, kept=temporary)
    temporary.rename(path)
    put_directory_on_disk(path.parent)


def put_on_disk(file: IO[bytes]) -> None:
    """Returns when the disk has what was written."""
    file.flush()
    os.fsync(file.fileno())


def put_directory_on_disk(directory: Path) -> None:
    """Returns when the disk has the names in ``directory``: a rename is not durable before."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
