"""The one way from a use case to the sequencer: heads first, then commands, then the news.

Heads which a request taught are stored in the batch of the effects that rely on them, and every
follower learns at once that the log has grown.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from clearing.commands import Hear
from clearing.feed import Feed
from comity.errors import ComityError
from comity.ledger.command import Answer, Command, Outcome
from comity.ledger.queue import CommandQueue
from comity.ledger.store import KnownHead


class Desk:
    """Submits commands for everybody in clearing."""

    def __init__(self, *, queue: CommandQueue, feed: Feed) -> None:
        self._queue = queue
        self._feed = feed
        self._learnt: list[KnownHead] = []

    def learn(self, heads: Iterable[KnownHead]) -> None:
        """Have heads stored with the next batch, whatever becomes of the request they came in."""
        self._learnt += heads

    async def submit_all(self, commands: Sequence[Command]) -> list[Outcome]:
        """Outcomes in the order of the commands, errors as values."""
        heads, self._learnt = self._learnt, []
        heard = [Hear(seen=tuple(heads))] if heads else []
        if not commands and not heard:
            return []
        outcomes = await self._queue.submit_all([*heard, *commands])
        if heard and isinstance(outcomes[0], ComityError):
            self._learnt = heads + self._learnt
        if any(isinstance(one, Answer) and one.entry_count for one in outcomes):
            self._feed.announce()
        return outcomes[len(heard) :]

    async def submit(self, command: Command) -> Answer:
        """The answer of one command; raises the error it was answered."""
        (outcome,) = await self.submit_all([command])
        if isinstance(outcome, ComityError):
            raise outcome
        return outcome

    async def submit_read(self, read: Sequence[Command | ComityError]) -> list[Outcome]:
        """As `submit_all`, with errors standing in for what could not be read."""
        commands = [one for one in read if not isinstance(one, ComityError)]
        outcomes = iter(await self.submit_all(commands))
        return [one if isinstance(one, ComityError) else next(outcomes) for one in read]
