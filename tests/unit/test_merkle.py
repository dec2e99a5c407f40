"""Merkle trees against the recursive definitions of RFC 6962 §2.1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.errors import BadStatement
from comity.log import merkle
from comity.log.merkle import Frontier, leaf_hash, node_hash

LEAVES = [leaf_hash(b"entry %d" % number) for number in range(600)]
SMALL = 70


def model_root(leaves: Sequence[bytes]) -> bytes:
    """MTH(D[n]), RFC 6962 §2.1."""
    if not leaves:
        return merkle.EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    at = split_point(len(leaves))
    return node_hash(model_root(leaves[:at]), model_root(leaves[at:]))


def model_path(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """PATH(m, D[n]), RFC 6962 §2.1.1."""
    if len(leaves) == 1:
        return []
    at = split_point(len(leaves))
    if index < at:
        return [*model_path(index, leaves[:at]), model_root(leaves[at:])]
    return [*model_path(index - at, leaves[at:]), model_root(leaves[:at])]


def model_consistency(old: int, leaves: Sequence[bytes], whole: bool = True) -> list[bytes]:
    """SUBPROOF(m, D[n], b), RFC 6962 §2.1.2."""
    if old == len(leaves):
        return [] if whole else [model_root(leaves)]
    at = split_point(len(leaves))
    if old <= at:
        return [*model_consistency(old, leaves[:at], whole), model_root(leaves[at:])]
    return [*model_consistency(old - at, leaves[at:], False), model_root(leaves[:at])]


def split_point(count: int) -> int:
    """The largest power of two smaller than `count`."""
    return 1 << (count - 1).bit_length() - 1


def read(level: int, index: int) -> bytes:
    return model_root(LEAVES[index << level : (index + 1) << level])


def variants(proof: Sequence[bytes]) -> list[list[bytes]]:
    """Proofs that are not `proof` but close to it."""
    found = [[*proof[:at], *proof[at + 1 :]] for at in range(len(proof))]
    found += [[*proof[:at], bytes(32), *proof[at:]] for at in range(len(proof) + 1)]
    for at, node in enumerate(proof):
        for bit in (0, 7, 100, 255):
            flipped = bytearray(node)
            flipped[bit // 8] ^= 1 << bit % 8
            found.append([*proof[:at], bytes(flipped), *proof[at + 1 :]])
        found.append([*proof[:at], node[:-1], *proof[at + 1 :]])
    return found


def links(proof: dict[str, Any]) -> bool:
    try:
        merkle.verify_consistency(**proof)
    except BadStatement:
        return False
    return True


def test_roots_equal_the_recursive_definition() -> None:
    frontier = Frontier()
    for size in range(SMALL + 1):
        assert frontier.root() == model_root(LEAVES[:size]) == merkle.root_of(size, read)
        frontier.append(LEAVES[size])


def test_every_small_inclusion_proof_equals_the_definition_and_verifies() -> None:
    for size in range(1, SMALL + 1):
        root = model_root(LEAVES[:size])
        for index in range(size):
            proof = merkle.inclusion_path(index, size, read)
            assert list(proof) == model_path(index, LEAVES[:size])
            merkle.verify_inclusion(
                leaf=LEAVES[index], index=index, size=size, proof=proof, root=root
            )


def test_every_small_consistency_proof_equals_the_definition_and_verifies() -> None:
    roots = [model_root(LEAVES[:size]) for size in range(SMALL + 1)]
    for new in range(1, SMALL + 1):
        for old in range(1, new + 1):
            proof = merkle.consistency_path(old, new, read)
            assert list(proof) == model_consistency(old, LEAVES[:new])
            merkle.verify_consistency(
                old_size=old,
                new_size=new,
                old_root=roots[old],
                new_root=roots[new],
                proof=proof,
            )


@given(st.data())
def test_larger_proofs_equal_the_definition_and_verify(data: st.DataObject) -> None:
    size = data.draw(st.integers(SMALL, len(LEAVES)))
    index = data.draw(st.integers(0, size - 1))
    old = data.draw(st.integers(1, size))
    root = model_root(LEAVES[:size])
    path = merkle.inclusion_path(index, size, read)
    assert list(path) == model_path(index, LEAVES[:size])
    merkle.verify_inclusion(leaf=LEAVES[index], index=index, size=size, proof=path, root=root)
    link = merkle.consistency_path(old, size, read)
    assert list(link) == model_consistency(old, LEAVES[:size])
    merkle.verify_consistency(
        old_size=old,
        new_size=size,
        old_root=model_root(LEAVES[:old]),
        new_root=root,
        proof=link,
    )


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 11, 64, 70])
def test_an_inclusion_proof_changed_anywhere_is_refused(size: int) -> None:
    root = model_root(LEAVES[:size])
    for index in range(size):
        proof = merkle.inclusion_path(index, size, read)
        for changed in variants(proof):
            with pytest.raises(BadStatement):
                merkle.verify_inclusion(
                    leaf=LEAVES[index], index=index, size=size, proof=changed, root=root
                )
        for other in {*range(size + 2), -1} - {index}:
            with pytest.raises(BadStatement):
                merkle.verify_inclusion(
                    leaf=LEAVES[index], index=other, size=size, proof=proof, root=root
                )
        for leaf, claimed in ((LEAVES[size], root), (LEAVES[index], bytes(32)), (b"", root)):
            with pytest.raises(BadStatement):
                merkle.verify_inclusion(
                    leaf=leaf, index=index, size=size, proof=proof, root=claimed
                )


@pytest.mark.parametrize("new", [2, 3, 7, 8, 11, 64, 70])
def test_a_consistency_proof_changed_anywhere_is_refused(new: int) -> None:
    for old in range(1, new):
        proof = merkle.consistency_path(old, new, read)
        good: dict[str, Any] = {
            "old_size": old,
            "new_size": new,
            "old_root": model_root(LEAVES[:old]),
            "new_root": model_root(LEAVES[:new]),
            "proof": proof,
        }
        assert links(good)
        for changed in variants(proof):
            assert not links(good | {"proof": changed})
        for wrong in (
            {"old_root": bytes(32)},
            {"new_root": bytes(32)},
            {"old_root": b"short"},
            {"old_root": good["new_root"], "new_root": good["old_root"]},
            {"old_size": 0},
            {"old_size": -1},
            {"old_size": new, "new_size": old},
            {"old_size": new},
            {"new_size": 2**64},
        ):
            assert not links(good | wrong)


def test_proofs_outside_the_tree_are_refused() -> None:
    for index, size in ((0, 0), (3, 3), (-1, 3), (0, 2**63)):
        with pytest.raises(BadStatement):
            merkle.inclusion_path(index, size, read)
    for old, new in ((4, 3), (-1, 3), (1, 2**63)):
        with pytest.raises(BadStatement):
            merkle.consistency_path(old, new, read)


def test_nothing_needs_proof_between_equal_or_from_empty_trees() -> None:
    assert merkle.consistency_path(0, 7, read) == ()
    assert merkle.consistency_path(7, 7, read) == ()


def test_a_proof_takes_few_reads_in_a_huge_tree() -> None:
    reads = 0

    def count(level: int, index: int) -> bytes:
        nonlocal reads
        reads += 1
        return bytes(32)

    size = 2**40 - 1
    merkle.inclusion_path(12345, size, count)
    merkle.consistency_path(2**39 - 7, size, count)
    assert reads < 4 * 40


@given(st.integers(0, 300), st.integers(0, 300))
def test_a_stored_frontier_goes_on_where_it_stopped(first: int, second: int) -> None:
    whole = Frontier()
    whole.extend(LEAVES[: first + second])
    early = Frontier()
    early.extend(LEAVES[:first])
    later = Frontier(early.size, early.hashes)
    untouched = early.copy()
    later.extend(LEAVES[first : first + second])
    assert later == whole
    assert later.root() == model_root(LEAVES[: first + second])
    assert untouched == early


def test_a_frontier_with_hashes_that_do_not_fit_its_size_is_refused() -> None:
    for size, hashes in ((1, ()), (0, (bytes(32),)), (3, (bytes(32),)), (1, (b"x",)), (-1, ())):
        with pytest.raises(BadStatement):
            Frontier(size, hashes)
