"""The stateless mode in a test: what is to be published stays in the process, and is delivered by hand."""

from __future__ import annotations

import json

from django_hookflow import registry
from django_hookflow.clock import clock
from django_hookflow.delivery import carrying
from django_hookflow.delivery.messages import Message
from django_hookflow.events import codec, types
from django_hookflow.exceptions import UnknownRun
from django_hookflow.models import WorkflowRun, WorkflowRunStatus
from django_hookflow.runtime.stateless import MessageJournal
from django_hookflow.runtime.turn import Turn
from django_hookflow.wrappers import WorkerGone


class Postbox:
    """The last message of each run."""

    def __init__(self) -> None:
        self._last: dict[str, Message] = {}

    def keep(self, message: Message) -> None:
        self._last[message.run_id] = message

    def is_empty_for(self, run_id: str) -> bool:
        return run_id not in self._last

    def deliver(self, run_id: str) -> WorkflowRun:
        """Delivers the run's message at the time it is due. The run as it then is, of which nothing is in a database.

        A message whose worker is lost stays. Raises UnknownRun when the run has none.
        """
        if self.is_empty_for(run_id):
            raise UnknownRun(run_id)
        message = self._last[run_id]
        carried = carrying.read(json.loads(message.body()))
        clock.offset += max(0.0, carried.due_at - clock.time())
        journal = MessageJournal(message.workflow_id, run_id, carried.events)
        try:
            answer = Turn(journal, registry.get_workflow(message.workflow_id)).run().answer
        except WorkerGone:
            answer = "crashed"
        if self._last[run_id] is message and answer not in ("lost", "crashed"):
            del self._last[run_id]
        status = answer if answer in WorkflowRunStatus.values else WorkflowRunStatus.RUNNING
        return _as_run(journal, status)


def _as_run(journal: MessageJournal, status: str) -> WorkflowRun:
    _, type_, _, facts, payload = json.loads(journal.texts[-1])
    run = WorkflowRun(id=journal.run_uid, run_id=journal.run_id, workflow_id=journal.workflow_id, status=status)
    if type_ == types.RUN_COMPLETED:
        run.result = codec.untag(payload["result"])
    elif type_ in (types.RUN_FAILED, types.RUN_DIVERGED):
        run.error_type, run.error_message = facts["error"], payload["message"]
    return run
