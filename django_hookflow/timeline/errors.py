"""Where in the user's own code an error came from."""

from __future__ import annotations

import os
import re
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

#: A frame of a group's member stands behind a margin. The line's beginning is no \s, which would run on over empty lines.
_FRAME = re.compile(r'^[ \t|]*File "(?P<file>[^"\n]+)", line (?P<line>\d+)(?:, in (?P<function>.+))?$', re.MULTILINE)
#: Where one traceback ends and that of what it led to begins.
_LED_TO = re.compile(
    r"^(?:The above exception was the direct cause|During handling of the above exception).*$", re.MULTILINE
)
_INSTALLED = re.compile(r"[\\/](?:site|dist)-packages[\\/]|[\\/]lib[\\/]python3(?:\.\d+)?[\\/]|^<")
_PACKAGE = str(Path(__file__).resolve().parents[1]) + os.sep
_DEMO = f"{_PACKAGE}demo{os.sep}"
_STANDARD_LIBRARY = sysconfig.get_path("stdlib") + os.sep


def innermost_own_frame(traceback_text: str) -> str | None:
    """The place nearest to the error in code that is neither installed, nor Python's, nor this package's.

    As ``shop/payments.py:12 in charge``; None when there is none. Of several errors that led to each other it is the
    last one's that has one.
    """
    for part in reversed(_LED_TO.split(traceback_text)):
        frames = reversed(list(_FRAME.finditer(part)))
        nearest = next((frame for frame in frames if is_own(frame["file"])), None)
        if nearest:
            return _place(nearest)
    return None


def is_own(file: str) -> bool:
    """Whether a file is of the project rather than of what it is built on."""
    if file.startswith(_DEMO):
        return True
    return not (_INSTALLED.search(file) or file.startswith((_PACKAGE, _STANDARD_LIBRARY)))


def _place(frame: re.Match[str]) -> str:
    where = f"{_shortened(frame['file'])}:{frame['line']}"
    return f"{where} in {frame['function']}" if frame["function"] else where


def _shortened(file: str) -> str:
    """The path as it is known from where modules are imported, if it is."""
    return next((file[len(root) :] for root in _roots() if file.startswith(root)), file)


def _roots() -> Iterator[str]:
    """Longest first, so that a file is named from the nearest."""
    found = {f"{Path(path).absolute()}{os.sep}" for path in [str(Path.cwd()), *sys.path] if path}
    return iter(sorted(found, key=len, reverse=True))
