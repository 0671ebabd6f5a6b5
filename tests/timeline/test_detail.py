"""What an event holds beside its type, in a few words."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_hookflow.events.types import CATALOGUE
from django_hookflow.timeline.detail import FACTS, NOT_SHOWN, detail_of
from django_hookflow.timeline.reading import EventExcerpt

NOW = datetime.datetime(2026, 5, 1, 12, 0, tzinfo=datetime.timezone.utc)


def event(type_: str, facts: Any, payload: Any = None, actor: str | None = None) -> EventExcerpt:
    return EventExcerpt(7, type_, None, actor, NOW, False, facts, payload)


def test_every_fact_of_the_catalogue_is_shown_or_left_out_on_purpose() -> None:
    facts = {name for each in CATALOGUE.values() for name in each.facts}
    assert facts - {*FACTS} - NOT_SHOWN == set()
    assert not {*FACTS} & NOT_SHOWN
    assert ({*FACTS} | NOT_SHOWN) - facts == set()


@pytest.mark.parametrize("type_", CATALOGUE.values(), ids=lambda type_: type_.name)
def test_every_type_has_words_for_what_it_holds(type_: Any) -> None:
    shown = detail_of(event(type_.name, dict.fromkeys(type_.facts, 3), dict.fromkeys(type_.payload, "why"), "ada"))
    assert shown.startswith("by ada")
    assert all(FACTS[name]({**dict.fromkeys(type_.facts, 3)}) in shown for name in type_.facts if name in FACTS)
    assert ("why" in shown) == bool({"reason", "message", "note"} & {*type_.payload})


def test_a_failed_attempt() -> None:
    facts = {"kind": "call", "attempt": 1, "of": 3, "took": 2.04, "retry_in": 5, "error": "ConnectionError"}
    assert detail_of(event("step.failed", facts, {"message": "no route", "traceback": "T"})) == (
        "call, attempt 1 of 3, took 2.04 s, again in 5 s, ConnectionError: no route"
    )
    redacted = event("step.failed", facts)
    redacted.is_redacted = True
    assert detail_of(redacted) == "[redacted], call, attempt 1 of 3, took 2.04 s, again in 5 s, ConnectionError"


values: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text()) | st.just({})
)


@given(st.none() | values | st.dictionaries(st.sampled_from([*FACTS, *NOT_SHOWN, "x"]), values), values)
def test_whatever_an_event_holds_it_has_words(facts: Any, payload: Any) -> None:
    assert isinstance(detail_of(event("a.type.of.tomorrow", facts, payload)), str)
