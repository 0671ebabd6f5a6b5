"""A page of HTML as a tree that tests can ask: enough of one for the admin's well-formed pages."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.test.client import _MonkeyPatchedWSGIResponse as Response

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    children: list[Element | str] = field(default_factory=list)

    def walk(self) -> Iterator[Element]:
        yield self
        for child in self.children:
            if isinstance(child, Element):
                yield from child.walk()

    def all(self, tag: str, **attributes: str) -> list[Element]:
        return [
            element
            for element in self.walk()
            if element.tag == tag and all(element.attributes.get(name) == value for name, value in attributes.items())
        ]

    def one(self, tag: str, **attributes: str) -> Element:
        (element,) = self.all(tag, **attributes)
        return element

    @property
    def raw_text(self) -> str:
        return "".join(child if isinstance(child, str) else child.raw_text for child in self.children)

    @property
    def text(self) -> str:
        return " ".join(self.raw_text.split())

    def rows(self) -> list[list[str]]:
        """The text of each cell of the table body below."""
        return [
            [cell.text for cell in row.children if isinstance(cell, Element)] for row in self.one("tbody").all("tr")
        ]


class _Builder(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = Element("document", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        if tag in [element.tag for element in self.open]:
            while self.open.pop().tag != tag:
                pass

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def parse(response: Response) -> Element:
    """The page of a response that succeeded."""
    assert response.status_code == 200, response.status_code
    builder = _Builder()
    builder.feed(response.content.decode())
    return builder.root


def facts(page: Element) -> dict[str, str]:
    """The description lists of a detail page."""
    lists = [e for name in ("hookflow-facts", "hookflow-values") for e in page.all("dl", **{"class": name})]
    terms, described = ([e.text for facts in lists for e in facts.all(tag)] for tag in ("dt", "dd"))
    return dict(zip(terms, described, strict=True))


def status(page: Element) -> str:
    """The word of the status at the top of a run's page."""
    head = page.one("header", **{"class": "hookflow-head"})
    return next(e.text for e in head.all("span") if "hookflow-status" in e.attributes.get("class", ""))


def log_of(page: Element) -> list[str]:
    """A line for each event that a run's page shows: ``#3 step.completed charge``."""
    return [
        " ".join(c.text for c in e.children if isinstance(c, Element) and c.tag != "time")
        for e in section(page, "events").all("summary")
    ]


def section(page: Element, name: str) -> Element:
    return page.one("section", id=name)
