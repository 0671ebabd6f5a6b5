"""Which version of the project's code runs here, as ``DJANGO_HOOKFLOW_APP_VERSION`` names it."""

from __future__ import annotations

import logging
from functools import cache

from django.utils.module_loading import import_string

from django_hookflow.conf import conf

logger = logging.getLogger("django_hookflow.turn")

#: Characters.
MAX_LENGTH = 200


def app_version() -> str | None:
    """The version that is recorded with each turn: the setting's text, or what the callable it names by its path returns.

    None without the setting, and when the callable raises or returns what is no line of text: a turn does not fail for
    want of a version.
    """
    named = conf.app_version
    return None if named is None else _resolved(named)


@cache
def _resolved(named: str) -> str | None:
    """Once a process: a version does not change under it, and an error is not logged with each turn."""
    try:
        version = _called(named)
    except Exception:  # the project's code, which may raise anything
        logger.exception("DJANGO_HOOKFLOW_APP_VERSION: %s returns no version; turns are recorded without one", named)
        return None
    if not version or not version.isprintable():
        logger.error(
            "DJANGO_HOOKFLOW_APP_VERSION: %r is not a single line of text; turns are recorded without a version",
            version,
        )
        return None
    return version[:MAX_LENGTH]


def _called(named: str) -> str:
    parts = named.split(".")
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        return named  # "1.2.3", "release-7"
    try:
        found = import_string(named)
    except ModuleNotFoundError as error:
        if error.name == parts[0]:
            return named  # "v1.beta"
        raise
    return str(found() if callable(found) else found)
