"""Ids, labels, actors, reasons and keys: checked wherever they enter, before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group
from hypothesis import given
from hypothesis import strategies as st

from django_hookflow import WorkflowContext, texts, workflow
from django_hookflow.exceptions import HookFlowException, InvalidText, WorkflowError
from django_hookflow.models import DeadLetterEntry, WorkflowEvent, WorkflowRun
from django_hookflow.runtime import operating
from django_hookflow.testing import Hookflow
from tests.log.calls import ask

pytestmark = pytest.mark.django_db(transaction=True)


class Odd(str):
    """A text that gives itself out for another."""

    __slots__ = ()

    def __str__(self) -> str:
        return "\x00"

    def __len__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = str.__hash__

    def isprintable(self) -> bool:
        return True


@workflow(workflow_id="tests.texts")
def failing(ctx: WorkflowContext) -> None:
    ctx.step.run("work", lambda: int("nothing"))


@workflow(workflow_id="tests.texts.napping")
def napping(ctx: WorkflowContext) -> None:
    ctx.step.sleep("nap", 60)


BAD: dict[str, Any] = {
    "NUL": "a\x00b",
    "half a pair": "a\ud800b",
    "the other half": "\udfff",
    "a number": 7,
    "bytes": b"text",
    "a list": ["text"],
    "too long": "x" * 10_001,
    "a subclass with NUL": Odd("a\x00b"),
    "a subclass that is too long": Odd("x" * 10_001),
}
#: Bad where one line is wanted.
UNPRINTABLE = {"a line break": "a\nb", "an escape": "\x1b[2J", "right to left": "a\u202eb", "256 characters": "x" * 256}

ENTRANCES: dict[str, Callable[[Any], Any]] = {
    "trigger, run id": lambda text: failing.trigger({}, text),
    "trigger, label": lambda text: failing.trigger({}, label=text),
    "trigger, actor": lambda text: failing.trigger({}, actor=text),
    "cancel, actor": lambda text: sleeper().cancel(actor=text),
    "cancel, reason": lambda text: sleeper().cancel(reason=text),
    "pause, actor": lambda text: sleeper().pause(actor=text),
    "pause, reason": lambda text: sleeper().pause(reason=text),
    "resume, reason": lambda text: sleeper().resume(reason=text),
    "wake, reason": lambda text: sleeper().wake(reason=text),
    "wake, actor": lambda text: sleeper().wake(actor=text),
    "rewind, reason": lambda text: sleeper().rewind(to_step="nap", reason=text),
    "rewind, actor": lambda text: sleeper().rewind(to_step="nap", actor=text),
    "rewind, step": lambda text: sleeper().rewind(to_step=text),
    "resolve, reason": lambda text: sleeper().resolve("nap", result=1, reason=text),
    "resolve, step": lambda text: sleeper().resolve(text, result=1),
    "replay, reason": lambda text: entry().replay(reason=text),
    "replay, actor": lambda text: entry().replay(actor=text),
    "restart, reason": lambda text: entry().replay(from_start=True, reason=text),
    "restart, actor": lambda text: entry().replay(from_start=True, actor=text),
    "replay of many, reason": lambda text: DeadLetterEntry.objects.all().replay(reason=text),
    "replay of many, actor": lambda text: DeadLetterEntry.objects.all().replay(actor=text),
    "rebuild, reason": lambda text: operating.rebuild(sleeper(), actor=None, reason=text),
    "rebuild, actor": lambda text: operating.rebuild(sleeper(), actor=text, reason=""),
    "redact, reason": lambda text: failed().redact(reason=text),
    "redact, actor": lambda text: failed().redact(reason="asked to", actor=text),
    "redact, path": lambda text: failed().redact(reason="asked to", path=["data", text]),
    "redact an event, actor": lambda text: failed().events.get(seq=1).redact(reason="asked to", actor=text),
}
ONE_LINE = [name for name in ENTRANCES if not name.endswith(("reason", "path"))]


def sleeper() -> WorkflowRun:
    return WorkflowRun.objects.get(workflow_id=napping.workflow_id)


def failed() -> WorkflowRun:
    return WorkflowRun.objects.get(workflow_id=failing.workflow_id)


def entry() -> DeadLetterEntry:
    return DeadLetterEntry.objects.get()


@pytest.fixture
def runs(hookflow: Hookflow) -> None:
    for each in (failing, napping):
        hookflow.deliver(each.trigger())


@pytest.mark.parametrize("name", ENTRANCES)
def test_what_cannot_be_kept_is_refused_with_nothing_written(runs: None, name: str) -> None:
    before = WorkflowEvent.objects.count()
    bad = {**BAD, **(UNPRINTABLE if name in ONE_LINE else {})}
    for what, text in bad.items():
        with pytest.raises(InvalidText) as error:
            ENTRANCES[name](text)
        assert isinstance(error.value, WorkflowError), what
        assert isinstance(error.value, ValueError), what
        assert len(str(error.value)) < 300, what
        str(error.value).encode()
    assert WorkflowEvent.objects.count() == before


@pytest.mark.parametrize("name", ENTRANCES)
def test_the_end_of_a_transaction_is_not_needed_to_go_on(runs: None, name: str) -> None:
    """No statement has failed."""
    from django.db import transaction

    with transaction.atomic():
        with pytest.raises(InvalidText):
            ENTRANCES[name]("a\x00b")
        assert WorkflowRun.objects.count() == 2


def test_texts_of_odd_looks_are_kept_as_they_are(hookflow: Hookflow) -> None:
    label = "Zoë's Ördér – ☃ \U0001f600 'quoted\" \\ back"
    run_id = failing.trigger({}, Odd("order-é-1"), label=Odd(label), actor=Odd("Ana María"))
    assert type(run_id) is str
    run = WorkflowRun.objects.get(run_id="order-é-1")
    run.cancel(reason=Odd("line\nafter\tline"), actor="")
    first, last = hookflow.events(run_id)
    assert (run.label, first.payload["label"], first.actor) == (label, label, "Ana María")
    assert (last.payload, last.actor) == ({"reason": "line\nafter\tline"}, None)


def test_step_ids_are_checked_alike(hookflow: Hookflow) -> None:
    refused: list[str] = []

    @workflow(workflow_id="tests.texts.steps")
    def odd_steps(ctx: WorkflowContext) -> Any:
        for step_id in ("", "a\x00", "a\ud800", "a\nb", 7, None, "x" * 256):
            try:
                ctx.step.run(step_id, lambda: None)  # type: ignore[arg-type]
            except InvalidText as error:
                refused.append(str(error))
        return ctx.step.run(Odd("x" * 255), lambda: "kept")

    run = hookflow.run(odd_steps)
    assert (run.status, run.result, len(refused)) == ("completed", "kept", 7), run.error_message


def test_what_a_run_is_about_is_in_its_first_event(hookflow: Hookflow) -> None:
    groups = [Group.objects.create(name=f"group {n}") for n in range(6)]
    run_id = failing.trigger({}, subject=groups[0])
    assert hookflow.events(run_id)[0].facts["subject"] == [{"type": "auth.group", "key": str(groups[0].pk)}]
    run_id = failing.trigger({}, subject=groups[:5])
    assert [each["key"] for each in hookflow.events(run_id)[0].facts["subject"]] == [str(g.pk) for g in groups[:5]]
    assert "subject" not in hookflow.events(failing.trigger({}, subject=[]))[0].facts
    before = WorkflowEvent.objects.count()
    for bad in (groups, Group(name="unsaved"), [groups[0], "auth.group"], [7], Group(pk="x" * 256), Group(pk="\x00")):
        with pytest.raises(WorkflowError):
            failing.trigger({}, subject=bad)  # type: ignore[arg-type]
    with pytest.raises((HookFlowException, TypeError)):
        failing.trigger({}, subject=7)  # type: ignore[arg-type]
    assert WorkflowEvent.objects.count() == before


CHECKS = {
    "run id": texts.checked_run_id,
    "step id": texts.checked_step_id,
    "label": texts.checked_label,
    "actor": texts.checked_actor,
    "reason": texts.checked_reason,
    "subject": texts.checked_subject_key,
    "path": texts.checked_path_key,
}


@given(text=st.text(alphabet=st.characters(), max_size=300) | st.text(alphabet="a\x00\ud800\n\u202e", max_size=5))
def test_what_is_accepted_is_what_postgresql_holds(text: str) -> None:
    for name, check in CHECKS.items():
        try:
            kept = check(text)
        except InvalidText as error:
            str(error).encode()
            continue
        assert kept == text or (name == "actor" and kept is None and not text)
        if kept:
            assert ask("SELECT %s::text AS kept", kept) == [{"kept": text}]
