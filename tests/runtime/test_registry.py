"""Which functions may be workflows, and that two of them never share an id."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from django_hookflow import Retry, Workflow, WorkflowContext, registry, workflow
from django_hookflow.registry import InvalidWorkflow, get_workflow


@pytest.fixture(autouse=True)
def _nothing_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_workflows", "_places"):
        monkeypatch.setattr(registry, name, dict(vars(registry)[name]))


Load = Callable[[str], ModuleType]
_numbers = iter(range(1_000_000))


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Imports a module of this text."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def load(text: str) -> ModuleType:
        name = f"registered_{next(_numbers)}"
        (tmp_path / f"{name}.py").write_text(f"from django_hookflow import workflow\n{text}")
        importlib.invalidate_caches()
        return importlib.import_module(name)

    return load


BARE = "def bare(function):\n    def inner(ctx):\n        return function(ctx)\n    return inner\n"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("@workflow\ndef pay(ctx): ...\n@workflow\ndef pay(ctx): return 2\n", "pay"),
        (f"{BARE}@workflow\n@bare\ndef one(ctx): ...\n@workflow\n@bare\ndef two(ctx): ...\n", "bare.<locals>.inner"),
        ("one = workflow(lambda ctx: 1)\ntwo = workflow(lambda ctx: 2)\n", "<lambda>"),
        ("def make(n):\n    @workflow\n    def made(ctx): return n\nmake(1)\nmake(2)\n", "make.<locals>.made"),
        (f"{BARE}for n in 'ab':\n    workflow(workflow_id='tests.given')(bare(n))\n", "bare.<locals>.inner"),
        (
            "import functools\nfor n in 'ab':\n    workflow(workflow_id='tests.partial')(functools.partial(print, n))\n",
            "",
        ),
    ],
    ids=["defined twice", "decorator without wraps", "lambdas", "made by a function", "id given twice", "partials"],
)
def test_two_functions_with_one_id_are_refused_with_the_reason(load: Load, text: str, name: str) -> None:
    with pytest.raises(InvalidWorkflow, match=r"(is taken by|cannot stand in a URL)") as refusal:
        load(text)
    assert name in str(refusal.value)
    if "taken" in str(refusal.value):
        assert "functools.wraps" in str(refusal.value)


def test_two_modules_of_one_name_are_refused(load: Load, tmp_path: Path) -> None:
    first = load("@workflow\ndef pay(ctx): ...\n")
    other = tmp_path / "other.py"
    other.write_text("from django_hookflow import workflow\n@workflow\ndef pay(ctx): ...\n")
    spec = importlib.util.spec_from_file_location(first.__name__, other)
    assert spec is not None
    assert spec.loader is not None
    with pytest.raises(InvalidWorkflow, match="is taken by"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


@pytest.mark.parametrize(
    "text",
    [
        "@workflow\ndef pay(ctx): return 1\n",
        f"{BARE}@workflow(workflow_id='tests.reloaded')\n@bare\ndef pay(ctx): return 1\n",
        "def make(n):\n    @workflow(workflow_id='tests.remade')\n    def made(ctx): return n\n    return made\npay = make(1)\n",
    ],
    ids=["plain", "decorated", "made"],
)
def test_a_module_that_is_executed_again_registers_again(load: Load, text: str) -> None:
    module = load(text)
    first = module.pay
    Path(str(module.__file__)).write_text(f"# changed\nfrom django_hookflow import workflow\n\n{text}")
    importlib.invalidate_caches()
    reloaded = importlib.reload(module)
    assert get_workflow(first.workflow_id) is reloaded.pay is not first
    del sys.modules[module.__name__]
    again = importlib.import_module(module.__name__)
    assert get_workflow(first.workflow_id) is again.pay is not reloaded


def test_an_interactive_session_defines_again() -> None:
    session: dict[str, Any] = {"__name__": "__main__", "workflow": workflow}
    for number in (1, 2):
        exec(f"@workflow(workflow_id='tests.typed')\ndef typed(ctx): return {number}", session)
    assert get_workflow("tests.typed").function(None) == 2  # type: ignore[arg-type]


def test_the_same_function_twice_is_one() -> None:
    def pay(ctx: WorkflowContext) -> None: ...

    assert workflow(pay).workflow_id == workflow(timeout=5)(pay).workflow_id


def add(extra: int, ctx: Any) -> int:
    return extra


class Adding:
    function = "no function"

    def __init__(self) -> None:
        self.workflow_id = "not this one"

    def __call__(self, ctx: WorkflowContext) -> int:
        return 1

    def method(self, ctx: WorkflowContext) -> int:
        return 2


class LaterAdding:
    async def __call__(self, ctx: WorkflowContext) -> int:
        return 1


def test_partials_callable_objects_and_methods_work_under_an_id() -> None:
    functions: list[Any] = [functools.partial(add, 1), Adding(), Adding().method]
    for number, function in enumerate(functions):
        made: Workflow = workflow(workflow_id=f"tests.callable.{number}")(function)
        assert made.workflow_id == f"tests.callable.{number}"
        assert made.function == function
        assert made(None) in (1, 2)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (functools.partial(add, 1), "has no name to use as its ID: set one with @workflow(workflow_id=…)"),
        (Adding(), "has no name to make an id of"),
        ("tests.named", "is not a function: use @workflow, or @workflow(workflow_id=…)"),
        (Adding, "is not a function"),
        (LaterAdding(), "has no name to make an id of"),
    ],
)
def test_what_cannot_be_a_workflow_says_why(function: Any, problem: str) -> None:
    with pytest.raises(InvalidWorkflow) as refusal:
        workflow(function)
    assert problem in str(refusal.value)


@pytest.mark.parametrize("timeout", [float("inf"), float("nan"), 1e300, 10**400, 11 * 366 * 86_400, 0, -1, True, "60"])
def test_a_timeout_that_no_run_can_have_is_refused_where_it_is_written(timeout: Any) -> None:
    with pytest.raises(InvalidWorkflow, match="a number of seconds or a timedelta, above 0 and at most ten years"):
        workflow(timeout=timeout)(lambda ctx: None)


@pytest.mark.parametrize(
    "policy",
    [
        {"max_attempts": float("inf")},
        {"max_attempts": 2.5},
        {"max_attempts": 2**31},
        {"max_attempts": True},
        {"max_attempts": 0},
        {"max_delay": float("inf")},
        {"first_delay": float("nan")},
        {"jitter": float("nan")},
        {"non_retryable": ValueError},
        {"non_retryable": ("ValueError",)},
    ],
    ids=str,
)
def test_a_policy_that_would_fail_at_the_first_failure_is_refused_where_it_is_written(policy: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(policy))):
        Retry(**policy)


def test_what_is_no_policy_is_refused_where_it_is_written() -> None:
    policy: Any = 3
    with pytest.raises(InvalidWorkflow, match=r"retry must be a django_hookflow\.Retry, not 3"):
        workflow(retry=policy)(lambda ctx: None)
