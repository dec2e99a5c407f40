"""Evidence that a log's owner cheated: two signed things that cannot both be true.

Three kinds (protocol, section 2): one size with two roots; one index with two proven leaves; a
signed root whose own leaves contradict an earlier signed head. Whoever holds the log's key can
check each of them alone. Refusing to link two heads is no evidence.
"""

from __future__ import annotations

from collections.abc import Sequence

from comity.errors import BadStatement, ComityError
from comity.ledger import statements
from comity.log import proof
from comity.log.checkpoint import Checkpoint, CheckpointCache, open_checkpoint
from comity.log.history import KeyHistory
from comity.log.merkle import Frontier
from comity.log.note import VerifierKey
from comity.verify.report import Check, Report, refused


def evidence(
    first: bytes,
    second: bytes,
    *,
    verifier: KeyHistory | VerifierKey,
    leaves: Sequence[bytes] | None = None,
) -> Report:
    """Whether the two prove that the owner of `verifier` cheated; `passed` means they do.

    Each must be signed by the key for its size: what a stolen key signed after it was exchanged
    proves nothing against its owner.

    1. two checkpoints of one size, with two roots
    2. two tlog-proofs of one index, with two leaves
    3. with `leaves` (the leaf hashes of the larger): two checkpoints of which the larger has
       those leaves and the smaller does not
    """
    try:
        if first.startswith(proof.HEADER.encode()):
            detail = _two_leaves(first, second, verifier)
        else:
            one = open_checkpoint(first, origin=verifier.name, verifier=verifier)
            other = open_checkpoint(second, origin=verifier.name, verifier=verifier)
            detail = _two_roots(one, other) if leaves is None else _prefix(one, other, leaves)
    except ComityError as error:
        check = refused("evidence", error)
    else:
        check = Check("evidence", passed=True, detail=detail)
    return Report(subject=verifier.name, checks=(check,))


def _two_roots(one: Checkpoint, other: Checkpoint) -> str:
    if one.size != other.size:
        raise BadStatement("The heads have two sizes; that alone contradicts nothing.")
    if one.root == other.root:
        raise BadStatement("The heads are the same; they contradict nothing.")
    return f"{one.origin} signed two roots of size {one.size}."


def _two_leaves(first: bytes, second: bytes, verifier: KeyHistory | VerifierKey) -> str:
    one, other = (
        statements.verify(
            statements.from_tlog_proof(data),
            origin=verifier.name,
            verifier=verifier,
            cache=CheckpointCache(1),
        )
        for data in (first, second)
    )
    if one.citation.index != other.citation.index:
        raise BadStatement("The statements are of two places; they contradict nothing.")
    if one.citation.leaf_hash == other.citation.leaf_hash:
        raise BadStatement("The statements are of the same entry; they contradict nothing.")
    return f"{verifier.name} signed two entries at index {one.citation.index}."


def _prefix(one: Checkpoint, other: Checkpoint, leaves: Sequence[bytes]) -> str:
    smaller, larger = sorted((one, other), key=lambda head: head.size)
    edge = Frontier()
    edge.extend(leaves[: smaller.size])
    prefix = edge.root()
    edge.extend(leaves[smaller.size :])
    if edge.size != larger.size or edge.root() != larger.root:
        raise BadStatement("The leaves do not lead to the larger head.")
    if prefix == smaller.root:
        raise BadStatement("The larger head extends the smaller one; they contradict nothing.")
    return f"The log {one.origin} of size {larger.size} does not extend the one of {smaller.size}."
