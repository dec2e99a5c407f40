"""Merkle trees of RFC 6962 §2.1 (the same trees as RFC 9162 §2.1): hashes, proofs, frontiers.

A tree is named by its size; `read(level, index)` answers the hash of the perfect subtree that
covers leaves `index * 2**level` up to `(index + 1) * 2**level`. Where the hashes are kept is
not known here. SHA-256 is the only hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence

from comity.errors import BadStatement

HASH_SIZE = 32
MAX_SIZE = 2**63 - 1
"""The largest tree accepted, so that sizes and indices fit a signed 64-bit column."""

EMPTY_ROOT = hashlib.sha256(b"").digest()
"""The root of the tree without leaves (RFC 6962 §2.1)."""

ReadHash = Callable[[int, int], bytes]
"""`read(level, index)`: the hash of one perfect subtree."""

_sha256 = hashlib.sha256


def leaf_hash(data: bytes) -> bytes:
    """SHA-256(0x00 ‖ data), RFC 6962 §2.1."""
    return _sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 ‖ left ‖ right), RFC 6962 §2.1."""
    return _sha256(b"\x01" + left + right).digest()


def perfect_subtrees(size: int) -> Iterator[tuple[int, int]]:
    """The (level, index) of the perfect subtrees a tree of `size` consists of, left to right."""
    return _range_subtrees(0, size)


def root_of(size: int, read: ReadHash) -> bytes:
    """The root of the tree of `size`, from O(log size) reads."""
    _require_size(size)
    return EMPTY_ROOT if size == 0 else _range_hash(0, size, read)


def inclusion_path(index: int, size: int, read: ReadHash) -> tuple[bytes, ...]:
    """The audit path of leaf `index` in the tree of `size` (RFC 6962 §2.1.1), leaf upwards."""
    _require_size(size)
    if not 0 <= index < size:
        raise BadStatement(f"Leaf {index} is not in a tree of {size}; ask for a larger head.")
    return tuple(_path(index, 0, size, read))


def consistency_path(old_size: int, new_size: int, read: ReadHash) -> tuple[bytes, ...]:
    """The proof that the tree of `old_size` is a prefix of that of `new_size` (RFC 6962 §2.1.2).

    Empty for equal sizes, and from the empty tree, which is a prefix of every tree.
    """
    _require_size(new_size)
    if not 0 <= old_size <= new_size:
        raise BadStatement(f"A tree of {new_size} has no prefix of {old_size} leaves.")
    if old_size in (0, new_size):
        return ()
    level = _trailing_zeros(old_size)
    index = (old_size >> level) - 1
    # A whole power of two is itself the first node, and its hash is the old root.
    seed = () if index == 0 else (read(level, index),)
    return (*seed, *_path(old_size - 1, level, new_size, read))


