"""``ctx.step``: the verbs, done at once, and groups of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from django_hookflow.runtime.groups import Group, OnError, map_items
from django_hookflow.runtime.retries import DEFAULT_RETRY, Retry
from django_hookflow.runtime.step import Options
from django_hookflow.runtime.verbs import Verbs

if TYPE_CHECKING:
    from django_hookflow.registry import Workflow

T = TypeVar("T")


class StepManager(Verbs):
    """``ctx.step``: runs steps durably. Each step ID may be used once per run."""

    def parallel(self, *, max_workers: int | None = None, on_error: OnError = "raise") -> Group:
        """Runs steps in parallel: ``with ctx.step.parallel() as group: flight = group.run(…)``, then ``flight.result()``.

        Nothing begins before the block ends; then up to ``max_workers`` (4) steps work at a time, in threads, and what waits
        begins to wait. Leaving the block raises the first failure, in the order asked, once all have ended; with
        ``on_error="collect"`` only ``.result()`` raises. ``ctx.step.options(…).parallel()`` is the policy of each.
        """
        return Group(self, max_workers, on_error)

    def map(
        self,
        step_id: str,
        work: Callable[[Any], T] | Workflow,
        items: Iterable[Any],
        *,
        key: Callable[[Any], Any] | None = None,
        max_workers: int | None = None,
    ) -> list[T]:
        """Runs ``work(item)`` as a step for each item, ``max_workers`` (4) at a time; returns the results in order.

        The ids are ``step_id[0]``, … or ``step_id[key(item)]``, which items that come and go between turns need. With a
        workflow each item is the data of a child, and ``max_workers`` (1,000) of them run at once, the next when all of these
        have ended. Raises the first failure, in the order of the items, once all have ended.
        """
        return map_items(self, step_id, work, items, key, max_workers)


def first_options(retry: Retry | None) -> Options:
    """The policy of a workflow's steps."""
    return Options(retry or DEFAULT_RETRY)
