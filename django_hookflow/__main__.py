"""``python -m django_hookflow demo [--check]``."""

from __future__ import annotations

import argparse
import sys


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m django_hookflow")
    commands = parser.add_subparsers(dest="command", required=True, metavar="demo")
    demo = commands.add_parser(
        "demo",
        help="an order goes through on an embedded PostgreSQL, and survives kill -9 of the web process",
        description="Starts PostgreSQL, a web process and a relay, processes an order, kills the web process in the "
        "middle, and shows that the run ends as if nothing had happened. No account, no network, nothing left behind.",
    )
    demo.add_argument("--check", action="store_true", help="run the story once; exit with 0 if it went well, 1 if not")
    demo.add_argument("--port", type=int, help="of the web process; a free one if not given")
    options = parser.parse_args(arguments)

    from django_hookflow.demo import cli  # what it needs is an extra

    return cli.run(check=options.check, port=options.port)


if __name__ == "__main__":
    sys.exit(main())
