"""``python -m benchmarks [--quick] [--profile | --peers | --crowd] [--json FILE]``."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import commits, project
from benchmarks.beside import measure_beside
from benchmarks.children import measure_children
from benchmarks.cleaning import measure_cleaning
from benchmarks.crowd import measure_crowd
from benchmarks.exact import count_ten_step_run
from benchmarks.herd import measure_herd
from benchmarks.latency import IDLE, measure_latency
from benchmarks.listing import measure_listing
from benchmarks.long_run import measure_long_run
from benchmarks.pages import measure_run_page
from benchmarks.peers import measure_peers
from benchmarks.profile import format_profile, measure_profile
from benchmarks.rebuilding import measure_rebuild
from benchmarks.report import Figure, format_figures
from benchmarks.roles import measure_roles
from benchmarks.rounds import close_connections
from benchmarks.server import describe_machine, own_database
from benchmarks.storage import measure_storage
from benchmarks.verifying import measure_verifying
from benchmarks.webhook import measure_webhook


def main(arguments: list[str] | None = None) -> int:
    options = read_options(arguments)
    started = time.monotonic()
    with own_database() as conninfo:
        project.set_up(conninfo)
        found: dict[str, Any] = {"machine": describe_machine(conninfo), "quick": options.quick}
        print("  ".join(f"{name}: {value}" for name, value in found["machine"].items()), end="\n\n", flush=True)
        if options.profile:
            rounds, calls = (2, 30) if options.quick else (10, 300)
            found["profile"] = measure_profile(conninfo, rounds=rounds, calls=calls)
            print(format_profile(found["profile"]))
        else:
            found["figures"] = []
            for figures in measure(conninfo, options):
                print(format_figures(figures), end="\n\n", flush=True)
                found["figures"] += [figure.as_json() for figure in figures]
        close_connections()
    print(f"in {time.monotonic() - started:.0f} s")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


def read_options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="so little of everything that the numbers mean nothing")
    parser.add_argument("--profile", action="store_true", help="say where the time of a step goes instead")
    parser.add_argument("--peers", action="store_true", help="measure other engines beside this one instead")
    parser.add_argument("--crowd", action="store_true", help="have fifty thousand runs wake at once instead: minutes")
    parser.add_argument("--events", type=int, default=1_000_000, help="how many the rebuild has (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    return parser.parse_args(arguments)


def measure(conninfo: str, options: argparse.Namespace) -> Iterator[list[Figure]]:
    if options.peers:
        yield measure_peers(conninfo, runs=200, lone=3, rounds=5)
    elif options.crowd:
        yield measure_crowd(conninfo, woken=50_000, triggered=5_000)
    else:
        yield from measure_everything(conninfo, quick=options.quick, events=options.events)


def measure_everything(conninfo: str, *, quick: bool, events: int) -> Iterator[list[Figure]]:
    # In this order: the first look into the outbox, later ones empty the projections, and the last one writes rows
    # that no log knows.
    yield count_ten_step_run()
    yield measure_long_run(100 if quick else 10_000)
    yield measure_latency(conninfo, runs=1 if quick else 9, idle=0.2 if quick else IDLE)
    crowd = 20 if quick else 5_000
    yield measure_crowd(conninfo, woken=crowd, triggered=crowd, seconds_to_make=1.0 if quick else 20.0)
    yield measure_herd(10 if quick else 2_000)
    yield commits.measure_commits(conninfo, commits.QUICK if quick else commits.Amounts())
    yield measure_webhook(conninfo, runs=2 if quick else 100, rounds=1 if quick else 5)
    yield measure_storage(50 if quick else 500)
    yield measure_children(10 if quick else 1_000, rounds=1 if quick else 5)
    yield measure_rebuild(1_300 if quick else events, rounds=1 if quick else 3)
    yield measure_verifying(rounds=1 if quick else 3)
    yield measure_beside(conninfo, seconds=0.2 if quick else 5)
    yield measure_cleaning(1_300 if quick else 130_000)
    yield measure_roles(conninfo, appends=50 if quick else 1_500, rounds=1 if quick else 9)
    yield measure_run_page(200 if quick else 10_000)
    yield measure_listing(2_000 if quick else 1_000_000, rounds=1 if quick else 5)


if __name__ == "__main__":
    sys.exit(main())
