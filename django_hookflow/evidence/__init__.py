"""The log as evidence: what it takes to show what happened, and that nobody has changed it since.

Each event's hash covers the event before it, and each run's head the last one. :mod:`.verifying` recomputes them all in
the database, a range of runs in a statement, and tells of the runs that do not hold; :mod:`.explaining` says what was
done to such a run. Whoever can write every table can also rewrite a chain to its end, cut it short or remove it with its
head: that shows only against a :mod:`checkpoint <.checkpoints>`, a signed statement of where each run's chain ended,
which is kept where that person cannot write.

:mod:`.audit` is a script that stands alone, for auditors who would rather not trust this package. It states the layout of
what is hashed, byte by byte, and has the only Python implementation of it, which the rest of this package uses as well.

What must stay true: nothing here takes a lock on a run, and nothing here needs to be believed: each claim comes with the
run, the seq and the hash by which it can be checked.
"""
