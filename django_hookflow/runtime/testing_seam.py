"""Where a test steps in: in the place of a step's work, or as the end of a worker. Without effect outside of tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from django_hookflow.delivery.transports import Transport


class WorkerGone(BaseException):
    """A worker's sudden end, as kill -9 would be it: nothing is recorded and the run is not handed back."""


Substitute = Callable[[Callable[[], Any]], Any]

_substitutes: dict[str, Substitute] = {}
#: What takes the messages of the stateless mode in a test.
postbox: Transport | None = None


def substitute(step_id: str, work: Callable[[], Any]) -> Callable[[], Any]:
    """The work to do for a step: its own, or what a test has put in its place, which is handed its own."""
    replacement = _substitutes.get(step_id)
    return work if replacement is None else lambda: replacement(work)


def install(step_id: str, replacement: Substitute) -> None:
    _substitutes[step_id] = replacement


def clear() -> None:
    global postbox
    postbox = None
    _substitutes.clear()
