"""Work that goes on side by side: so many at once, and in order for each household."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType

Call = Callable[[], Awaitable[None]]


async def at_most(count: int, calls: Iterable[Call]) -> None:
    """Run all calls, so many at once; the first failure ends the others and is raised."""
    async with Errands(count) as errands:
        for number, call in enumerate(calls):
            errands.add(number, call)


class Errands:
    """Calls for households: one after another for each, `count` at once for all of them.

    The block ends when all are done; the first failure ends the others and is raised.
    """

    def __init__(self, count: int) -> None:
        self._turn = asyncio.Semaphore(count)
        self._group = asyncio.TaskGroup()
        self._last: dict[int, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Errands:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self._group.__aexit__(kind, error, trace)
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None

    def add(self, household: int, call: Call) -> None:
        """Run the call after all earlier ones for the same household."""
        before = self._last.get(household)
        self._last[household] = self._group.create_task(self._run(call, before))

    async def done(self, households: Iterable[int]) -> None:
        """Return once nothing is under way for these households."""
        waiting = [self._last[one] for one in households if one in self._last]
        if waiting:
            await asyncio.wait(waiting)

    async def _run(self, call: Call, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait((before,))
        async with self._turn:
            await call()
