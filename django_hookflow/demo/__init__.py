"""The demo: a small shop on an embedded PostgreSQL, run by ``python -m django_hookflow demo``.

Nothing here is needed in production; the package's other parts never import it. From the bottom up:

``launch.py``     starts a program so that it cannot outlive the process that wanted it
``processes.py``  starts and stops programs through it
``postgres.py``   PostgreSQL out of a wheel, as such a program; also what the tests run on
"""
