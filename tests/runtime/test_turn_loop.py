"""The loop in which the coroutines of a turn run."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from django_hookflow.runtime.turn_loop import turn_loop


def test_no_loop_is_running_while_it_waits() -> None:
    """Under gevent, where waiting lets other code of the same thread go on, that code may use Django's database."""
    seen: list[Any] = []

    def note(frame: Any, event: str, called: Any) -> None:
        if event == "c_call" and called.__name__ in ("poll", "select", "control"):
            seen.append(asyncio._get_running_loop())

    async def work() -> None:
        await asyncio.sleep(0.001)
        seen.append(asyncio.get_running_loop())

    with turn_loop(is_strict=False) as loop:
        task = loop.create_task(work())
        sys.setprofile(note)
        try:
            loop.run_until_complete(task)
        finally:
            sys.setprofile(None)
        assert set(seen) == {None, loop}
        assert seen.count(loop) == 1
