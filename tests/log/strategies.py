"""What hypothesis writes into events whose content does not matter."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
#: Facts of these names are read by the rules of an event; hypothesis knows the words of the package.
READ = {"took", "retry_in", "attempt", "attempts", "until"}


def any_facts(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(words.filter(lambda word: word not in READ), values, max_size=3)
