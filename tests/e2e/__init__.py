"""The package as a user deploys it: a project of its own, web processes and relays, a QStash, PostgreSQL, real HTTP.

``project.py`` makes a Django project as contract.md says and nothing else; ``deployment.py`` runs it on a database of
its own; ``qstash_peer.py`` and ``courier.py`` stand in for QStash; ``outside.py`` is what workflows call. The tests look
at databases with SQL and at messages on the wire, never through the package's own code.
"""
