"""Child processes that never outlive the process that started them, whatever ends it: Ctrl-C, SIGTERM or SIGKILL."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LAUNCHER = Path(__file__).with_name("launch.py")


class Child:
    """A running program. :meth:`stop` ends it, the end of this process ends it, and so does leaving a ``with``."""

    def __init__(
        self,
        program: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        output: IO[bytes] | None = None,
        user: str | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        death_signal: signal.Signals | None = None,
    ) -> None:
        """Start ``program`` (absolute path first) in a session of its own, so that Ctrl-C reaches only this process.

        ``stop_signal`` asks it to end; ``death_signal``, by default the same, is what it gets when this process dies.
        """
        self.stop_signal = stop_signal
        read_end, self._lifeline = _lifeline()
        order = {"parent": os.getpid(), "signal": int(death_signal or stop_signal), "user": user, "lifeline": read_end}
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", LAUNCHER, json.dumps(order), *program],
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            pass_fds=() if read_end is None else (read_end,),
        )
        if read_end is not None:
            os.close(read_end)

    @property
    def pid(self) -> int:
        return self.process.pid

    def is_running(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """Kill it as a crash would (SIGKILL) and wait until it is gone."""
        self.process.kill()
        self._reap()

    def stop(self, timeout: float = 15) -> None:
        """Ask it to end; kill it if it has not within ``timeout`` seconds. May be called again."""
        if self.is_running():
            self.process.send_signal(self.stop_signal)
        try:
            self._reap(timeout)
        except subprocess.TimeoutExpired:
            self.kill()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _reap(self, timeout: float | None = None) -> None:
        self.process.wait(timeout)
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None


def _lifeline() -> tuple[int | None, int | None]:
    """A pipe for the launcher's watcher, where the kernel's own notice will not do.

    Linux sends that notice when the *thread* that started the child ends, so only the main thread may rely on it.
    """
    if sys.platform == "linux" and threading.current_thread() is threading.main_thread():
        return None, None
    return os.pipe()
