"""Where blocking database work runs: on one dedicated thread, or inline in a simulated world."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

T = TypeVar("T")


class Runner(Protocol):
    """Runs a blocking function and answers its result."""

    async def __call__(self, work: Callable[[], T], /) -> T: ...


async def inline(work: Callable[[], T], /) -> T:
    """Run `work` here and now: for a simulated world, where nothing else may happen meanwhile."""
    return work()


class Threads:
    """Runs work on threads of its own, so that the event loop never waits for a disk.

    With one thread, work runs in the order it was handed in.
    """

    def __init__(self, name: str, count: int = 1) -> None:
        self._pool = ThreadPoolExecutor(max_workers=count, thread_name_prefix=name)

    async def __call__(self, work: Callable[[], T], /) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def close(self) -> None:
        """Wait for the work handed in, then end the threads."""
        self._pool.shutdown(wait=True)
