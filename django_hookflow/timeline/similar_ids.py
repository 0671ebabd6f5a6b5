"""Ids of runs that are almost the one that was asked for.

What people mistype is looked up and not searched for, so that it costs the same with any number of runs: all that one
slip makes of the id (a character missing, added or another, two exchanged, the case), and then ids that begin with as
much of it as any does. Two slips at the beginning of an id are not found: that would take an index of trigrams.
"""

from __future__ import annotations

from collections.abc import Iterator

from django.db import connections

from django_hookflow.sql import load

MOST = 5
#: Ids longer than this are only looked up by how they begin; and characters that may be missing, or wrong.
LONGEST = 64
CHARACTERS = "0123456789abcdefghijklmnopqrstuvwxyz-_.:/"


def find_similar_ids(run_id: str, using: str) -> list[str]:
    """At most :data:`MOST`, the likeliest first; empty if the id is too short, or no id."""
    wanted = run_id.strip()[:256]
    if len(wanted) < 2 or "\0" in wanted:
        return []
    slips = sorted({*slips_of(wanted)} - {run_id}) if len(wanted) <= LONGEST else []
    beginnings = [wanted[:length] for length in range(len(wanted), max(2, len(wanted) // 2) - 1, -1)]
    with connections[using].cursor() as cursor:
        cursor.execute(load("similar_ids"), {"slips": slips, "beginnings": beginnings, "limit": MOST})
        found = dict.fromkeys(run_id for (run_id,) in cursor.fetchall())
    return list(found)[:MOST]


def did_you_mean(run_id: str, using: str) -> str:
    """What an error adds about ids that are like this one; "" if there are none."""
    similar = find_similar_ids(run_id, using)
    return f"; did you mean {' or '.join(repr(each) for each in similar)}?" if similar else ""


def slips_of(text: str) -> Iterator[str]:
    """All texts that one slip makes of it."""
    yield from (text, text.lower(), text.upper())
    characters = sorted({*CHARACTERS, *text})
    for place in range(len(text) + 1):
        before, after = text[:place], text[place:]
        yield from (f"{before}{character}{after}" for character in characters)
        if after:
            yield f"{before}{after[1:]}"
            yield from (f"{before}{character}{after[1:]}" for character in characters)
        if len(after) > 1:
            yield f"{before}{after[1]}{after[0]}{after[2:]}"
