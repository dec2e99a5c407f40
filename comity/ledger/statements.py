"""Statements: what one organisation shows another, an entry with its proof and signed head.

On the wire a statement is a message; in a receipt it is a C2SP tlog-proof file whose `extra`
line carries the entry's bytes. Both hold the same five things and verify the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from comity.errors import BadStatement
from comity.ledger import entries
from comity.log import merkle, proof
from comity.log.checkpoint import Checkpoint, CheckpointCache, Keys
from comity.v1 import common_pb2, entry_pb2


@dataclass(frozen=True, slots=True)
class Proven:
    """A statement that verified: the entry, its bytes, its name, and the head that proves it."""

    entry: entry_pb2.Entry
    data: bytes
    citation: common_pb2.Citation
    head: Checkpoint
    note: bytes


def make(
    data: bytes, *, index: int, hashes: Sequence[bytes], checkpoint: bytes
) -> common_pb2.Statement:
    """The statement of one entry under one signed checkpoint."""
    return common_pb2.Statement(entry=data, index=index, hashes=hashes, checkpoint=checkpoint)


def verify(
    statement: common_pb2.Statement,
    *,
    origin: str,
    verifier: Keys,
    cache: CheckpointCache,
) -> Proven:
    """Read a statement of `origin` (protocol, section 2, steps 2 and 3). Raises BadStatement.

    1. the note is signed by the key of `verifier` for its size and is a checkpoint of `origin`
    2. the leaf hash over the bytes received leads to the root by the proof
    3. the entry parses strictly and belongs to `origin`
    """
    head = cache.open(statement.checkpoint, origin=origin, verifier=verifier)
    leaf = merkle.leaf_hash(statement.entry)
    merkle.verify_inclusion(
        leaf=leaf,
        index=statement.index,
        size=head.size,
        proof=tuple(statement.hashes),
        root=head.root,
    )
    entry = entries.decode(statement.entry, origin=origin)
    return Proven(
        entry=entry,
        data=statement.entry,
        citation=common_pb2.Citation(origin=origin, index=statement.index, leaf_hash=leaf),
        head=head,
        note=statement.checkpoint,
    )


def to_tlog_proof(statement: common_pb2.Statement) -> str:
    """The statement as a `c2sp.org/tlog-proof@v1` file."""
    return proof.format(
        proof.TlogProof(
            index=statement.index,
            hashes=tuple(statement.hashes),
            checkpoint=statement.checkpoint,
            extra=statement.entry,
        )
    ).decode()


def from_tlog_proof(text: str | bytes) -> common_pb2.Statement:
    """The statement in a tlog-proof file. Raises BadStatement; verifies nothing."""
    read = proof.parse(text.encode() if isinstance(text, str) else text)
    if read.extra is None:
        raise BadStatement("The proof has no extra line, so it does not say what it proves.")
    return make(read.extra, index=read.index, hashes=read.hashes, checkpoint=read.checkpoint)
