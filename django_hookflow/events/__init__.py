"""The log: what happened, once and for all.

An event is one immutable row: its run, its place in that run (``seq``, from 1), a type from :mod:`.types`, a payload
of JSON made by :mod:`.codec`. Events are appended by :mod:`.log`, which calls the functions in the database and is the
only module that does: a call locks the run's head, checks that the caller knows the log it is adding to, extends the
hash chain, folds the events into the projections and announces the next turn, all in one statement and one commit.

What must stay true: nobody else writes events, and no one changes them. The database sees to both.
"""
