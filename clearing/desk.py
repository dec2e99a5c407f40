"""The one way from a use case to the sequencer: heads first, then commands, then the news.

Heads which a request taught are stored in the batch of the effects that rely on them, and every
follower learns at once that the log has grown.
"""

from __future__ import annotations

from collections.abc import Sequence

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

    async def submit_all(
        self, commands: Sequence[Command], *, seen: Sequence[KnownHead] = ()
    ) -> list[Outcome]:
        """Outcomes in the order of the commands, errors as values."""
        heard = [Hear(seen=tuple(seen))] if seen else []
        if not commands and not heard:
            return []
        outcomes = await self._queue.submit_all([*heard, *commands])
        if any(isinstance(one, Answer) and one.entry_count for one in outcomes):
            self._feed.announce()
        return outcomes[len(heard) :]

    async def submit(self, command: Command, *, seen: Sequence[KnownHead] = ()) -> Answer:
        """The answer of one command; raises the error it was answered."""
        (outcome,) = await self.submit_all([command], seen=seen)
        if isinstance(outcome, ComityError):
            raise outcome
        return outcome

    async def submit_read(
        self, read: Sequence[Command | ComityError], *, seen: Sequence[KnownHead]
    ) -> list[Outcome]:
        """As `submit_all`, with errors standing in for what could not be read."""
        commands = [one for one in read if not isinstance(one, ComityError)]
        outcomes = iter(await self.submit_all(commands, seen=seen))
        return [one if isinstance(one, ComityError) else next(outcomes) for one in read]
