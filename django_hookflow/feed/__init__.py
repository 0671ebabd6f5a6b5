"""Reading the log as it grows: subscribers, exports, and what both stand on.

``position`` grows with time, but transactions do not commit in the order in which they drew their positions. Whoever
remembers ``max(position)`` skips an event that was drawn early and committed late. So a reader remembers a *snapshot*,
PostgreSQL's own record of which transactions had ended, and reads what was not visible in it and is in a later one. Each
event carries the id of its transaction (``xid``) for this. How that is kept and narrowed down to a short scan is in
:mod:`.positions`; :mod:`.reader` asks the database; :mod:`.subscribers` and :mod:`.delivering` hand events to functions
of the project, :mod:`.lines` writes them for others.

What must stay true: no event is passed over, whatever commits when; none is read twice by one reader that remembers
its position; and the events of a run come in the order of their ``seq``. That last one needs no care here: an event is
appended under the lock of its run's head, so whatever sees it sees those before it, at lower positions.
"""
