"""Every migration of django_hookflow as plain SQL, for those who do not let ``manage.py migrate`` near their schema.

``python -m migrations_sql`` writes one file for each migration into this folder, ``--check`` says whether they are as
it would write them. The text is what Django itself sends to PostgreSQL, collected as ``manage.py sqlmigrate`` does,
with the entry in ``django_migrations`` by which Django knows the migration as applied. No database is needed.

``python -m migrations_sql --installed`` writes what all migrations together install, one file for each function, view and
table, into ``django_hookflow/sql/installed``, from the catalog of a database that it makes from these files and drops
again. System checks and the doctor compare databases with those.

The folder stands beside the package and not in it: a database made by a released wheel is upgraded by the next
release's new files, and a file once released does not change.
"""
