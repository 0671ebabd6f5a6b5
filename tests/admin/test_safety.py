"""What workflows record comes from outside: it is shown, never run. And the pages hold under a strict CSP."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from django_hookflow.models import DeadLetterEntry
from tests.admin.conftest import DEAD_LETTERS, RUNS
from tests.admin.history import add, fail, start
from tests.admin.page import Element, parse

if TYPE_CHECKING:
    from uuid import UUID

    from django.test import Client

ATTACKS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</pre></details><svg onload=alert(1)>",
    "{{ run.data }}{% debug %}",
    "javascript:alert(1)",
    "' onmouseover='alert(1)",
]


def attack(text: str) -> UUID:
    """A run with ``text`` wherever a text can be."""
    run = start(run_id=text, workflow_id=text, data={text: [text] * 10}, actor=text)
    add(run, "step.completed", text, kind="run", result={text: [text] * 10})
    add(run, "step.completed", f"{text}2", kind=text[:20], result=text)
    fail(run, step_id=text, error={"type": text, "message": text, "traceback": f"{text}\n{text}"})
    return run


def pages(client: Client, run: UUID) -> dict[str, Element]:
    entry = DeadLetterEntry.objects.get(run_uid=run)
    urls = [
        RUNS,
        f"{RUNS}?q=%3Cscript%3E&workflow=%3Cscript%3E",
        f"{RUNS}{run}/change/",
        f"{RUNS}{run}/change/?steps=%22%3E%3Cscript%3E&_changelist_filters=%22%3E%3Cscript%3E",
        DEAD_LETTERS,
        f"{DEAD_LETTERS}{entry.pk}/change/",
    ]
    return {url: parse(client.get(url)) for url in urls}


def find_inline_code(page: Element) -> list[str]:
    """What a policy of ``default-src 'self'`` would refuse, or should."""
    found = []
    for element in page.walk():
        if element.tag == "style" or (
            element.tag == "script"
            and not element.attributes.get("src")
            and "json" not in element.attributes.get("type", "")
        ):
            found.append(f"<{element.tag}>")
        found += [name for name in element.attributes if name == "style" or name.startswith("on")]
        found += [v for n, v in element.attributes.items() if n in ("href", "src", "action") and "script:" in v]
    return found


@pytest.mark.parametrize("text", ATTACKS)
def test_recorded_texts_are_shown_as_they_are_and_are_never_markup(superuser: Client, text: str) -> None:
    run = attack(text)

    for url, page in pages(superuser, run).items():
        assert find_inline_code(page) == [], url
        assert [e.tag for e in page.all("img") if e.attributes.get("src") == "x"] == [], url
        assert [e for e in page.all("svg") if not e.attributes.get("class")] == [], url

    shown = pages(superuser, run)[f"{RUNS}{run}/change/"]
    assert text in shown.one("p", **{"class": "hookflow-error"}).raw_text
    assert text in shown.one("section", id="steps").raw_text
    assert text in shown.one("section", id="events").raw_text


def test_links_lead_nowhere_else(superuser: Client) -> None:
    run = attack('"><a href="//evil.example">')

    for url, page in pages(superuser, run).items():
        links = [e.attributes.get("href", "") for e in page.one("div", id="content").all("a")]
        assert not [link for link in links if link.startswith(("//", "http"))], url
