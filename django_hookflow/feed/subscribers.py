"""Who subscribes: functions of the project that are handed events, each under a name that is its place in the log."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from django_hookflow.exceptions import HookFlowException

if TYPE_CHECKING:
    from typing import Any

    from django_hookflow.models import WorkflowEvent

Handler = Callable[["WorkflowEvent"], "Any"]
H = TypeVar("H", bound=Handler)

ALL_TYPES = "*"
LONGEST_NAME = 200

_subscriptions: dict[str, Subscription] = {}


class InvalidSubscription(HookFlowException, ValueError):
    """A subscription has no type, name or function that can be used, or its name is taken by another function."""


@dataclass(frozen=True)
class Subscription:
    """A function, the name under which its place in the log is kept, and the types of events it is handed."""

    name: str
    types: tuple[str, ...]
    handler: Handler
    from_start: bool
    imported: bool = False

    @property
    def wanted(self) -> tuple[str, ...] | None:
        """The types to read; None for all."""
        return None if ALL_TYPES in self.types else self.types

    @property
    def path(self) -> str:
        return f"{self.handler.__module__}.{self.handler.__qualname__}"


def on_event(*types: str, name: str, from_start: bool = False, imported: bool = False) -> Callable[[H], H]:
    """Subscribes a function to events of these types (``"*"``: all); ``manage.py hookflow_subscribers`` calls it.

    It is called with a :class:`~django_hookflow.models.WorkflowEvent` whose ``run_id`` is filled, in order within each
    run, in a transaction in which the place of ``name`` in the log moves on as well: what it writes to the same database
    is written exactly once; anything else it does happens at least once. When it raises, or has broken a constraint that
    is checked at a commit, what it has written is rolled back, and it is called again with the same event, later each time.

    A new name begins with what is appended after it is first seen, or with the first event there is (``from_start``).
    Events that were brought over from a release 0.0.x, which happened long ago, are left out unless ``imported``.
    Raises InvalidSubscription when the name belongs to another function, or the function is a coroutine function.
    """

    def decorate(handler: H) -> H:
        _register(Subscription(name, types, handler, from_start, imported))
        return handler

    return decorate


def registered_subscriptions() -> list[Subscription]:
    """Every subscription this process knows, by name."""
    return [_subscriptions[name] for name in sorted(_subscriptions)]


def _register(made: Subscription) -> None:
    if not made.types or not all(isinstance(type_, str) and type_ for type_ in made.types):
        raise InvalidSubscription(
            f"{made.path} subscribes to {', '.join(map(repr, made.types)) or 'nothing'}: pass one or more event types, "
            'as in @on_event("run.failed", name=…), or "*" for all'
        )
    if not isinstance(made.name, str) or not made.name or len(made.name) > LONGEST_NAME:
        raise InvalidSubscription(
            f"{made.path} subscribes as {made.name!r}: the name must be a string of 1 to {LONGEST_NAME} characters"
        )
    if inspect.iscoroutinefunction(made.handler):
        raise InvalidSubscription(
            f"{made.path} is a coroutine function, which would not be awaited: use a sync function, for example with "
            "asgiref.sync.async_to_sync"
        )
    known = _subscriptions.get(made.name)
    if known is not None and known.path != made.path:
        raise InvalidSubscription(
            f"the name {made.name!r} is already used by {known.path}: give {made.path} another name, because the name "
            "identifies a position in the log"
        )
    _subscriptions[made.name] = made
