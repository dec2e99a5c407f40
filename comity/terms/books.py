"""Books: a log projected to one fixed row for each decided redemption, the same at everybody.

A participant's book holds one row for each of its decision numbers. The issuer and the acceptor
read theirs from the DECISION entries they were shown, clearing reads it from its own, and all of
them must be equal. Digests of blocks of rows find where two books part without sending them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from comity.errors import BadStatement
from comity.ledger.entries import canonical
from comity.v1.entry_pb2 import Decision, DecisionOpening
from comity.v1.peer_pb2 import BookRow

ROW_LABEL = b"comity-book-row/v1\n"
BLOCK_LABEL = b"comity-book-block/v1\n"


def seq_of(decision: Decision, participant: str) -> int:
    """The number of a decision in the book of one of its two parties."""
    if participant == decision.issuer:
        return decision.issuer_seq
    if participant == decision.acceptor:
        return decision.acceptor_seq
    raise BadStatement(f"The decision does not concern {participant}.")


def row_of(
    decision: Decision, *, leaf_hash: bytes, opening: DecisionOpening, participant: str
) -> BookRow:
    """The row which a DECISION makes in the book of one of its parties.

    `leaf_hash` is that of the DECISION entry. Figures come from the opening with the signs they
    have there; an ABORTED decision has none.
    """
    row = BookRow(
        seq=seq_of(decision, participant),
        issuer=decision.issuer,
        acceptor=decision.acceptor,
        redemption_id=decision.redemption_id,
        outcome=decision.outcome,
        window=decision.window,
        points=opening.points,
        decision=leaf_hash,
    )
    if opening.amounts.HasField("amount"):
        row.amount.CopyFrom(opening.amounts.amount)
    if opening.amounts.HasField("fee"):
        row.fee.CopyFrom(opening.amounts.fee)
    return row


def row_digest(row: BookRow) -> bytes:
    """SHA-256 over a label and the deterministic bytes of the row."""
    return hashlib.sha256(ROW_LABEL + canonical(row)).digest()


def block_digest(rows: Iterable[BookRow]) -> bytes:
    """SHA-256 over a label and the digests of the rows, in order of their numbers."""
    ordered = sorted(rows, key=lambda row: row.seq)
    return hashlib.sha256(BLOCK_LABEL + b"".join(map(row_digest, ordered))).digest()


def block_digests(rows: Sequence[BookRow], *, from_seq: int, limit: int, block: int) -> list[bytes]:
    """What `ReadBook` answers for a block size.

    Block k covers the numbers from `from_seq + k * block` on, `block` of them, and none at or
    above `from_seq + limit`. A number without a row counts for nothing. The last block is the
    last one which holds a row.
    """
    if block < 1 or limit < 1:
        raise ValueError("a block and a limit have at least one row")
    blocks: dict[int, list[BookRow]] = {}
    for row in rows:
        if from_seq <= row.seq < from_seq + limit:
            blocks.setdefault((row.seq - from_seq) // block, []).append(row)
    return [block_digest(blocks.get(place, ())) for place in range(max(blocks, default=-1) + 1)]
