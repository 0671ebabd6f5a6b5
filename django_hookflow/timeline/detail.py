"""What one event holds beside its type and its step, in a few words: its facts, and why or how something went wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from django_hookflow.durations import format_duration
from django_hookflow.timeline.facts import Event, facts_of, payload_of


def detail_of(event: Event) -> str:
    """Such as ``attempt 1 of 3, after 2 s, again in 5 s, ConnectionError: no route``; facts of later versions are left out."""
    return ", ".join(_parts(event))


def _parts(event: Event) -> Iterator[str]:
    facts, payload = facts_of(event), payload_of(event)
    if event.actor:
        yield f"by {event.actor}"
    if event.is_redacted:
        yield "[redacted]"
    for name, words in FACTS.items():
        if facts.get(name) is not None and (shown := words(facts)):
            yield shown
    if payload.get("message"):
        yield str(payload["message"]) if facts.get("error") is None else f"{facts['error']}: {payload['message']}"
    elif facts.get("error") is not None:
        yield str(facts["error"])
    for name in ("reason", "note"):
        if payload.get(name):
            yield str(payload[name])


def _plain(name: str, words: str) -> Callable[[dict[str, Any]], str]:
    return lambda facts: words.format(facts[name])


def _lasting(name: str, words: str) -> Callable[[dict[str, Any]], str]:
    def show(facts: dict[str, Any]) -> str:
        value = facts[name]
        return words.format(
            format_duration(value) if isinstance(value, (int, float)) and math.isfinite(value) else value
        )

    return show


def _until(facts: dict[str, Any]) -> str:
    """Of what is not given as a length of time, which says it all."""
    is_length = any(name in facts for name in ("seconds", "retry_in", "timeout"))
    return "" if is_length else f"until {facts['until']}"


def _attempt(facts: dict[str, Any]) -> str:
    return f"attempt {facts['attempt']}" + (f" of {facts['of']}" if facts.get("of") is not None else "")


def _path(facts: dict[str, Any]) -> str:
    path = facts["path"]
    return f"at {'.'.join(map(str, path))}" if isinstance(path, list) else f"at {path}"


#: How a fact is shown, in this order.
FACTS: dict[str, Callable[[dict[str, Any]], str]] = {
    "kind": _plain("kind", "{}"),
    "attempt": _attempt,
    "attempts": _plain("attempts", "attempts: {}"),
    "took": _lasting("took", "took {}"),
    "seconds": _lasting("seconds", "for {}"),
    "until": _until,
    "retry_in": _lasting("retry_in", "again in {}"),
    "timeout": _lasting("timeout", "timeout {}"),
    "done": lambda facts: str(facts["done"]) + (f" of {facts['total']}" if facts.get("total") is not None else ""),
    "key": _plain("key", "of {}"),
    "unique": _plain("unique", "unique: {}"),
    "resolved": lambda facts: "resolved",
    "answered": lambda facts: "answered",
    "timed_out": lambda facts: "timed out",
    "name": _plain("name", "{}"),
    "id": _plain("id", "id {}"),
    "by": _plain("by", "by #{}"),
    "turn_seq": _plain("turn_seq", "of #{}"),
    "failed_seq": _plain("failed_seq", "of #{}"),
    "seq": _plain("seq", "of #{}"),
    "path": _path,
    "recorded": _plain("recorded", "recorded: {}"),
    "asked": _plain("asked", "asked: {}"),
    "repaired": _plain("repaired", "repaired rows: {}"),
    "worker": _plain("worker", "on {}"),
    "version": _plain("version", "version {}"),
    "run_id": _plain("run_id", "{}"),
    "continued_by": _plain("continued_by", "continued as {}"),
    "from": _plain("from", "from {}"),
    "status": _plain("status", "was {}"),
}
#: Facts that are shown with others, are in the header, or are for programs.
NOT_SHOWN = frozenset(
    {
        *("of", "total", "error", "step_kind", "workflow", "login", "scope", "fingerprint"),
        *("origin", "subject", "trace", "transport", "message_id", "retried", "updated_at"),
    }
)
