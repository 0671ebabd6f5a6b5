"""Becomes another program, one that does not outlive the process that asked for it. Run as a script, standard library only.

    python -I -S launch.py '{"parent": 1, "signal": 2, "user": null, "lifeline": null}' program argument…

Linux signals a process its parent's death (PR_SET_PDEATHSIG). Elsewhere, or when asked from a thread whose end would
be taken for the parent's, a lifeline does: a pipe that only the parent holds open. A small watcher process reads it
and, at its end, signals the program.

A script and not a ``preexec_fn``, because code between fork and exec is not safe in a process with threads.
"""

from __future__ import annotations

import ctypes
import json
import os
import pwd
import select
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    order = json.loads(sys.argv[1])
    program = sys.argv[2:]
    if order["user"] is not None:
        become(order["user"])
    if order["lifeline"] is None:
        die_with_parent(order["signal"])
    else:
        watch_lifeline(order["lifeline"], order["signal"])
    if os.getppid() != order["parent"]:
        sys.exit("the parent process has exited")
    os.execv(program[0], program)  # noqa: S606 - becoming that program is the purpose


def become(user: str) -> None:
    account = pwd.getpwnam(user)
    os.setgroups([])
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)


def die_with_parent(signal_number: int) -> None:
    # After setuid, which clears it; exec keeps it.
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")


def watch_lifeline(lifeline: int, signal_number: int) -> None:
    program = os.getpid()
    if os.fork() > 0:
        os.close(lifeline)
        return
    os.setsid()
    while os.getppid() == program:
        if select.select([lifeline], [], [], 0.5)[0]:
            os.kill(program, signal_number)
            break
    os._exit(0)


if __name__ == "__main__":
    main()
