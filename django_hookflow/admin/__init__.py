"""Looking at runs and dead letters, at ``/admin/django_hookflow/``.

Read-only for everyone: the log is the truth and what is shown here is folded from it, so there is nothing to add,
change or delete, not for a superuser and not by a request made by hand (:mod:`.base`). A user needs Django's ordinary
view permission on workflow runs or dead letter entries.

A folder for each thing that one looks at: :mod:`.run_list`, :mod:`.run_page`, :mod:`.failures`; over all runs,
:mod:`.activity` (who did what) and :mod:`.step_times`; and from a thing of the project to its runs, :mod:`.subject`.

What can be done to a run is done through the log: each act is an event with who and why (:mod:`.operating`). It takes
the permission ``operate_workflowrun``; payloads and the texts of errors are shown to those who have
``view_payload_workflowrun``.

Every page costs a fixed number of queries, however long a run has become: lists of steps and events are paged, and of
a result no more is read from the database than is shown (:mod:`.display`).

The pages need no JavaScript, carry no inline style or script, and take their colours from the admin's theme.
"""

from django_hookflow.admin.failures.dead_letters import DeadLetterEntryAdmin
from django_hookflow.admin.runs import WorkflowRunAdmin
from django_hookflow.admin.subject import RunsMixin

__all__ = ["DeadLetterEntryAdmin", "RunsMixin", "WorkflowRunAdmin"]
