"""Three-way reconciliation: the books of issuer, acceptor and clearing, and where they part.

Clearing's book is compared with each brand's: first by digests of blocks, then, where two blocks
differ, row by row. Every difference is one break with a name. Nothing is changed by looking.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from clearing.store import ClearingStore
from comity.errors import ComityError, NotFound
from comity.ledger.runner import Runner
from comity.rpc.channel import Channel, stub
from comity.terms.books import block_digests
from comity.v1.entry_pb2 import Outcome
from comity.v1.operator_pb2 import (
    BREAK_KIND_AMOUNT,
    BREAK_KIND_DUPLICATE,
    BREAK_KIND_MISSING_AT_ACCEPTOR,
    BREAK_KIND_MISSING_AT_CLEARING,
    BREAK_KIND_MISSING_AT_ISSUER,
    BREAK_KIND_WINDOW,
    Break,
    BreakKind,
    ReconcileWindowResponse,
)
from comity.v1.peer_pb2 import BookRow, ReadBookRequest, ReadBookResponse
from comity.v1.peer_pb2_grpc import PeerServiceStub

BLOCK = 256
PAGE = 10_000

Peers = Callable[[str], Channel]
"""A channel to a participant's peer listener."""

ReadBook = Callable[[ReadBookRequest], Awaitable[ReadBookResponse]]


# --- rows -----------------------------------------------------------------------------------


def compare(ours: Sequence[BookRow], theirs: Sequence[BookRow], *, participant: str) -> list[Break]:
    """Where a participant's book differs from clearing's, in order of its numbers."""
    at_clearing = {row.seq: row for row in ours}
    at_brand: dict[int, BookRow] = {}
    found: list[Break] = []
    decided = Counter(row.decision for row in theirs)
    for row in sorted(theirs, key=lambda row: row.seq):
        if row.seq in at_brand or (decided[row.decision] > 1 and row != at_clearing.get(row.seq)):
            found.append(_break(BREAK_KIND_DUPLICATE, participant, row, "recorded twice"))
            continue
        at_brand[row.seq] = row
    for seq in sorted(at_clearing.keys() | at_brand.keys()):
        mine, other = at_clearing.get(seq), at_brand.get(seq)
        if mine is not None and (other is None or not _same_thing(mine, other)):
            missing = (
                BREAK_KIND_MISSING_AT_ISSUER
                if participant == mine.issuer
                else BREAK_KIND_MISSING_AT_ACCEPTOR
            )
            found.append(_break(missing, participant, mine, _named(mine)))
        if other is not None and (mine is None or not _same_thing(mine, other)):
            found.append(_break(BREAK_KIND_MISSING_AT_CLEARING, participant, other, _named(other)))
        if mine is not None and other is not None and _same_thing(mine, other):
            found += _differences(mine, other, participant)
    return sorted(found, key=lambda one: one.seq)


def _differences(ours: BookRow, theirs: BookRow, participant: str) -> list[Break]:
    found = []
    if ours.window != theirs.window:
        detail = f"window {ours.window} here, {theirs.window} there"
        found.append(_break(BREAK_KIND_WINDOW, participant, ours, detail))
    here, there = _figures(ours), _figures(theirs)
    if here != there:
        found.append(_break(BREAK_KIND_AMOUNT, participant, ours, f"{here} here, {there} there"))
    elif ours.decision != theirs.decision:
        found.append(
            _break(BREAK_KIND_AMOUNT, participant, ours, "they rest on different DECISION entries")
        )
    return found


def _same_thing(one: BookRow, other: BookRow) -> bool:
    return (one.issuer, one.acceptor, one.redemption_id, one.outcome) == (
        other.issuer,
        other.acceptor,
        other.redemption_id,
        other.outcome,
    )


def _figures(row: BookRow) -> str:
    return (
        f"{row.points} points, {row.amount.minor} {row.amount.currency}, "
        f"fee {row.fee.minor} {row.fee.currency}"
    )


def _named(row: BookRow) -> str:
    return f"{Outcome.Name(row.outcome).removeprefix('OUTCOME_')}, {_figures(row)}"


def _break(kind: BreakKind.ValueType, participant: str, row: BookRow, detail: str) -> Break:
    return Break(
        kind=kind,
        participant=participant,
        redemption_id=row.redemption_id,
        seq=row.seq,
        detail=detail,
    )


# --- books ----------------------------------------------------------------------------------


@dataclass(slots=True)
class Comparison:
    """What comparing one participant's book came to."""

    breaks: list[Break] = field(default_factory=list)
    rows: int = 0
    blocks: int = 0


class Reconciliation:
    """Compares books of closed or open windows, brand by brand."""

    def __init__(
        self, *, store: ClearingStore, peers: Peers, read: Runner, block: int = BLOCK
    ) -> None:
        self._store = store
        self._peers = peers
        self._read = read
        self._block = block

    async def window(self, window: int) -> ReconcileWindowResponse:
        """Every break between clearing and the brands of one window."""
        if await self._read(lambda: self._store.window(window)) is None:
            raise NotFound(f"There is no window {window} yet.", field="window")
        response = ReconcileWindowResponse()
        spans = await self._read(lambda: self._store.spans([window]))
        for span in sorted(spans, key=lambda span: span["participant"]):
            participant = span["participant"]
            read_book: ReadBook = stub(PeerServiceStub, self._peers(participant)).ReadBook
            try:
                done = await self._compare(
                    participant, read_book, first=span["first_seq"], last=span["last_seq"]
                )
            except ComityError:
                response.unreachable.append(participant)
                continue
            response.breaks.extend(done.breaks)
            response.rows_compared += done.rows
            response.blocks_compared += done.blocks
        return response

    async def _compare(
        self, participant: str, read_book: ReadBook, *, first: int, last: int
    ) -> Comparison:
        done = Comparison()
        for start in range(first, last + 1, PAGE):
            end = min(start + PAGE - 1, last)
            book = partial(self._store.book, participant, first_seq=start, last_seq=end)
            ours = await self._read(book)
            await self._compare_page(done, participant, read_book, ours, start=start, end=end)
        return done

    async def _compare_page(
        self,
        done: Comparison,
        participant: str,
        read_book: ReadBook,
        ours: Sequence[BookRow],
        *,
        start: int,
        end: int,
    ) -> None:
        """Compare one page by its blocks, and the rows of those blocks that differ."""
        count = end - start + 1
        asked = ReadBookRequest(from_seq=start, limit=count, block=self._block)
        theirs = list((await read_book(asked)).digests)
        mine = block_digests(ours, from_seq=start, limit=count, block=self._block)
        done.rows += count
        for place in range(max(len(mine), len(theirs))):
            done.blocks += 1
            if mine[place : place + 1] == theirs[place : place + 1]:
                continue
            first = start + place * self._block
            size = min(self._block, end - first + 1)
            rows = (await read_book(ReadBookRequest(from_seq=first, limit=size))).rows
            done.breaks += compare(
                [row for row in ours if first <= row.seq < first + size],
                rows,
                participant=participant,
            )
