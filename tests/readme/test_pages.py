"""What the README and the guides link to, picture and list is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.contrib import admin
from django.contrib.auth import get_permission_codename

from django_hookflow.testing import Hookflow
from tests.checkout import REPOSITORY
from tests.readme.snippets import GUIDES, README, find_pages, read_all, read_headings

#: Pages of the repository that are read as such, though no snippet of theirs is run here.
OTHERS = [REPOSITORY / name / "README.md" for name in ("migrations_sql", "benchmarks")] + [REPOSITORY / "CHANGELOG.md"]


def links_of(page: Path) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))


def anchors_of(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in read_headings(page)}


def leads_somewhere(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    return target.exists() and (not anchor or anchor in anchors_of(target))


@pytest.mark.parametrize("page", [*find_pages(), *OTHERS], ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_link_leads_somewhere(page: Path) -> None:
    links = [link for link in links_of(page) if not link.startswith("https://")]
    assert [link for link in links if not leads_somewhere(page, link)] == []


def test_a_link_that_leads_nowhere_is_noticed() -> None:
    assert leads_somewhere(README, "django_hookflow/guides/operating.md#transports")
    assert not leads_somewhere(README, "django_hookflow/guides/operating.md#teapots")
    assert not leads_somewhere(README, "guides/operating.md")
    assert not leads_somewhere(README, "#teapots")


def test_the_guides_link_only_to_what_the_wheel_has() -> None:
    """A guide is read from an installed package as well, which has no README and no checkout around it."""
    links = [link.partition("#")[0] for page in GUIDES.glob("*.md") for link in links_of(page) if "://" not in link]
    assert [path for path in links if path and not re.fullmatch(r"\w+\.md", path)] == []


def test_the_readme_leads_to_every_guide() -> None:
    linked = {(README.parent / link.partition("#")[0]).resolve() for link in links_of(README) if "guides/" in link}
    assert linked == set(GUIDES.glob("*.md"))


@pytest.mark.parametrize("page", find_pages(), ids=lambda page: page.stem)
def test_lines_are_no_longer_than_elsewhere(page: Path) -> None:
    lines = page.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if len(line) > 120 and not line.startswith("|")] == []


def test_every_picture_is_there() -> None:
    pictures = re.findall(r'(?:src|srcset)="([^"]+)"', README.read_text(encoding="utf-8"))
    assert len(pictures) == 4
    assert [name for name in pictures if not (REPOSITORY / name).exists()] == []


def test_the_permissions_are_those_that_the_admin_asks_for() -> None:
    named = re.findall(r"^\| `django_hookflow\.(\w+)` \|", read_all(), re.MULTILINE)
    shown = [model._meta for model in admin.site._registry if model._meta.app_label == "django_hookflow"]
    wanted = {get_permission_codename("view", meta) for meta in shown} | {
        codename for meta in shown for codename, _ in meta.permissions
    }
    assert sorted(named) == sorted(wanted)


def test_the_test_kit_has_every_method_of_its_table() -> None:
    table = (GUIDES / "testing.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| `(\w+)\(", table, re.MULTILINE)
    assert named
    assert [name for name in named if not callable(getattr(Hookflow, name, None))] == []


def test_the_glossary_is_in_alphabetical_order_and_has_each_word_once() -> None:
    words = re.findall(r"^\| ([a-z][\w ]*) \|", (GUIDES / "glossary.md").read_text(encoding="utf-8"), re.MULTILINE)[1:]
    assert len(words) > 20
    assert words == sorted(set(words))
