"""The queue in front of a sequencer: everything that waits becomes the next batch.

No timer decides: at low load a command is committed at once and alone, at high load batches
grow by themselves while the previous one is being committed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from comity.errors import ComityError, Overloaded, Unavailable
from comity.ledger.command import Answer, Command, Outcome
from comity.ledger.runner import Runner
from comity.ledger.sequencer import BATCH_LIMIT, Sequencer
from comity.ledger.store import Proven

QUEUE_LIMIT = 16 * BATCH_LIMIT

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Waiting:
    commands: Sequence[Command]
    outcomes: asyncio.Future[list[Outcome]]


class CommandQueue:
    """How a service's coroutines submit commands to the one writer.

    `write` runs the batches, one at a time: a dedicated thread in a service, inline in a
    simulated world. `read` runs the proofs that need the database.
    """

    def __init__(
        self,
        sequencer: Sequencer,
        *,
        write: Runner,
        read: Runner,
        batch_limit: int = BATCH_LIMIT,
        queue_limit: int = QUEUE_LIMIT,
        count_batch: Callable[[int], None] = lambda _: None,
    ) -> None:
        """`count_batch` is told how many commands each batch holds."""
        self.sequencer = sequencer
        self.store = sequencer.store
        self._write = write
        self._read = read
        self._batch_limit = batch_limit
        self._queue_limit = queue_limit
        self._count_batch = count_batch
        self._waiting: deque[_Waiting] = deque()
        self._count = 0
        self._pump: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def serving(self) -> bool:
        """Whether commands are accepted: not after `close`, nor after the writer ended."""
        return not self._closed

    @property
    def waiting(self) -> int:
        """Commands which wait for the batch after the one under way."""
        return self._count

    async def submit(self, command: Command) -> Answer:
        """Commit one command and return its answer; raises the ComityError it was answered.

        Cancelling the caller does not take back a command: repeat it to learn its answer.
        """
        (outcome,) = await self.submit_all((command,))
        if isinstance(outcome, ComityError):
            raise outcome
        return outcome

    async def submit_all(self, commands: Sequence[Command]) -> list[Outcome]:
        """Commit commands; outcomes in item order, errors as values.

        Commands handed in together stay in order, and stay in one batch up to the batch limit.
        """
        limit = self._batch_limit
        if self._closed:
            return [Unavailable("This process is shutting down; repeat the request.")] * len(
                commands
            )
        if self._count + len(commands) > self._queue_limit:
            return [
                Overloaded("Too many requests are waiting for this ledger; repeat in a moment.")
            ] * len(commands)
        futures = [
            self._enqueue(commands[at : at + limit]) for at in range(0, len(commands), limit)
        ]
        found: list[Outcome] = []
        for future in futures:
            found += await future
        return found

    async def prove(self, indices: Sequence[int]) -> Proven:
        """Entries with their paths under the latest head: from memory if they are recent."""
        if self.store.in_memory(indices):
            return self.store.prove(indices)
        return await self._read(lambda: self.store.prove(indices))

    async def keep_lease(self, *, every_seconds: float = 3.0) -> None:
        """Renew the lease until cancelled; a background task of each service.

        A database that cannot write now may be able to in a moment; who writes then is decided
        by the fence in each batch. Raises LeaseHeld when another process has taken over: the
        service has to stop.
        """
        while True:
            await asyncio.sleep(every_seconds)
            with contextlib.suppress(Unavailable):
                await self._write(self.sequencer.renew)

    async def close(self) -> None:
        """Commit what waits, then give the lease back. Later submissions are Unavailable."""
        self._closed = True
        while self._pump is not None and not self._pump.done():
            await asyncio.wait([self._pump])
        await self._write(self.sequencer.close)

    def _enqueue(self, commands: Sequence[Command]) -> asyncio.Future[list[Outcome]]:
        future: asyncio.Future[list[Outcome]] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(commands, future))
        self._count += len(commands)
        if self._pump is None or self._pump.done():
            self._pump = asyncio.get_running_loop().create_task(self._drain())
        return future

    async def _drain(self) -> None:
        while self._waiting:
            taken = self._take()
            commands = [command for waiting in taken for command in waiting.commands]
            if not commands:
                continue
            self._count_batch(len(commands))
            try:
                outcomes = await self._write(partial(self.sequencer.run_batch, commands))
            except BaseException as error:
                self._fail(taken)
                if not isinstance(error, Exception):
                    raise
                _log.critical("ledger %s: the writer ended", self.sequencer.ledger, exc_info=True)
                return
            at = 0
            for waiting in taken:
                end = at + len(waiting.commands)
                if not waiting.outcomes.done():
                    waiting.outcomes.set_result(outcomes[at:end])
                at = end
            # A turn of the loop: what is about to be submitted goes along with the next batch.
            await asyncio.sleep(0)

    def _take(self) -> list[_Waiting]:
        """All that wait, up to the batch limit; what nobody waits for any more is dropped."""
        taken: list[_Waiting] = []
        count = 0
        while self._waiting:
            following = self._waiting[0]
            if taken and count + len(following.commands) > self._batch_limit:
                break
            self._waiting.popleft()
            self._count -= len(following.commands)
            if not following.outcomes.done():
                taken.append(following)
                count += len(following.commands)
        return taken

    def _fail(self, taken: Sequence[_Waiting]) -> None:
        """The batch ended as if the process had died: nobody is answered any more."""
        self._closed = True
        for waiting in (*taken, *self._waiting):
            if not waiting.outcomes.done():
                waiting.outcomes.cancel()
        self._waiting.clear()
        self._count = 0
