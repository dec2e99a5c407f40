"""One courier for each neighbour: whatever waits travels as one batch while the last one is away.

No timer decides how large a batch is. At low load an item leaves at once and alone; at high load
batches grow by themselves during the journey of the batch before. Only a courier for items that
nobody waits for lingers before each journey, so that one carries many.

Nothing that was not decided is given up: an answer `Unavailable` sends the item again, later and
later, until whoever submitted it stops waiting. Every item therefore carries its own id.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from comity.errors import ComityError, Overloaded, Unavailable

T = TypeVar("T")
R = TypeVar("R")

BATCH_LIMIT = 256
QUEUE_LIMIT = 16_384
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 2.0


@dataclass(slots=True)
class _Parcel(Generic[T, R]):
    item: T
    answer: asyncio.Future[R]
    attempts: int = 0


class Courier(Generic[T, R]):
    """Carries items to one neighbour in batches, one batch at a time.

    `send` takes a batch and answers one result for each item, in order: the value, or the error
    that the neighbour gave for that item. An error it raises counts for every item of the batch.
    Items beyond `queue_limit` are refused with `Overloaded` at once. With `linger_s` a batch
    waits so long for company.
    """

    def __init__(
        self,
        send: Callable[[Sequence[T]], Awaitable[Sequence[R | ComityError]]],
        *,
        limit: int = BATCH_LIMIT,
        queue_limit: int = QUEUE_LIMIT,
        first_pause_s: float = FIRST_PAUSE_S,
        longest_pause_s: float = LONGEST_PAUSE_S,
        linger_s: float = 0,
    ) -> None:
        if limit < 1 or queue_limit < 1:
            raise ValueError("a courier carries at least one item")
        self._send = send
        self._limit = limit
        self._queue_limit = queue_limit
        self._first_pause_s = first_pause_s
        self._longest_pause_s = longest_pause_s
        self._linger_s = linger_s
        self._waiting: deque[_Parcel[T, R]] = deque()
        self._later: dict[asyncio.TimerHandle, _Parcel[T, R]] = {}
        self._rounds: asyncio.Task[None] | None = None
        self._count = 0
        self._closed = False

    def __len__(self) -> int:
        """Items not yet answered."""
        return self._count

    async def submit(self, item: T, *, within_s: float | None = None) -> R:
        """Have one item carried; returns its result or raises the error it was answered.

        Without `within_s` it is repeated for as long as the caller waits. After that time it
        raises `Unavailable`, which says nothing about what the neighbour did: repeat the item.
        """
        if self._closed:
            raise Unavailable("This process is shutting down; repeat the request.")
        if self._count >= self._queue_limit:
            raise Overloaded("Too many requests wait for this neighbour; repeat in a moment.")
        answer: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._count += 1
        self._put(_Parcel(item, answer))
        try:
            if within_s is None:
                return await answer
            async with asyncio.timeout(within_s):
                return await answer
        except TimeoutError:
            raise Unavailable("The neighbour did not answer in time; repeat the request.") from None
        finally:
            self._count -= 1

    async def close(self) -> None:
        """Stop; whoever still waits is told `Unavailable`."""
        self._closed = True
        for timer, parcel in self._later.items():
            timer.cancel()
            _settle(parcel, _shut())
        self._later.clear()
        if self._rounds is not None:
            self._rounds.cancel()
            await asyncio.gather(self._rounds, return_exceptions=True)
        self._answer_all(self._waiting)
        self._waiting.clear()

    # --- the rounds -------------------------------------------------------------------

    def _put(self, parcel: _Parcel[T, R]) -> None:
        self._waiting.append(parcel)
        if self._rounds is None or self._rounds.done():
            self._rounds = asyncio.get_running_loop().create_task(self._go())

    async def _go(self) -> None:
        while self._waiting:
            # At least a turn of the loop: what is submitted in the same turn leaves together.
            await asyncio.sleep(self._linger_s)
            batch = self._load()
            if not batch:
                continue
            try:
                results = await self._send([parcel.item for parcel in batch])
            except ComityError as error:
                results = [error] * len(batch)
            except asyncio.CancelledError:
                self._answer_all(batch)
                raise
            except Exception as error:  # noqa: BLE001 - whoever waits is told
                for parcel in batch:
                    _settle(parcel, error)
                continue
            if len(results) != len(batch):
                results = [Unavailable("The neighbour answered another number of items.")] * len(
                    batch
                )
            for parcel, result in zip(batch, results, strict=True):
                self._deal(parcel, result)

    def _load(self) -> list[_Parcel[T, R]]:
        """The next batch: everything that waits up to the limit, less what nobody waits for."""
        batch: list[_Parcel[T, R]] = []
        while self._waiting and len(batch) < self._limit:
            parcel = self._waiting.popleft()
            if not parcel.answer.done():
                batch.append(parcel)
        return batch

    def _deal(self, parcel: _Parcel[T, R], result: R | ComityError) -> None:
        if isinstance(result, Unavailable) and not self._closed:
            self._again(parcel)
        elif isinstance(result, ComityError):
            _settle(parcel, result)
        elif not parcel.answer.done():
            parcel.answer.set_result(result)

    def _again(self, parcel: _Parcel[T, R]) -> None:
        pause_s = min(self._first_pause_s * 2**parcel.attempts, self._longest_pause_s)
        parcel.attempts = min(parcel.attempts + 1, 32)
        loop = asyncio.get_running_loop()

        def put() -> None:
            self._later.pop(timer, None)
            if not parcel.answer.done():
                self._put(parcel)

        timer = loop.call_later(pause_s, put)
        self._later[timer] = parcel

    def _answer_all(self, parcels: Sequence[_Parcel[T, R]] | deque[_Parcel[T, R]]) -> None:
        for parcel in parcels:
            _settle(parcel, _shut())


def _settle(parcel: _Parcel[T, R], error: Exception) -> None:
    if not parcel.answer.done():
        parcel.answer.set_exception(error)


def _shut() -> Unavailable:
    return Unavailable("This process is shutting down; repeat the request.")
