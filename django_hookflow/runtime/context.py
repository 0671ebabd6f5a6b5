"""What a workflow function is given."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Callable
from functools import cached_property, partial
from random import Random
from typing import TYPE_CHECKING, Any

from django_hookflow.runtime.children import Continuation, encoded_data
from django_hookflow.runtime.progress import progress_event
from django_hookflow.runtime.signal_links import DEFAULT_EXPIRY, SignalLink, end_of
from django_hookflow.texts import checked_signal_id, checked_signal_name

if TYPE_CHECKING:
    from django_hookflow.runtime.execution import Execution
    from django_hookflow.runtime.steps import StepManager


class WorkflowContext:
    """``data`` the run was triggered with, its ``run_id`` and ``workflow_id``, and ``step``, which does the work.

    And what a workflow needs that is not to differ from one replay to the next: :meth:`now`, ``random``, :meth:`uuid4`.
    """

    def __init__(
        self, data: dict[str, Any], run_id: str, workflow_id: str, step: StepManager, execution: Execution
    ) -> None:
        self.data = data
        self.run_id = run_id
        self.workflow_id = workflow_id
        self.step = step
        self._execution = execution

    def signal_url(
        self,
        name: str,
        *,
        expires: float | datetime.timedelta | datetime.datetime = DEFAULT_EXPIRY,
        id: str | None = None,
    ) -> str:
        """A signed URL with which a person or a system sends this run the signal ``name``, once.

        GET shows a page with a button; POST sends the signal, whose value is the JSON or the form that is posted. ``expires``
        is seconds or a timedelta from ``ctx.now()`` on, by default seven days, or an aware datetime. Each call makes a link
        of its own, which is the same in every replay; links with one ``id`` can be used once between them.

        Raises NotConfigured without DJANGO_HOOKFLOW_DOMAIN, and NeedsLog in the stateless mode.
        """
        execution = self._execution
        execution.journal.check_has_log("ctx.signal_url")
        name, given = checked_signal_name(name), checked_signal_id(id)
        until = end_of(expires, self.now())
        return SignalLink(execution.journal.run_uid, name, given or execution.link_id(name), until).url()

    def continue_as_new(self, data: dict[str, Any] | None = None) -> Continuation:
        """What a workflow returns to end its run and have a new one, with ``data``, go on in its place.

        ``return ctx.continue_as_new({...})``, for loops without end: the log of each run stays short. The new run has this
        one's label, subjects and timeout, and is sent the signals that no step has taken. Raises as ``trigger`` does.
        """
        self._execution.journal.check_has_log("ctx.continue_as_new")
        return Continuation(encoded_data(data))

    def __repr__(self) -> str:
        return f"<WorkflowContext {self.workflow_id} {self.run_id}>"

    def now(self) -> datetime.datetime:
        """When the newest step that the workflow has the outcome of came to it, by the log; in UTC.

        Before the first step it is when the run began to be worked on. So it is the same on every replay and never goes
        back; between two steps it stands still.
        """
        return self._execution.now()

    def progress(self, done: float, total: float | None = None, note: str = "") -> None:
        """Says how far the run is, for its page, the terminal and ``run.progress``.

        It is recorded with the next step, or by itself if the last time is more than a second ago. A replay records nothing
        again. Raises TypeError or ValueError for what are no numbers from 0 on, or more done than there is.
        """
        self._execution.progress(progress_event(done, total, note))

    @cached_property
    def random(self) -> Random:
        """Random numbers that are the same on every replay: what is drawn depends on the run and on how much was drawn before.

        Who knows the run can compute them, so they are nothing for secrets; draw those inside a step. Raises MisplacedStep
        inside a step, which a replay does not run.
        """
        return _random_of_run(self._execution, "random")

    def uuid4(self) -> uuid.UUID:
        """A UUID that is the same on every replay; as :attr:`random`, whose numbers it leaves alone."""
        return uuid.UUID(int=self._uuids.getrandbits(128), version=4)

    @cached_property
    def _uuids(self) -> Random:
        return _random_of_run(self._execution, "uuid4()")


class RandomOfRun(Random):
    """Numbers for the workflow itself to draw and not for its steps."""

    def __init__(self, seed: str) -> None:
        super().__init__(seed)
        #: Raises where a replay would not draw.
        self.check: Callable[[], None] = lambda: None

    def random(self) -> float:
        self.check()
        return super().random()

    def getrandbits(self, k: int, /) -> int:
        self.check()
        return super().getrandbits(k)


def _random_of_run(execution: Execution, name: str) -> RandomOfRun:
    made = RandomOfRun(f"{execution.journal.run_uid}/{name}")
    made.check = partial(execution.check_in_workflow, f"ctx.{name}")
    return made
