"""Crashes: proof that nothing is lost, doubled or left standing, whenever a worker, a connection or a reply goes away.

``test_every_statement`` runs one workflow through :mod:`.wire`, a proxy between Django and PostgreSQL that knows where
one statement ends and the next begins. An undisturbed run enumerates them; then each is cut, in a fresh run, before the
server saw it and after the server did it but before its answer came back, once with a worker that reconnects and once
with a worker that is gone. What the run comes to is compared with the undisturbed one (:mod:`.comparison`).
``test_every_trigger`` does the same to ``trigger()``, and, message by message (:mod:`.stage`), ``test_every_child`` to
a parent and its children, ``test_every_group`` to groups, ``test_every_report`` to calls that QStash makes.

``test_schedules`` lets hypothesis make up whole histories (:mod:`.machine`): deliveries that are doubled, late, early, out
of order, at once, stalled or crashed, reports on offloaded calls (:mod:`.offloads`), operators in between, and after every
move the invariants of :mod:`.invariants`.

    HOOKFLOW_SCHEDULES=10000   so many random schedules instead of a thousand
    HOOKFLOW_SEED=17           the schedules of that seed again; every run prints its own
    HOOKFLOW_SHRINK=1          have hypothesis look for the shortest schedule that fails, which takes minutes
"""
