"""``python -m django_hookflow demo [--check]``."""

from __future__ import annotations

import argparse
import sys


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m django_hookflow")
    commands = parser.add_subparsers(dest="command", required=True, metavar="demo")
    demo = commands.add_parser(
        "demo",
        help="run a demo: an order survives kill -9 of the web process, on an embedded PostgreSQL",
        description=(
            "Starts PostgreSQL, a web process and a relay, processes an order, kills the web process halfway through, "
            "and shows that the run still completes. Needs no account and no network, and removes everything it "
            "creates."
        ),
    )
    demo.add_argument("--check", action="store_true", help="run once and exit: status 0 on success, 1 on failure")
    demo.add_argument("--port", type=int, help="port of the web process (default: a free port)")
    options = parser.parse_args(arguments)

    from django_hookflow.demo import cli  # what it needs is an extra

    return cli.run(check=options.check, port=options.port)


if __name__ == "__main__":
    sys.exit(main())
