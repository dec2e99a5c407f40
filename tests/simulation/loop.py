"""An event loop on virtual time: nothing waits, and a clock jumps to the next timer.

Every task belongs to the simulated process in whose context it was made, so that a crash can
cancel all of a process at once, wherever its coroutines happen to stand. A process may carry a
fuse: after so many steps of its coroutines it dies, between any two of their awaits.
"""

from __future__ import annotations

import asyncio
import contextvars
import selectors
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar

T = TypeVar("T")

PROCESS: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


class Deadlock(Exception):
    """Nothing is ready and no timer is set: the world would wait for ever."""


class Crash(BaseException):
    """A process dies here: no handler may act on it."""


class Process:
    """The tasks of one simulated process, from its start to its death."""

    def __init__(self, name: str, on_death: Callable[[], None] = lambda: None) -> None:
        self.name = name
        self.alive = True
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self.fuse = 0
        """Steps until it dies by itself; 0 for never."""
        self._on_death = on_death

    def spawn(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run a coroutine as part of this process."""
        context = contextvars.copy_context()
        context.run(PROCESS.set, self)
        return asyncio.get_running_loop().create_task(coroutine, context=context)

    def kill(self) -> None:
        """Cancel every task, as SIGKILL would: what they do about it reaches nothing."""
        if not self.alive:
            return
        self.alive = False
        self.fuse = 0
        for task in list(self.tasks):
            task.cancel()
        self._on_death()

    async def run(self, work: Callable[[], T], /) -> T:
        """The runner of this process: inline, and never after its death."""
        if not self.alive:
            raise asyncio.CancelledError
        return work()

    def step(self) -> None:
        """Burn the fuse by one step of a coroutine."""
        self.fuse -= 1
        if self.fuse == 0:
            self.kill()


class _Jump(selectors.DefaultSelector):
    """Never blocks and has no files: where the loop would wait, the virtual clock moves on."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise Deadlock
        if timeout > 0:
            self.now += timeout
        return ()


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose `time()` is virtual seconds since its start."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)
        self.set_task_factory(_owned_task)
        self.set_exception_handler(_report)

    def time(self) -> float:
        return self._jump.now

    def call_soon(  # type: ignore[override]
        self,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        owner = PROCESS.get() if context is None else context.get(PROCESS)
        if owner is not None and owner.fuse:
            owner.step()
        return super().call_soon(callback, *args, context=context)


def _owned_task(
    loop: asyncio.AbstractEventLoop,
    coroutine: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
    *,
    context: contextvars.Context | None = None,
    **named: Any,
) -> asyncio.Task[Any]:
    task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, context=context, **named)
    owner = PROCESS.get() if context is None else context.get(PROCESS)
    if owner is not None:
        owner.tasks[task] = None
        task.add_done_callback(lambda done: owner.tasks.pop(done, None))
        if not owner.alive:
            task.cancel()
    return task


def _report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What nobody looked at: the end of a process is no news, anything else is."""
    if not isinstance(context.get("exception"), Crash):
        loop.default_exception_handler(context)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a fresh virtual loop."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(main)
    finally:
        while pending := asyncio.all_tasks(loop):
            for task in pending:
                task.cancel()
            loop.run_until_complete(asyncio.wait(pending))
        loop.close()
