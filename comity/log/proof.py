"""Offline proofs of C2SP tlog-proof: an entry's index, its inclusion proof, a checkpoint."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

from comity.errors import BadStatement
from comity.log import merkle
from comity.log.checkpoint import Checkpoint, open_checkpoint
from comity.log.note import MAX_NOTE_BYTES, Verifier, from_base64, to_base64

HEADER = "c2sp.org/tlog-proof@v1"
MAX_HASHES = 63
"""The longest inclusion proof in a tree of fewer than 2^63 leaves."""
MAX_EXTRA_BYTES = 1 << 20

_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")


class OpenCheckpoint(Protocol):
    """`open_checkpoint`, or the `open` of a `CheckpointCache`."""

    def __call__(self, note_bytes: bytes, *, origin: str, verifier: Verifier) -> Checkpoint: ...


@dataclass(frozen=True, slots=True)
class TlogProof:
    """That a leaf stands at `index` under `checkpoint` (the signed note as received).

    `extra` is not authenticated by the format. In our receipts it holds the entry's bytes: hash
    them as the leaf, and the proof vouches for them. Making an impossible proof raises
    `BadStatement`.
    """

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.index < merkle.MAX_SIZE:
            raise BadStatement("The index of a proof is a number from 0 to 2^63-2.")
        if len(self.hashes) > MAX_HASHES:
            raise BadStatement(f"An inclusion proof has at most {MAX_HASHES} hashes.")
        if any(len(found) != merkle.HASH_SIZE for found in self.hashes):
            raise BadStatement("Each hash of an inclusion proof has 32 bytes.")
        if not self.checkpoint or len(self.checkpoint) > MAX_NOTE_BYTES:
            raise BadStatement(f"The checkpoint of a proof has 1 to {MAX_NOTE_BYTES} bytes.")
        if self.extra is not None and len(self.extra) > MAX_EXTRA_BYTES:
            raise BadStatement(f"The extra data of a proof has at most {MAX_EXTRA_BYTES} bytes.")


def format(proof: TlogProof) -> bytes:  # noqa: A001 (the pair is parse and format)
    """The proof as a `.tlog-proof` file (tlog-proof, "Format")."""
    lines = [HEADER]
    if proof.extra is not None:
        lines.append(f"extra {to_base64(proof.extra)}")
    lines.append(f"index {proof.index}")
    lines.extend(map(to_base64, proof.hashes))
    return "\n".join((*lines, "", "")).encode() + proof.checkpoint


def parse(data: bytes) -> TlogProof:
    """The proof in a `.tlog-proof` file; `BadStatement` unless `format` would write exactly it.

    Nothing is verified, not even that the checkpoint is one.
    """
    if len(data) > 2 * (MAX_EXTRA_BYTES + MAX_NOTE_BYTES):
        raise BadStatement("The proof is too long.")
    head, blank, checkpoint = data.partition(b"\n\n")
    if not blank:
        raise BadStatement("A proof has a blank line before its checkpoint.")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise BadStatement("A proof is ASCII up to its checkpoint.") from None
    if lines.pop(0) != HEADER:
        raise BadStatement(f"A proof starts with the line {HEADER}.")
    extra = None
    if lines and lines[0].startswith("extra "):
        extra = from_base64(lines.pop(0).removeprefix("extra "))
        if extra is None:
            raise BadStatement("The extra line of a proof is in base64.")
    kind, _, number = lines.pop(0).partition(" ") if lines else ("", "", "")
    if kind != "index" or not _DECIMAL.fullmatch(number):
        raise BadStatement("A proof has a line with index and a decimal number.")
    if len(lines) > MAX_HASHES:
        raise BadStatement(f"An inclusion proof has at most {MAX_HASHES} hashes.")
    hashes = tuple(from_base64(line) or b"" for line in lines)
    return TlogProof(int(number), hashes, checkpoint, extra)


def verify(
    proof: TlogProof,
    *,
    origin: str,
    verifier: Verifier,
    leaf_data: bytes | None = None,
    leaf_hash: bytes | None = None,
    opener: OpenCheckpoint = open_checkpoint,
) -> Checkpoint:
    """The checkpoint of `origin` under which the leaf is proven to stand.

    Exactly one of `leaf_data` (an entry's bytes) and `leaf_hash` is given. Follows tlog-proof,
    "Verifying a tlog proof"; cosignatures of witnesses (its step 3) are not looked at. Raises
    `BadStatement`.
    """
    # 1. The leaf hash.
    if (leaf_data is None) == (leaf_hash is None):
        raise ValueError("Give either leaf_data or leaf_hash.")
    leaf = merkle.leaf_hash(leaf_data) if leaf_data is not None else leaf_hash
    assert leaf is not None
    # 2. The checkpoint's origin and signature.
    checkpoint = opener(proof.checkpoint, origin=origin, verifier=verifier)
    # 4. The path from the leaf to the signed root.
    merkle.verify_inclusion(
        leaf=leaf,
        index=proof.index,
        size=checkpoint.size,
        proof=proof.hashes,
        root=checkpoint.root,
    )
    return checkpoint
