"""Acting on runs: each act is an event of the run's log with who and why.

An :mod:`operation <.operations>` says what will happen and carries it out, a :mod:`form <.forms>` asks for what it
needs, and a :mod:`situation <.situation>` is what both have to know of the run. :mod:`.pages` does it for one run,
:mod:`.many` for all that a list shows or that are selected, and :mod:`.starting` begins a run by hand.
"""
