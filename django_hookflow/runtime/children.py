"""Runs that begin with an event of another run: the child that a step waits for, and the run that goes on in its place."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from django_hookflow import registry, sealing
from django_hookflow.conf import conf
from django_hookflow.events import codec
from django_hookflow.events.log import NewRun
from django_hookflow.exceptions import ChildConflict, WorkflowError
from django_hookflow.registry import Workflow
from django_hookflow.runtime import failures
from django_hookflow.runtime.step import cause_of, payload_of
from django_hookflow.runtime.trigger import uuid7
from django_hookflow.texts import MAX_RUN_ID, checked_run_id

if TYPE_CHECKING:
    from django_hookflow.runtime.execution import Execution
    from django_hookflow.runtime.history import History, ReceivedSignal

#: What becomes of a child that nothing waits for any more.
OnCancel = Literal["cancel", "abandon"]

#: What a run that goes on as another hands down of where it comes from, and of what it was started with.
_OF_ORIGIN = ("parent", "step", "key", "on_cancel")
_OF_TRIGGER = ("timeout", "subject", "trace")


def new_child(
    execution: Execution, step_id: str, workflow: Any, data: Any, run_id: str | None, on_cancel: OnCancel
) -> NewRun:
    """The run that a step is to start. Raises what refuses it, before anything is written."""
    if on_cancel not in ("cancel", "abandon"):
        raise ValueError(f"step {step_id!r}: on_cancel must be 'cancel' or 'abandon', not {on_cancel!r}")
    child = _checked_workflow(step_id, workflow)
    encoded = encoded_data(data)
    parent_id = execution.history.begun["run_id"]
    child_id = _child_id(parent_id, step_id, execution.history) if run_id is None else checked_run_id(run_id)
    origin = {"kind": "child", "parent": str(execution.journal.run_uid), "run_id": parent_id}
    origin |= {"step": step_id, "key": child_id}
    if on_cancel == "abandon":
        origin["on_cancel"] = on_cancel
    more = f'"step":{json.dumps(step_id)},"refusal":{_refusal(step_id, child_id)}'
    return _new_run(
        uuid7(), child_id, child.workflow_id, {"timeout": child.timeout, "origin": origin}, encoded, "", more
    )


@dataclass(frozen=True)
class Continuation:
    """What a workflow returns to have a new run go on in its place; ``encoded`` is its data, JSON text."""

    encoded: str


def successor_of(execution: Execution, workflow_id: str, continuation: Continuation) -> NewRun:
    """The run that goes on in the place of this one: with its label, unique key, subjects and timeout, and the signals that
    nobody has taken."""
    history, run_uid = execution.history, uuid7()
    begun = history.begun
    origin = begun.get("origin") or {}
    new_id = _next_id(begun["run_id"], is_successor=origin.get("kind") == "continued")
    facts = {name: begun[name] for name in _OF_TRIGGER if name in begun}
    inherited = {name: origin[name] for name in _OF_ORIGIN if name in origin}
    facts["origin"] = {"kind": "continued", "run_id": begun["run_id"], **inherited}
    signals = [_carried(execution, run_uid, signal) for signal in history.untaken_signals()]
    more = f'"unique":{json.dumps(begun.get("unique"))},"signals":[{",".join(signals)}]'
    return _new_run(run_uid, new_id, workflow_id, facts, continuation.encoded, history.label, more)


def encoded_data(data: Any) -> str:
    """The JSON text of what a run is to be started with. Raises WorkflowError and NotSerializable, as ``trigger`` does."""
    if data is not None and not isinstance(data, dict):
        raise WorkflowError(f"the data of a run must be a dict, not {type(data).__name__}: {data!r:.80}")
    return codec.encode(data or {}, path="data", limit=conf.max_payload_size)


def _new_run(
    run_uid: UUID, run_id: str, workflow_id: str, facts: dict[str, Any], encoded: str, label: str, more: str
) -> NewRun:
    text = json.dumps({name: fact for name, fact in facts.items() if fact}, ensure_ascii=False)
    labelled = f',"label":{json.dumps(label)}' if label else ""
    payload = f'{{"data":{sealing.seal(run_uid, encoded)}{labelled}}}'
    return NewRun(run_uid, run_id, workflow_id, text, payload, more, facts.get("timeout"))


def _checked_workflow(step_id: str, workflow: Any) -> Workflow:
    if isinstance(workflow, str):
        return registry.get_workflow(workflow)
    if not isinstance(workflow, Workflow):
        raise TypeError(
            f"step {step_id!r}: {workflow!r:.100} is not a workflow: pass a function decorated with @workflow, or a "
            "workflow ID"
        )
    return workflow


def _child_id(parent_id: str, step_id: str, history: History) -> str:
    """The id of the run that a step starts: another one each time that what is recorded of the step was taken back."""
    names = f"{parent_id}\n{step_id}\n{history.superseded[step_id]}"
    return _shortened(f"{parent_id}:{step_id}", f"-{hashlib.sha256(names.encode()).hexdigest()[:8]}")


def _next_id(run_id: str, *, is_successor: bool) -> str:
    """``order~2`` after ``order``, ``order~3`` after that."""
    root, number = run_id, 1
    if is_successor:
        root, _, last = run_id.rpartition("~")
        number = int(last)
    ending = f"~{number + 1}"
    if len(_as_json(root + ending)) > MAX_RUN_ID:
        root = _shortened(root, f"-{hashlib.sha256(root.encode()).hexdigest()[:8]}", room=20)
    return root + ending


def _shortened(text: str, ending: str, room: int = 0) -> str:
    """``text`` and ``ending``, with as much of the text as a run id has room for."""
    while len(_as_json(text + ending)) > MAX_RUN_ID - room:
        text = text[:-1]
    return text + ending


def _as_json(text: str) -> bytes:
    return json.dumps(text, ensure_ascii=False).encode()[1:-1]


def _refusal(step_id: str, child_id: str) -> str:
    """What the step comes to if its child's id belongs to another run: facts and payload of its failure, as JSON."""
    failure = failures.describe(ChildConflict(step_id, child_id))
    return f'{{"facts":{json.dumps(cause_of(failure, step_id))},"payload":{payload_of(failure)}}}'


def _carried(execution: Execution, run_uid: UUID, signal: ReceivedSignal) -> str:
    """A signal as the next run is sent it: a copy, sealed for that run where it was for this one."""
    if conf.seal is None or signal.payload is None:
        return f'{{"seq":{signal.seq}}}'
    value = json.dumps(execution.opened(json.loads(signal.payload)["value"]), ensure_ascii=False)
    return f'{{"seq":{signal.seq},"payload":{{"value":{sealing.seal(run_uid, value)}}}}}'
