"""Proof files: one accepted form, and no change to one goes unnoticed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.errors import BadStatement
from comity.keys import SigningKey
from comity.log import checkpoint, proof
from comity.log.checkpoint import Checkpoint, CheckpointCache
from comity.log.merkle import leaf_hash
from comity.log.note import SignerKey
from comity.log.proof import TlogProof
from comity.log.tiles import TileTree

ORIGIN = "comity.example/grocery"
SIGNER = SignerKey.of(ORIGIN, SigningKey(bytes(range(32))))
ENTRIES = [b"entry %d" % number for number in range(11)]


def receipt(index: int) -> TlogProof:
    tree = TileTree(0, lambda level, at: b"")
    tree.append(map(leaf_hash, ENTRIES))
    head = Checkpoint(ORIGIN, tree.size, tree.root())
    note = checkpoint.sign_checkpoint(head, SIGNER)
    return TlogProof(index, tree.inclusion(index), note, ENTRIES[index])


def accept(data: bytes) -> Checkpoint:
    """What a holder of a receipt does, with nothing but the file and the log's key."""
    found = proof.parse(data)
    assert found.extra is not None
    return proof.verify(found, leaf_data=found.extra, origin=ORIGIN, verifier=SIGNER.verifier)


@pytest.mark.parametrize("index", range(len(ENTRIES)))
def test_a_receipt_verifies_offline(index: int) -> None:
    data = proof.format(receipt(index))
    assert accept(data).size == len(ENTRIES)
    found = proof.parse(data)
    leaf = leaf_hash(ENTRIES[index])
    cache = CheckpointCache()
    proof.verify(found, leaf_hash=leaf, origin=ORIGIN, verifier=SIGNER.verifier, opener=cache.open)
    with pytest.raises(BadStatement):
        proof.verify(found, leaf_data=b"other", origin=ORIGIN, verifier=SIGNER.verifier)


def test_every_changed_byte_of_a_receipt_is_noticed() -> None:
    good = proof.format(receipt(4))
    for at in range(len(good)):
        for change in (1, 0x20, 0x80):
            changed = bytearray(good)
            changed[at] ^= change
            with pytest.raises(BadStatement):
                accept(bytes(changed))


def test_a_cut_or_extended_receipt_is_refused() -> None:
    good = proof.format(receipt(4))
    for end in range(len(good)):
        with pytest.raises(BadStatement):
            accept(good[:end])
    lines = good.split(b"\n")
    signature = len(lines) - 2
    for at in range(len(lines)):
        for inserted in (b"", lines[at], b"x"):
            if at == signature and inserted == lines[at]:
                continue  # a repeated signature counts once
            with pytest.raises(BadStatement):
                accept(b"\n".join([*lines[:at], inserted, *lines[at:]]))


@given(
    st.integers(0, 2**63 - 2),
    st.lists(st.binary(min_size=32, max_size=32), max_size=63),
    st.binary(min_size=1, max_size=100),
    st.none() | st.binary(max_size=100),
)
def test_a_proof_reads_back(
    index: int, hashes: list[bytes], note: bytes, extra: bytes | None
) -> None:
    value = TlogProof(index, tuple(hashes), note, extra)
    assert proof.parse(proof.format(value)) == value


@given(st.binary(max_size=120))
def test_hostile_bytes_raise_nothing_but_a_bad_statement(data: bytes) -> None:
    header = proof.HEADER.encode() + b"\n"
    for hostile in (data, header + data, header + b"index 0\n" + data + b"\n\nnote\n"):
        try:
            found = proof.parse(hostile)
        except BadStatement:
            continue
        assert proof.format(found) == hostile


@pytest.mark.parametrize(
    "lines",
    [
        ["index 00"],
        ["index +1"],
        ["index 9223372036854775807"],
        ["index"],
        ["index 1", "extra AA=="],
        ["extra AA==", "extra AA==", "index 1"],
        ["extra AB==", "index 1"],
        ["index 1", *["A" * 43 + "="] * 64],
        ["index 1", "A" * 42 + "B="],
    ],
)
def test_other_forms_are_refused(lines: list[str]) -> None:
    with pytest.raises(BadStatement):
        proof.parse("\n".join([proof.HEADER, *lines, "", "note\n"]).encode())


def test_a_proof_too_large_to_be_one_is_refused() -> None:
    made: list[Callable[[], TlogProof]] = [
        lambda: TlogProof(0, (), b"note\n", bytes(proof.MAX_EXTRA_BYTES + 1)),
        lambda: TlogProof(0, (), bytes(2_000_000)),
        lambda: TlogProof(0, (), b""),
        lambda: TlogProof(0, (bytes(32),) * 64, b"note\n"),
        lambda: proof.parse(bytes(8_000_000)),
    ]
    for make in made:
        with pytest.raises(BadStatement):
            make()


def test_the_leaf_is_given_once() -> None:
    with pytest.raises(ValueError, match="either"):
        proof.verify(receipt(0), origin=ORIGIN, verifier=SIGNER.verifier)
