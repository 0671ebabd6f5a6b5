"""The demo: a small shop on an embedded PostgreSQL, run by ``python -m django_hookflow demo``.

Nothing here is needed in production; the package's other parts never import it. From the bottom up:

``launch.py``, ``processes.py``  start and stop programs that cannot outlive the process that wanted them
``installation.py``, ``postgres.py``  PostgreSQL out of a wheel, as such a program; also what the tests run on
``shop/``, ``settings.py``, ``urls.py``  a Django project that uses the package as any would
``stage.py``, ``story.py``, ``verdict.py``, ``console.py``, ``cli.py``  what is started, played, judged and printed
``gallery.py``  runs in every condition, to be looked at
"""
