"""The present: WorkflowRun, Wait and DeadLetterEntry, folded from the log. (StepExecution is a view over it.)

How an event becomes a column stands once, in the template of the migration that installs the folds
(``migrations_sql/templates``). The same texts fold each event as it is appended, so normally there is nothing to do here.
This package is for when somebody has changed a projection by hand, or wants to know that nobody has.

Both directions go through the log in ranges of runs (:mod:`.ranges`): :func:`diff` compares a range in one statement,
without locks and beside any traffic; :func:`rebuild` takes the range's heads for milliseconds and writes only the rows
that differ. A rebuild that is killed has finished the ranges it has been through, and the next one finds them right.

What must stay true: in any snapshot the projections equal the fold of the events. Runs whose events have gone to an
archive are the exception; there is nothing to fold them from, so nothing here looks at them or touches them.
"""

from django_hookflow.projections.difference import Compared, Difference, compare, diff
from django_hookflow.projections.ranges import NothingToFold
from django_hookflow.projections.rebuilding import Rebuilt, rebuild

__all__ = ["Compared", "Difference", "NothingToFold", "Rebuilt", "compare", "diff", "rebuild"]
