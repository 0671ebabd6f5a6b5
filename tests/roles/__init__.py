"""What each database role can do, and that it can do nothing else.

``dba.py`` is somebody with psql who installs the schema and the roles, as migrations_sql/README.md says. The tests then
log in as an application, a reader, a redactor or a deployer, on real sessions. Roles belong to a whole cluster, so
each process of the tests has its own, by ``hookflow.role_prefix``, and any server will do that lets us make them.
"""
