"""Small portions, so that a few runs are several files and several transactions each."""

from __future__ import annotations

from collections.abc import Callable


def make_batches_small(change: Callable[[object, str, object], None] = setattr) -> None:
    """Eight runs are two files of two batches each. ``change`` may be a monkeypatch's, which takes it back."""
    from django_hookflow.retention import archive, runs  # which needs Django set up

    change(runs, "RUNS_PER_PORTION", 4)
    change(runs.batches_of, "__defaults__", (2, 10_000))
    change(archive, "EVENTS_PER_READ", 12)
