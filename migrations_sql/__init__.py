"""Every migration of django_hookflow as plain SQL, for those who do not let ``manage.py migrate`` near their schema.

``python -m migrations_sql`` writes one file for each migration into this folder, ``--check`` says whether they are as
it would write them. The text is what Django itself sends to PostgreSQL, collected as ``manage.py sqlmigrate`` does,
with the entry in ``django_migrations`` by which Django knows the migration as applied. No database is needed.

The folder stands beside the package and not in it: a database made by a released wheel is upgraded by the next
release's new files, and a file once released does not change.
"""
