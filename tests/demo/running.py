"""A demo as a process, and all the processes that come of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic

import psutil

REPOSITORY = Path(__file__).resolve().parents[2]


class RunningDemo:
    """``python -m django_hookflow demo`` in a terminal nobody looks at. Leaving the ``with`` kills what is left."""

    def __init__(self, *arguments: str) -> None:
        env = {key: value for key, value in os.environ.items() if not key.startswith(("DJANGO_", "DATABASE_"))}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "django_hookflow", "demo", *arguments],
            cwd=REPOSITORY,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._incoming: SimpleQueue[str | None] = SimpleQueue()
        self._reader = Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> RunningDemo:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.wait()

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, text: str, timeout: float = 60) -> str:
        """The first line, from here on, that holds ``text``."""
        deadline = monotonic() + timeout
        while True:
            try:
                line = self._incoming.get(timeout=max(0.0, deadline - monotonic()))
            except Empty:
                raise AssertionError(f"not within {timeout} s: {text!r} in\n{self.output}") from None
            assert line is not None, f"ended without {text!r}:\n{self.output}"
            self.lines.append(line)
            if text in line:
                return line

    def wait(self, timeout: float = 60) -> int:
        status = self.process.wait(timeout)
        self._reader.join()
        while (line := self._incoming.get()) is not None:
            self.lines.append(line)
        self._incoming.put(None)
        return status

    def send(self, what: signal.Signals) -> None:
        self.process.send_signal(what)

    def descendants(self) -> set[int]:
        """Every process that stems from the demo, at this moment."""
        return {process.pid for process in psutil.Process(self.process.pid).children(recursive=True)}

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self._incoming.put(line.rstrip("\n"))
        self._incoming.put(None)


def alive(pids: set[int]) -> set[int]:
    """Those that still run. Zombies do not: their parent has only not asked yet."""
    return {pid for pid in pids if _is_alive(pid)}


def _is_alive(pid: int) -> bool:
    try:
        status: str = psutil.Process(pid).status()
    except psutil.NoSuchProcess:
        return False
    return status != psutil.STATUS_ZOMBIE
