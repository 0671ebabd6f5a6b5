"""Retention: what goes from the log, how it is kept elsewhere first, and what stays.

A run that has ended long enough ago is *retired*: its events and its rows in the projections are removed, its head stays
as a tombstone. The order of things is what makes it safe to be killed at any moment:

1. :mod:`.runs` names the runs that are due, with the length of their logs and the ends of their chains.
2. :mod:`.archive`, where an archive is configured, writes their events into a file, has it on the disk before it has its
   name, reads it back from there and recomputes every hash in it.
3. :mod:`.cleaning` has the database retire those runs, some hundreds a transaction. ``hookflow_retire`` looks again,
   under the lock of each head: a run that has moved on since it was archived, or that somebody holds, is left alone.

So at any moment a run is whole in the database, or whole in an archive whose chain ends where its tombstone says, or,
where the work was interrupted between 2 and 3, both; it then goes into another archive as well, and both are right.

:mod:`.proving` holds an archive against the tombstones, and the tombstones against the archives. :mod:`.dead_letters` removes old dead letters of runs that stay.
:mod:`.partitions` does the same as above with a month of runs at once, whose events go with their partition.

What must stay true: nothing is removed that lives, or that moves; and with an archive, nothing that is not in it.
"""
