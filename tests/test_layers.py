"""The direction of imports, and what stands at the top level. Both are read from the files, not from what happens to run.

Imports inside functions count. Those under ``if TYPE_CHECKING`` do not: they name types and load nothing.
"""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.checkout import REPOSITORY, files_of_the_project

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = REPOSITORY / "django_hookflow"

#: Modules that everyone may import and that import only each other.
LEAVES = {
    *(
        "backoff",
        "clock",
        "conf",
        "exceptions",
        "exchange",
        "guards",
        "models",
        "registry",
        "retry_after",
        "sealing",
        "sql",
    ),
    *("app_version", "durations", "subjects", "texts", "wrappers"),
    *("read_only", "terminals", "test_environment"),
}

#: What each part may import beside the leaves and itself. A name stands for the module and all that is in it.
MAY_IMPORT: dict[str, set[str]] = {
    **{leaf: set() for leaf in LEAVES},
    "events": set(),
    "projections": {"events"},
    "evidence": {"events", "projections", "installed"},
    "timeline": {"events", "projections"},
    "feed": {"events"},
    "retention": {"events", "evidence", "projections"},
    "delivery": {"events"},
    "runtime": {
        "events",
        "projections",
        "delivery.outbox",
        "delivery.messages",
        "delivery.carrying",
        "delivery.transports",
    },
    "github": set(),
    "dlq": set(),
    "views": {"runtime", "delivery"},
    "signal_view": {"runtime", "views"},
    "callback_view": {"runtime", "views"},
    "urls": {"views", "signal_view", "callback_view"},
    "installed": set(),
    "checks": {"events", "evidence", "installed"},
    "apps": {"checks", "events"},
    "admin": {"events", "projections", "runtime", "evidence", "timeline", "doctor"},
    "doctor": {"checks", "events", "delivery", "feed", "installed", "retention"},
    "management": {
        "timeline",
        "checks",
        "events",
        "projections",
        "runtime",
        "delivery",
        "evidence",
        "feed",
        "retention",
        "doctor",
    },
    "testing": {"events", "projections", "runtime", "delivery"},
    "pytest_plugin": {"testing"},
    "demo": {"events", "projections", "runtime", "delivery", "views", "urls", "management"},
    "__init__": set(),
    "__main__": {"demo"},
}

#: Methods of the public API that call upwards, by an import inside the method: ``Workflow.trigger()`` and
#: ``DeadLetterEntry.replay()`` are what users call, and the work is the runtime's. And what a test environment alone loads.
DOORS = {"registry": {"runtime"}, "models": {"runtime", "projections"}, "apps": {"testing"}}

#: What ``django_hookflow/__init__.py`` offers to users, of whom the demo is one.
PUBLIC_NAMES = {"RETRY", "Retry", "Workflow", "WorkflowContext", "on_event", "workflow"}

TOP_LEVEL = {
    "CHANGELOG.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "benchmarks",
    "django_hookflow",
    "migrations_sql",
    "pyproject.toml",
    "tests",
}


def modules() -> list[Path]:
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path.relative_to(PACKAGE).parts[0] != "migrations"]


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports_of(tree: ast.AST, package: str, *, late: bool = False) -> Iterator[tuple[str, bool]]:
    """Dotted names below ``django_hookflow`` that the code imports, each with whether a function does it."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for otherwise in node.orelse:
                yield from imports_of(otherwise, package, late=late)
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{absolute(node, package)}.{alias.name}" for alias in node.names]
        else:
            inside = late or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
            yield from imports_of(node, package, late=inside)
            continue
        for name in names:
            if name.startswith("django_hookflow."):
                yield name.removeprefix("django_hookflow."), late


def absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    base = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*base, *([node.module] if node.module else [])])


def is_allowed(part: str, imported: str, *, late: bool) -> bool:
    allowed = MAY_IMPORT[part] | LEAVES | {part, "__version__"}
    if late:
        allowed |= DOORS.get(part, set())
    if part == "demo":
        allowed |= PUBLIC_NAMES
    return any(imported == name or imported.startswith(f"{name}.") for name in allowed)


def violations(source: str, part: str, package: str) -> list[str]:
    return [
        f"{part} imports {imported}"
        for imported, late in imports_of(ast.parse(source), package)
        if not is_allowed(part, imported, late=late)
    ]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downwards(path: Path) -> None:
    part = part_of(path)
    assert part in MAY_IMPORT, f"{part} is new: give it a line in MAY_IMPORT"
    package = ".".join(path.relative_to(REPOSITORY).parent.parts)
    assert violations(path.read_text(encoding="utf-8"), part, package) == []


def test_a_leaf_imports_the_rest_only_through_its_door() -> None:
    for leaf in LEAVES:
        for imported in ("events", "runtime.trigger", "delivery", "admin"):
            assert not is_allowed(leaf, imported, late=False)
    assert is_allowed("registry", "runtime.trigger", late=True)
    assert not is_allowed("conf", "runtime.trigger", late=True)


@pytest.mark.parametrize(
    ("part", "source"),
    [
        ("delivery", "from django_hookflow.runtime.turn import run_turn"),
        ("delivery", "def send():\n    from django_hookflow.runtime import turn"),
        ("delivery", "from django_hookflow import runtime"),
        ("delivery", "try:\n    import django_hookflow.runtime\nexcept ImportError:\n    pass"),
        ("events", "from ..projections import ranges"),
        ("events", "async def f():\n    import django_hookflow.delivery.outbox"),
        ("projections", "class C:\n    from django_hookflow.delivery import outbox"),
        ("runtime", "from django_hookflow.delivery.relay import Relay"),
        ("registry", "from django_hookflow.runtime.trigger import trigger"),
        ("admin", "from django_hookflow.delivery import outbox"),
    ],
)
def test_every_way_of_importing_is_seen(part: str, source: str) -> None:
    assert len(violations(source, part, f"django_hookflow.{part}")) == 1


def test_types_may_be_named_without_being_imported() -> None:
    source = "if TYPE_CHECKING:\n    from django_hookflow.runtime.context import WorkflowContext"
    assert violations(source, "registry", "django_hookflow") == []


def test_the_top_level_holds_what_was_agreed() -> None:
    names = {Path(name).parts[0] for name in files_of_the_project()}
    assert {name for name in names if not name.startswith(".")} <= TOP_LEVEL


def test_one_name_of_a_class_stands_for_one_thing() -> None:
    """But for those whose name is given: Django's commands."""
    counted = Counter(
        node.name
        for path in modules()
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert {name for name, number in counted.items() if number > 1} == {"Command"}
