"""No circle of modules: following imports, also those inside functions, one never comes back to where one was.

A package and the modules in it are different things here: what counts is whose code has to be there first.
"""

from __future__ import annotations

import ast

from tests.checkout import REPOSITORY
from tests.test_layers import imports_of, modules

Imports = dict[str, set[str]]

#: Imports that would close a circle, each inside a function, with the reason why it may. Nothing else may.
DOORS = {
    ("models", "runtime.operating"): "run.cancel(), pause(), resume(), … and entry.replay() are what users call",
    ("models", "runtime.signalling"): "run.signal() is what users call",
    ("models", "runtime.redaction"): "run.redact() and event.redact() are what users call",
    ("models", "projections.as_of"): "WorkflowRun.objects.as_of() and run.as_of() are what users call",
}


def names() -> dict[str, str]:
    """The source of each module, by its dotted name below the package; the package itself is ``__init__``."""
    found = {}
    for path in modules():
        parts = path.relative_to(REPOSITORY / "django_hookflow").with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
        found[name] = path.read_text(encoding="utf-8")
    return found


def imports(sources: dict[str, str], *, late: bool | None = None) -> Imports:
    """Which modules each imports; with ``late``, only inside functions, or only outside of them."""
    found: Imports = {name: set() for name in sources}
    for name, source in sources.items():
        is_package = any(other.startswith(f"{name}.") for other in sources)
        package = "django_hookflow" if name == "__init__" else f"django_hookflow.{name}"
        package = package if is_package or name == "__init__" else package.rpartition(".")[0]
        for imported, is_late in imports_of(ast.parse(source), package):
            while imported and imported not in sources:
                imported = imported.rpartition(".")[0]  # a name in a module
            if imported and imported != name and late in (None, is_late):
                found[name].add(imported)
    return found


def circles(graph: Imports) -> list[list[str]]:
    """Modules that import each other, directly or by way of others, each group once."""
    reached = {name: _reached(graph, name) for name in graph}
    groups = [sorted(other for other in reached[name] if name in reached[other]) for name in sorted(graph)]
    return [group for place, group in enumerate(groups) if group and group not in groups[:place]]


def without(graph: Imports, doors: set[tuple[str, str]]) -> Imports:
    return {name: {other for other in imported if (name, other) not in doors} for name, imported in graph.items()}


def _reached(graph: Imports, start: str) -> set[str]:
    reached: set[str] = set()
    ahead = [start]
    while ahead:
        for name in graph[ahead.pop()] - reached:
            reached.add(name)
            ahead.append(name)
    return reached


def test_no_module_is_imported_by_what_it_imports() -> None:
    assert circles(without(imports(names()), set(DOORS))) == [], "move what is shared, or say in DOORS why it may"


def test_every_door_is_inside_a_function_and_needed() -> None:
    sources = names()
    graph, late, early = imports(sources), imports(sources, late=True), imports(sources, late=False)
    for door in DOORS:
        module, imported = door
        assert imported in late[module], f"{door} is no import any more: take it off the list"
        assert imported not in early[module], f"{door} is open when the module is loaded"
        assert circles(without(graph, set(DOORS) - {door})), f"{door} closes no circle: take it off the list"


def test_what_lies_below_the_models_does_not_import_them() -> None:
    assert not [
        name for name, imported in imports(names()).items() if name.startswith("events") and "models" in imported
    ]


def test_circles_are_seen_however_they_are_closed() -> None:
    sources = {
        "__init__": "",
        "a": "import django_hookflow.b.c",
        "b": "",
        "b.c": "def f():\n    from ..d import thing",
        "d": "class D:\n    def g(self):\n        from django_hookflow import a",
        "e": "from django_hookflow.a import x\nif TYPE_CHECKING:\n    from django_hookflow.f import y",
        "f": "from django_hookflow import e",
    }
    assert circles(imports(sources)) == [["a", "b.c", "d"]]
