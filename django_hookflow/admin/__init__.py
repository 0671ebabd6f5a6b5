"""Looking at runs and dead letters, at ``/admin/django_hookflow/``.

Read-only for everyone: the log is the truth and what is shown here is folded from it, so there is nothing to add,
change or delete, not for a superuser and not by a request made by hand (:mod:`.base`). A user needs Django's ordinary
view permission on workflow runs or dead letter entries.

Every page costs a fixed number of queries, however long a run has become: lists of steps and events are paged, and of
a result no more is read from the database than is shown (:mod:`.display`).

The pages need no JavaScript, carry no inline style or script, and take their colours from the admin's theme.
"""

from django_hookflow.admin.dead_letters import DeadLetterEntryAdmin
from django_hookflow.admin.runs import WorkflowRunAdmin

__all__ = ["DeadLetterEntryAdmin", "WorkflowRunAdmin"]
