"""The log as evidence: what it takes to show what happened, and that nobody has changed it since.

Each event's hash covers the event before it, and each run's head the last one. :mod:`.verifying` recomputes them all in
the database, a range of runs in a statement; of a run that does not hold, :mod:`.audit` and :mod:`.heads` find which of
its events do not, and what else: a small set of findings, each of them what can be read off the data, and never a guess at
how it came about. A run that was archived has left a tombstone in its head, hashed as one more event of its chain. Whoever
can write every table can also rewrite a chain to its end, cut it short or remove it with its head: that shows only against
a :mod:`checkpoint <.checkpoints>`, a signed statement of where each run's chain ended, and of its tombstone, which is kept
where that person cannot write.

:mod:`.audit` is a script that stands alone, for auditors who would rather not trust this package. It states the layout of
what is hashed, byte by byte, and has the only Python implementation of it, which the rest of this package uses as well.

What must stay true: nothing here takes a lock on a run; nothing here believes a function of the log, or what the login's
search_path puts in front of PostgreSQL's (:mod:`.reading`); and nothing here needs to be believed: each finding names the
run and the seq at which it can be checked.
"""
