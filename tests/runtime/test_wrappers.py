"""What a project puts around work: what it is told, in which order, and what comes of an error in it."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import pytest
from django.core.checks import run_checks
from django.db import connection

from django_hookflow import Retry, WorkflowContext, workflow
from django_hookflow.conf import InvalidSetting
from django_hookflow.delivery.messages import Message
from django_hookflow.delivery.relay import Relay
from django_hookflow.exceptions import StepCompleted
from django_hookflow.models import DeadLetterEntry, OutboxMessage, WorkflowEvent, WorkflowRun
from django_hookflow.runtime.receiving import receive
from django_hookflow.testing import Hookflow
from django_hookflow.wrappers import Work
from tests.runtime.conftest import Project

pytestmark = pytest.mark.django_db(transaction=True)

Call = Callable[[], Any]


class Noted:
    """Writes down what it is told."""

    seen: list[tuple[str, Work]]

    def __init__(self, name: str = "a") -> None:
        self.name = name

    def turn(self, work: Work, call: Call) -> Any:
        return self.note(work, call)

    def step(self, work: Work, call: Call) -> Any:
        return self.note(work, call)

    def send(self, work: Work, call: Call) -> Any:
        return self.note(work, call)

    def note(self, work: Work, call: Call) -> Any:
        self.seen.append((self.name, work))
        try:
            return call()
        finally:
            self.seen.append((f"/{self.name}", work))


class OnlySteps:
    """Does with steps what a test says."""

    def __init__(self, step: Callable[[Work, Call], Any]) -> None:
        self.step = step


@pytest.fixture
def seen() -> list[tuple[str, Work]]:
    Noted.seen = []
    return Noted.seen


def names(seen: list[tuple[str, Work]]) -> list[str]:
    return [f"{name} {work.what}{' ' + work.step_id if work.step_id else ''}" for name, work in seen]


class TestWhatItIsTold:
    def test_the_turn_and_its_steps(self, hookflow: Hookflow, project: Project, seen: list[Any]) -> None:
        project.use(Noted=Noted)

        @workflow(workflow_id="tests.wrappers.told", retry=Retry(first_delay=1))
        def told(ctx: WorkflowContext) -> str:
            ctx.step.run("one", lambda: 1)
            ctx.step.sleep("pause", 60)
            ctx.step.atomic("two", flaky)
            return "done"

        failures = iter([ConnectionError("away")])

        def flaky() -> None:
            for failure in failures:
                raise failure

        run_id = told.trigger({"tenant": "t1", "secret": "s"}, "run-1", label="Order 1")
        assert hookflow.drive(run_id).status == "completed"
        works = [work for name, work in seen if name == "a"]
        assert [(w.what, w.kind, w.step_id, w.attempt) for w in works] == [
            ("turn", "turn", None, 1),
            ("step", "run", "one", 1),
            ("turn", "turn", None, 1),
            ("step", "atomic", "two", 1),
            ("turn", "turn", None, 1),
            ("step", "atomic", "two", 2),
        ], "what is recorded is not done again"
        assert {(w.workflow_id, w.run_id, w.label) for w in works} == {("tests.wrappers.told", "run-1", "Order 1")}
        assert all(w.data == {"tenant": "t1", "secret": "s"} for w in works)
        assert "secret" not in repr(works)

    def test_the_attempts_of_a_turn(self, hookflow: Hookflow, project: Project, seen: list[Any]) -> None:
        project.use(Noted=Noted)

        @workflow(workflow_id="tests.wrappers.between")
        def between(ctx: WorkflowContext) -> None:
            raise ConnectionError("between steps")

        assert hookflow.run(between).status == "failed"
        assert [work.attempt for name, work in seen if name == "a"] == [1, 2, 3, 4]

    def test_a_message(self, settings: Any, project: Project, seen: list[Any]) -> None:
        settings.DJANGO_HOOKFLOW_TRANSPORT = "inline"
        project.use(Noted=Noted)

        @workflow(workflow_id="tests.wrappers.sent")
        def sent(ctx: WorkflowContext) -> int:
            return ctx.step.run("one", lambda: 1)

        sent.trigger({"secret": 1}, "run-1")
        Relay("inline", receive, concurrency=1).run_once()
        assert WorkflowRun.objects.get().status == "completed"
        assert names(seen) == ["a send", "a turn", "a step one", "/a step one", "/a turn", "/a send"]
        work = seen[0][1]
        assert (work.workflow_id, work.run_id, work.kind, work.attempt) == (sent.workflow_id, "run-1", "turn", 1)
        assert (work.data, type(work.message)) == ({}, Message)

    def test_the_first_of_the_list_is_the_outermost(
        self, hookflow: Hookflow, project: Project, seen: list[Any]
    ) -> None:
        project.use(a=Noted("a"), b=Noted("b"))
        hookflow.run(workflow(workflow_id="tests.wrappers.order")(lambda ctx: ctx.step.run("s", lambda: 1)))
        inside = ["a step s", "b step s", "/b step s", "/a step s"]
        assert names(seen) == ["a turn", "b turn", *inside, "/b turn", "/a turn"]

    def test_signals_that_end_a_turn_pass_through(self, hookflow: Hookflow, project: Project) -> None:
        caught: list[BaseException] = []

        class Reports:
            def turn(self, work: Work, call: Call) -> Any:
                try:
                    return call()
                except Exception as error:
                    caught.append(error)
                    raise
                except StepCompleted:
                    caught.append(StepCompleted("x"))
                    raise

        project.use(Reports=Reports)

        @workflow(workflow_id="tests.wrappers.signals", retry=Retry(max_attempts=1))
        def signals(ctx: WorkflowContext) -> None:
            ctx.step.sleep("pause", 1)
            raise OSError("no disk")

        assert hookflow.run(signals).status == "failed"
        assert [type(error) for error in caught] == [StepCompleted, OSError]

    def test_an_atomic_step_is_wrapped_in_its_transaction(self, hookflow: Hookflow, project: Project) -> None:
        inside: list[tuple[str, bool]] = []

        def step(work: Work, call: Call) -> Any:
            inside.append((work.kind, connection.in_atomic_block))
            return call()

        project.use(w=OnlySteps(step))

        @workflow(workflow_id="tests.wrappers.transaction")
        def both(ctx: WorkflowContext) -> None:
            ctx.step.run("run", lambda: None)
            ctx.step.atomic("atomic", lambda: None)

        hookflow.run(both)
        assert inside == [("run", False), ("atomic", True)]


class TestErrors:
    def run(self, hookflow: Hookflow, project: Project, wrapper: Any) -> WorkflowRun:
        project.use(w=wrapper)

        @workflow(workflow_id="tests.wrappers.errors")
        def errors(ctx: WorkflowContext) -> Any:
            return ctx.step.run("s", lambda: 1)

        return hookflow.run(errors)

    def test_in_a_step_it_is_a_failure_of_the_attempt(self, hookflow: Hookflow, project: Project) -> None:
        failures = iter([ConnectionError("no tenant yet")])

        def step(work: Work, call: Call) -> Any:
            for failure in failures:
                raise failure
            return call()

        run = self.run(hookflow, project, OnlySteps(step))
        assert (run.status, run.result) == ("completed", 1)
        [failed] = WorkflowEvent.objects.filter(type="step.failed")
        assert failed.payload["message"] == "no tenant yet"

    def test_in_a_turn_it_is_a_failure_of_the_workflow(self, hookflow: Hookflow, project: Project) -> None:
        class Refuses:
            def turn(self, work: Work, call: Call) -> Any:
                raise ValueError("no such tenant")

        run = self.run(hookflow, project, Refuses())
        assert (run.status, run.error_message) == ("failed", "no such tenant")
        assert DeadLetterEntry.objects.get().step_id == ""

    def test_after_the_work_it_is_one_too(self, hookflow: Hookflow, project: Project) -> None:
        def step(work: Work, call: Call) -> Any:
            call()
            raise ValueError("refused afterwards")

        assert "refused afterwards" in self.run(hookflow, project, OnlySteps(step)).error_message

    @pytest.mark.parametrize("method", ["turn", "step"])
    def test_a_result_that_is_forgotten(self, hookflow: Hookflow, project: Project, method: str) -> None:
        def forgets(work: Work, call: Call) -> None:
            call()

        run = self.run(hookflow, project, types.SimpleNamespace(**{method: forgets}))
        assert run.status == "failed"
        assert "returned None, but the wrapped work did not: return call()" in run.error_message

    def test_a_result_may_be_another(self, hookflow: Hookflow, project: Project) -> None:
        assert self.run(hookflow, project, OnlySteps(lambda work, call: call() + 1)).result == 2

    def test_in_a_send_the_message_is_sent_again(self, settings: Any, project: Project) -> None:
        settings.DJANGO_HOOKFLOW_TRANSPORT = "inline"
        failures = iter([KeyError("tracer")])

        class Sends:
            def send(self, work: Work, call: Call) -> Any:
                for failure in failures:
                    raise failure
                return call()

        project.use(w=Sends())
        sent = workflow(workflow_id="tests.wrappers.resent")(lambda ctx: 1)
        sent.trigger()
        relay = Relay("inline", receive, concurrency=1)
        relay.run_once()
        assert (relay.failed, OutboxMessage.objects.count()) == (1, 1)
        with Hookflow() as kit:
            kit.advance(60)
            Relay("inline", receive, concurrency=1).run_once()
        assert WorkflowRun.objects.get().status == "completed"

    def test_in_a_send_of_the_stateless_mode(self, settings: Any, project: Project) -> None:
        """The message by which the turn came is delivered again."""
        settings.DJANGO_HOOKFLOW_PERSISTENCE_ENABLED = False
        failures = iter([KeyError("tracer")])

        class Sends:
            def send(self, work: Work, call: Call) -> Any:
                if work.message.seq > 1:
                    for failure in failures:
                        raise failure
                return call()

        project.use(w=Sends())

        @workflow(workflow_id="tests.wrappers.stateless")
        def stateless(ctx: WorkflowContext) -> int:
            ctx.step.sleep("pause", 5)
            return 3

        with Hookflow() as kit:
            assert kit.run(stateless).result == 3
        assert list(failures) == []


BAD = {
    "missing": ("project_of_nobody.Wrapper", "cannot be loaded (ModuleNotFoundError"),
    "no_dot": ("wrapper", "cannot be loaded (ImportError"),
    "empty": ("", "cannot be loaded (ImportError"),
    "useless": ("decimal.Decimal", "which has none of these methods"),
    "function": ("json.dumps", "which has none of these methods"),
}


@workflow(workflow_id="tests.wrappers.bad")
def bad(ctx: WorkflowContext) -> None:
    """Does nothing, once its wrappers can be had."""


class TestSetting:
    @pytest.mark.parametrize("name", BAD)
    def test_what_cannot_be_had(self, settings: Any, name: str) -> None:
        """Nothing is touched: the message is delivered again when that has been put right."""
        path, problem = BAD[name]
        settings.DJANGO_HOOKFLOW_WRAPPERS = [path]
        [found] = [each for each in run_checks() if each.id == "django_hookflow.E012"]
        assert problem in found.msg
        assert str(found.hint).startswith(
            "List dotted paths of classes or objects with any of the methods turn, step, send"
        )
        settings.DJANGO_HOOKFLOW_WRAPPERS = []
        run_id = bad.trigger()
        settings.DJANGO_HOOKFLOW_WRAPPERS = [path]
        with pytest.raises(InvalidSetting, match="DJANGO_HOOKFLOW_WRAPPERS names "):
            receive("turn", bad.workflow_id, run_id, 1)
        assert WorkflowEvent.objects.count() == 1

    def test_a_class_that_cannot_be_made(self, project: Project) -> None:
        class Breaks:
            def __init__(self) -> None:
                raise RuntimeError("no licence")

        project.use(Breaks=Breaks)
        [found] = [each for each in run_checks() if each.id == "django_hookflow.E012"]
        assert "RuntimeError: no licence" in found.msg

    @pytest.mark.parametrize("value", ["a.b", None, {"a.b"}, [1], [None], 3])
    def test_what_is_no_list_of_paths(self, settings: Any, value: Any) -> None:
        settings.DJANGO_HOOKFLOW_WRAPPERS = value
        found = [each for each in run_checks() if "WRAPPERS" in each.msg]
        assert [(each.id, each.hint) for each in found] == [
            ("django_hookflow.E001", "Set it to a list of dotted paths.")
        ]

    def test_none_is_needed(self) -> None:
        assert [each for each in run_checks() if each.id == "django_hookflow.E012"] == []


def test_the_kit_stays_inside_of_what_the_project_has(hookflow: Hookflow, project: Project, seen: list[Any]) -> None:
    project.use(Noted=Noted)
    stubbed = workflow(workflow_id="tests.wrappers.kit")(lambda ctx: ctx.step.run("s", lambda: 1))
    hookflow.stub("s", 2)
    assert hookflow.run(stubbed).result == 2
    assert names(seen) == ["a turn", "a step s", "/a step s", "/a turn"]
