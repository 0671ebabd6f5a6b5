"""Taking turns: what is compared runs alternately, so that whatever else the machine does falls on both."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Mapping

#: Prepares in its own thread, and returns the work; the work returns how many operations it was.
Prepare = Callable[[], Callable[[], int]]
#: Operations a second.
Measure = Callable[[], float]
Rates = dict[str, list[float]]


def alternate(measures: Mapping[str, Measure], rounds: int) -> Rates:
    """The rates of each measure, one a round; every other round goes backwards, so that no place is the better one."""
    rates: Rates = {name: [] for name in measures}
    for number in range(rounds):
        names = list(measures)
        for name in names if number % 2 == 0 else reversed(names):
            rates[name].append(measures[name]())
    return rates


def median_rate(rates: Rates, name: str) -> float:
    return statistics.median(rates[name])


def median_ratio(rates: Rates, name: str, base: str) -> float:
    """The median of the rounds' ratios: the two rates of a ratio were measured one right after the other."""
    return statistics.median(rate / other for rate, other in zip(rates[name], rates[base], strict=True))


def in_threads(prepare: Prepare, threads: int) -> Measure:
    """Measures the work of so many threads at once, from the moment all are ready to the moment the last has ended."""

    def measure() -> float:
        began: list[float] = []
        # The barrier itself looks at the clock, before it lets anyone go.
        ready = threading.Barrier(threads, action=lambda: began.append(time.perf_counter()))
        done: list[tuple[int, float]] = []
        failures: list[BaseException] = []

        def live() -> None:
            try:
                work = prepare()
                ready.wait()
                done.append((work(), time.perf_counter()))
            except BaseException as error:
                failures.append(error)
                ready.abort()
            finally:
                close_connections()

        crew = [threading.Thread(target=live) for _ in range(threads)]
        for thread in crew:
            thread.start()
        for thread in crew:
            thread.join()
        if failures:
            raise next((f for f in failures if not isinstance(f, threading.BrokenBarrierError)), failures[0])
        return sum(operations for operations, _ in done) / (max(ended for _, ended in done) - began[0])

    return measure


def close_connections() -> None:
    from django.db import connections

    connections.close_all()
