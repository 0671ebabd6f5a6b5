"""How fast the engine is, as ratios to what the same server does at the same time.

``python -m benchmarks`` starts a PostgreSQL of its own, with fsync and synchronous_commit on, or makes a database of its
own on the server DATABASE_URL names, and removes it. What is compared takes turns, round by round, in one run: a machine
that slows down slows both, and the median of the rounds' ratios says what an absolute number cannot.

``server.py``, ``project.py``  the database, and a Django project on it
``rounds.py``                  taking turns, threads, medians
``commits.py``                 durable steps and appends against a raw INSERT and commit
``exact.py``                   what is counted and not timed: messages, commits
``long_run.py``                a run of ten thousand steps
``rebuilding.py``              the projections made again, and the size of the log
``profile.py``                 ``--profile``: where the time of a step goes
``report.py``                  the figures with their targets, as a table and as JSON
"""
