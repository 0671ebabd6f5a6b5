"""The doctor: looks at everything a deployment stands on, and says of each thing that is wrong how to put it right.

:mod:`.examination` goes through the areas in a fixed order, from what all else needs (settings, the database, the
schema) to what depends on it (the relay, runs, subscribers). Each area is one function that yields findings
(:mod:`.findings`): a level, what was seen, and the way out. Where a system check knows the answer it is asked, not
repeated. :mod:`.report` prints; ``manage.py hookflow_doctor`` is the door.

What must stay true: looking changes nothing, for each area reads in a transaction that is rolled back; nothing takes
long, for every query is bounded and timed and so is every request; whatever cannot be looked at is a finding and not a
traceback; and no secret is shown, nor what another server answered, which may hold one.
"""
