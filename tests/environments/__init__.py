"""The surroundings a run may have: servers, pools, poolers and clocks of every kind, and what happens when they fail.

``workshop`` is a user's project; ``fleet.py`` runs it as processes of its own, behind real servers and on a database of
its own; ``servers.py`` has what stands between it and its data: a PostgreSQL that is restarted or crashes, PgBouncer.
The tests look at databases with SQL and arrange each point in time with a gate (see ``tests/e2e/outside.py``).
"""