def verify_inclusion(
    *, leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Check that `leaf` (a leaf hash) stands at `index` in the tree (`size`, `root`).

    RFC 9162 §2.1.3.2. Raises `BadStatement` otherwise.
    """
    if not 0 <= index < size <= MAX_SIZE:
        raise BadStatement(f"Leaf {index} cannot be in a tree of {size}.")
    _require_hashes(leaf, root, *proof)
    inner, border = _decompose(index, size)
    if len(proof) != inner + border:
        raise BadStatement(
            f"An inclusion proof of leaf {index} in {size} has {inner + border} hashes, "
            f"this one has {len(proof)}."
        )
    found = _climb(leaf, proof[:inner], index)
    for left in proof[inner:]:
        found = node_hash(left, found)
    if found != root:
        raise BadStatement(f"The inclusion proof of leaf {index} does not lead to the root.")


def verify_consistency(
    *, old_size: int, new_size: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Check that the tree (`old_size`, `old_root`) is a prefix of (`new_size`, `new_root`).

    RFC 9162 §2.1.4.2. Raises `BadStatement` otherwise, and for an `old_size` of 0: nothing can
    be proven from the empty tree (`comity.log.checkpoint.verify_extension` knows that case).
    """
    if not 0 < old_size <= new_size <= MAX_SIZE:
        raise BadStatement(f"There is no consistency proof from size {old_size} to {new_size}.")
    _require_hashes(old_root, new_root, *proof)
    if old_size == new_size:
        if proof or old_root != new_root:
            raise BadStatement(
                f"Two trees of size {old_size} differ, or come with a needless proof."
            )
        return
    # 1. The proof starts at the last perfect subtree of the old tree; for a power of two that
    #    subtree is the whole old tree and is left out.
    level = _trailing_zeros(old_size)
    seeds = 0 if old_size == 1 << level else 1
    inner, border = _decompose(old_size - 1, new_size)
    inner -= level
    if len(proof) != seeds + inner + border:
        raise BadStatement(
            f"A consistency proof from {old_size} to {new_size} has {seeds + inner + border} "
            f"hashes, this one has {len(proof)}."
        )
    seed = proof[0] if seeds else old_root
    path = proof[seeds:]
    # 2. The left siblings alone lead to the old root, all of them to the new root.
    index = (old_size - 1) >> level
    old_found = new_found = seed
    for height, sibling in enumerate(path[:inner]):
        if index >> height & 1:
            old_found = node_hash(sibling, old_found)
            new_found = node_hash(sibling, new_found)
        else:
            new_found = node_hash(new_found, sibling)
    for left in path[inner:]:
        old_found = node_hash(left, old_found)
        new_found = node_hash(left, new_found)
    if old_found != old_root:
        raise BadStatement(f"The consistency proof does not lead to the old root, size {old_size}.")
    if new_found != new_root:
        raise BadStatement(f"The consistency proof does not lead to the new root, size {new_size}.")


class Frontier:
    """The right edge of a growing tree: its size and the hashes of its perfect subtrees.

    Enough to append for ever and to tell every root, in O(log size) space. `hashes` are ordered
    left to right, one for each bit set in `size`; (`size`, `hashes`) is the stored form.
    """

    __slots__ = ("_hashes", "_size")

    def __init__(self, size: int = 0, hashes: Iterable[bytes] = ()) -> None:
        kept = list(hashes)
        _require_size(size)
        _require_hashes(*kept)
        if len(kept) != size.bit_count():
            raise BadStatement(
                f"A frontier of size {size} has {size.bit_count()} hashes, not {len(kept)}."
            )
        self._size = size
        self._hashes = kept

    @property
    def size(self) -> int:
        return self._size

    @property
    def hashes(self) -> tuple[bytes, ...]:
        return tuple(self._hashes)

    def copy(self) -> Frontier:
        """An independent frontier at the same place."""
        twin = Frontier()
        twin._size, twin._hashes = self._size, self._hashes.copy()
        return twin

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash."""
        self.extend((leaf,))

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Add leaf hashes in order: about one hash computed for each."""
        hashes, size, sha256 = self._hashes, self._size, _sha256
        for found in leaves:
            carry = size
            while carry & 1:
                found = sha256(b"\x01" + hashes.pop() + found).digest()
                carry >>= 1
            hashes.append(found)
            size += 1
        self._size = size

    def root(self) -> bytes:
        """The root of the tree so far."""
        return _fold(self._hashes) if self._hashes else EMPTY_ROOT

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Frontier):
            return NotImplemented
        return self._size == other._size and self._hashes == other._hashes

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Frontier(size={self._size}, root={self.root().hex()[:16]}…)"


def _path(leaf: int, level: int, size: int, read: ReadHash) -> Iterator[bytes]:
    """Siblings from the subtree of `level` that holds `leaf`, up to the root of `size`."""
    inner, _ = _decompose(leaf, size)
    index = leaf >> level
    # Below the level where the ways of `leaf` and of the last leaf part, siblings are perfect.
    while level < inner - 1:
        yield read(level, index ^ 1)
        level, index = level + 1, index >> 1
    # At that level the right sibling ends with the tree, and may be imperfect.
    if level < inner:
        yield _range_hash((index + 1) << level, size, read)
        level, index = level + 1, index >> 1
    # Above, only perfect left siblings remain.
    while index:
        if index & 1:
            yield read(level, index - 1)
        level, index = level + 1, index >> 1


def _decompose(index: int, size: int) -> tuple[int, int]:
    """How many siblings lie below and above where `index` and the last leaf part ways."""
    inner = (index ^ (size - 1)).bit_length()
    return inner, (index >> inner).bit_count()


def _climb(found: bytes, path: Sequence[bytes], index: int) -> bytes:
    for height, sibling in enumerate(path):
        found = node_hash(sibling, found) if index >> height & 1 else node_hash(found, sibling)
    return found


def _range_subtrees(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Perfect subtrees of [start, end), where `start` is aligned to the length's power of two."""
    for level in range((end - start).bit_length() - 1, -1, -1):
        if (end - start) >> level & 1:
            yield level, start >> level
            start += 1 << level


def _range_hash(start: int, end: int, read: ReadHash) -> bytes:
    return _fold([read(level, index) for level, index in _range_subtrees(start, end)])


def _fold(hashes: Sequence[bytes]) -> bytes:
    found = hashes[-1]
    for left in reversed(hashes[:-1]):
        found = node_hash(left, found)
    return found


def _trailing_zeros(value: int) -> int:
    return (value & -value).bit_length() - 1


def _require_size(size: int) -> None:
    if not 0 <= size <= MAX_SIZE:
        raise BadStatement(f"{size} is not a tree size; it runs from 0 to 2^63-1.")


def _require_hashes(*hashes: bytes) -> None:
    for found in hashes:
        if len(found) != HASH_SIZE:
            raise BadStatement(f"A hash has 32 bytes, this one has {len(found)}.")
