"""A request to stop, for the process whose turns are to be handed on.

The relay's command sets it on SIGTERM; a host process that runs turns of its own may call :func:`request_stop` from
wherever it learns that it is to end. A turn under way finishes the step it is in and announces the next turn, which
another process takes up. This package installs no signal handlers in anybody's process but the relay's.
"""

from __future__ import annotations

_requested = False


def request_stop() -> None:
    """Has every turn of this process end with the step it is in. May be called from a signal handler."""
    global _requested  # a plain name: an Event's lock is not to be taken in a signal handler
    _requested = True


def is_requested() -> bool:
    return _requested


def forget() -> None:
    """Takes the request back, for a process that goes on after all."""
    global _requested
    _requested = False
