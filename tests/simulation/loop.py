"""An event loop on virtual time: nothing waits, and a clock jumps to the next timer.

Every task belongs to the simulated process in whose context it was made, so that a crash can
cancel all of a process at once, wherever its coroutines happen to stand.
"""

from __future__ import annotations

import asyncio
import contextvars
import selectors
from collections.abc import Coroutine, Generator
from typing import Any

PROCESS: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


class Deadlock(Exception):
    """Nothing is ready and no timer is set: the world would wait for ever."""


class Process:
    """The tasks of one simulated process."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.tasks: dict[asyncio.Task[Any], None] = {}

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine as part of this process."""
        context = contextvars.copy_context()
        context.run(PROCESS.set, self)
        return asyncio.get_running_loop().create_task(coroutine, context=context)

    def kill(self) -> None:
        """Cancel every task, as SIGKILL would: no handler of theirs may act on it."""
        self.alive = False
        for task in list(self.tasks):
            task.cancel()


class _Jump(selectors.DefaultSelector):
    """Never blocks: where the loop would wait, the virtual clock moves on instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        events = super().select(0)
        if not events and timeout is None:
            raise Deadlock
        if not events and timeout and timeout > 0:
            self.now += timeout
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose `time()` is virtual seconds since its start."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)
        self.set_task_factory(_owned_task)

    def time(self) -> float:
        return self._jump.now


def _owned_task(
    loop: asyncio.AbstractEventLoop,
    coroutine: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
    *,
    context: contextvars.Context | None = None,
    **named: Any,
) -> asyncio.Task[Any]:
    task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, context=context, **named)
    owner = (context or contextvars.copy_context()).get(PROCESS)
    if owner is not None:
        owner.tasks[task] = None
        task.add_done_callback(lambda done: owner.tasks.pop(done, None))
        if not owner.alive:
            task.cancel()
    return task


def run(main: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end on a fresh virtual loop."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(main)
    finally:
        pending = asyncio.all_tasks(loop)
        for task in pending:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
        loop.close()
