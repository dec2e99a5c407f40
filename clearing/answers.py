"""Answers in statements: entries of clearing's own log, proven, with the caller's openings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from clearing import record
from clearing.store import ClearingStore
from comity.errors import ComityError
from comity.ledger import statements
from comity.ledger.command import Answer, Outcome
from comity.ledger.queue import CommandQueue
from comity.ledger.runner import Runner
from comity.ledger.store import Head
from comity.v1.clearing_pb2 import Decided
from comity.v1.common_pb2 import Failure, Statement
from comity.v1.entry_pb2 import DecisionOpening, Entry

_MESSAGE_LENGTH = 1_024


def failure(error: ComityError) -> Failure:
    """A typed error as the result of one item."""
    return Failure(
        code=error.code,
        message=error.message[:_MESSAGE_LENGTH],
        field=error.field,
        metadata=error.metadata,
    )


class Statements:
    """Proves entries and shows decisions."""

    def __init__(self, *, queue: CommandQueue, store: ClearingStore, read: Runner) -> None:
        self._queue = queue
        self._store = store
        self._read = read

    async def prove(self, indices: Sequence[int]) -> tuple[Head, dict[int, Statement]]:
        """Statements of these entries, all under the head returned with them."""
        proven = await self._queue.prove(tuple(dict.fromkeys(indices)))
        made = {
            entry.index: statements.make(
                entry.body, index=entry.index, hashes=entry.path, checkpoint=proven.head.note
            )
            for entry in proven.entries
        }
        return proven.head, made

    async def one(self, body: bytes) -> Statement:
        """The statement of the entry which an answer names."""
        index = record.index_in(body)
        _, made = await self.prove([index])
        return made[index]

    async def decided(
        self, participant: str, outcomes: Sequence[Outcome]
    ) -> tuple[Head, list[Decided | ComityError]]:
        """What claims were answered, as this participant may see it, in order."""
        answers = [one for one in outcomes if isinstance(one, Answer)]
        opened = {
            record.index_in(one.body): opening
            for one in answers
            if (opening := record.opening_in(one.body)) is not None
        }
        indices = [record.index_in(one.body) for one in answers]
        head, shown = await self.show(participant, indices, opened=opened)
        return head, [
            shown[record.index_in(one.body)] if isinstance(one, Answer) else one for one in outcomes
        ]

    async def show(
        self,
        participant: str,
        indices: Sequence[int],
        *,
        opened: Mapping[int, DecisionOpening] = MappingProxyType({}),
    ) -> tuple[Head, Mapping[int, Decided]]:
        """Decisions with the part of their openings that concerns this participant.

        `opened` are openings at hand already; the others are looked up.
        """
        head, made = await self.prove(indices)
        closed = [index for index in made if index not in opened]
        found = dict(opened)
        if closed:
            found |= await self._read(lambda: self._store.openings(closed))
        return head, {
            index: _decided(participant, statement, found.get(index))
            for index, statement in made.items()
        }


def _decided(participant: str, statement: Statement, opening: DecisionOpening | None) -> Decided:
    shown = None
    if opening is not None:
        decision = Entry.FromString(statement.entry).decision
        shown = record.opening_for(participant, decision, opening)
    return Decided(decision=statement, opening=shown)
