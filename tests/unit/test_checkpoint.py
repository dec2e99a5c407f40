"""Checkpoints: read strictly, opened only for the right origin and key, linked to each other."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.errors import BadStatement
from comity.keys import SigningKey
from comity.log import checkpoint, merkle, note
from comity.log.checkpoint import Checkpoint, CheckpointCache
from comity.log.merkle import EMPTY_ROOT, leaf_hash
from comity.log.note import SignerKey, VerifierKey
from comity.log.tiles import TileTree

ORIGIN = "comity.example/grocery"
SIGNER = SignerKey.of(ORIGIN, SigningKey(bytes(range(32))))
HEAD = Checkpoint(ORIGIN, 7, hashlib.sha256(b"root").digest())
ROOT = note.to_base64(HEAD.root)


def test_a_signed_checkpoint_opens() -> None:
    data = checkpoint.sign_checkpoint(HEAD, SIGNER)
    assert checkpoint.open_checkpoint(data, origin=ORIGIN, verifier=SIGNER.verifier) == HEAD
    assert checkpoint.read_checkpoint(data) == HEAD


@given(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40),
    st.integers(1, 2**63 - 1),
    st.binary(min_size=32, max_size=32),
    st.lists(
        st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=9), max_size=3
    ),
)
def test_a_checkpoint_reads_back(origin: str, size: int, root: bytes, more: list[str]) -> None:
    value = Checkpoint(origin, size, root, tuple(more))
    assert checkpoint.parse(checkpoint.format(value)) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        f"{ORIGIN}\n7\n{ROOT}",
        f"{ORIGIN}\n7\n",
        f"\n7\n{ROOT}\n",
        f"{ORIGIN}\n07\n{ROOT}\n",
        f"{ORIGIN}\n-7\n{ROOT}\n",
        f"{ORIGIN}\n+7\n{ROOT}\n",
        f"{ORIGIN}\n 7\n{ROOT}\n",
        f"{ORIGIN}\n٧\n{ROOT}\n",
        f"{ORIGIN}\n7_0\n{ROOT}\n",
        f"{ORIGIN}\n9223372036854775808\n{ROOT}\n",
        f"{ORIGIN}\n{'9' * 5000}\n{ROOT}\n",
        f"{ORIGIN}\n7\n{ROOT[:-4]}\n",
        f"{ORIGIN}\n7\n{ROOT} \n",
        f"{ORIGIN}\n7\n{ROOT}\n\n",
        f"{ORIGIN}\n7\n{ROOT}\next\n\next\n",
        f"{ORIGIN}\r\n7\n{ROOT}\n",
        f"{ORIGIN}\n0\n{ROOT}\n",
        f"{'o' * 256}\n7\n{ROOT}\n",
    ],
)
def test_other_texts_are_no_checkpoint(text: str) -> None:
    with pytest.raises(BadStatement):
        checkpoint.parse(text)


@given(st.text(max_size=60))
def test_hostile_texts_raise_nothing_but_a_bad_statement(text: str) -> None:
    for hostile in (text, f"o\n{text}\n{ROOT}\n", f"o\n7\n{text}\n"):
        try:
            found = checkpoint.parse(hostile)
        except BadStatement:
            continue
        assert checkpoint.format(found) == hostile


def test_another_origin_or_key_is_refused() -> None:
    data = checkpoint.sign_checkpoint(HEAD, SIGNER)
    other = VerifierKey.of(ORIGIN, SigningKey(bytes(32)).public)
    with pytest.raises(BadStatement, match="known key"):
        checkpoint.open_checkpoint(data, origin=ORIGIN, verifier=other)
    with pytest.raises(BadStatement, match=r"not of comity\.example/other"):
        checkpoint.open_checkpoint(data, origin="comity.example/other", verifier=SIGNER.verifier)


def test_a_key_signs_only_its_own_log() -> None:
    with pytest.raises(ValueError, match="does not sign"):
        checkpoint.sign_checkpoint(Checkpoint("comity.example/other", 0, EMPTY_ROOT), SIGNER)


def test_a_witness_may_sign_beside_the_log() -> None:
    witness = SignerKey.of("witness.example/w", SigningKey(bytes(32)))
    data = checkpoint.sign_checkpoint(HEAD, SIGNER)
    _, signatures = note.split(data)
    cosigned = note.sign(checkpoint.format(HEAD), witness, signatures).encode()
    assert checkpoint.open_checkpoint(cosigned, origin=ORIGIN, verifier=SIGNER.verifier) == HEAD


def test_a_later_head_extends_an_earlier_one_and_never_the_reverse() -> None:
    leaves = [leaf_hash(b"%d" % number) for number in range(20)]
    tree = TileTree(0, lambda level, index: b"")
    tree.append(leaves)
    heads = [Checkpoint(ORIGIN, size, tree.root(size)) for size in range(21)]
    for old in heads:
        for new in heads[old.size :]:
            checkpoint.verify_extension(old, new, tree.consistency(old.size, new.size))
            if old.size < new.size:
                with pytest.raises(BadStatement):
                    checkpoint.verify_extension(new, old, ())
    forked = Checkpoint(ORIGIN, 9, hashlib.sha256(b"fork").digest())
    with pytest.raises(BadStatement):
        checkpoint.verify_extension(forked, heads[20], tree.consistency(9))
    with pytest.raises(BadStatement):
        checkpoint.verify_extension(heads[9], forked, ())
    with pytest.raises(BadStatement):
        checkpoint.verify_extension(heads[0], heads[1], (merkle.EMPTY_ROOT,))
    elsewhere = Checkpoint("comity.example/other", 20, heads[20].root)
    with pytest.raises(BadStatement):
        checkpoint.verify_extension(heads[20], elsewhere, ())


class CountingVerifier:
    """A verifier that counts how often it was asked."""

    def __init__(self, key: VerifierKey) -> None:
        self.name, self.key_id, self._key, self.asked = key.name, key.key_id, key, 0

    def verify(self, text: bytes, signature: bytes) -> bool:
        self.asked += 1
        return self._key.verify(text, signature)


def test_a_checkpoint_shared_by_a_batch_is_verified_once() -> None:
    verifier = CountingVerifier(SIGNER.verifier)
    cache = CheckpointCache()
    data = checkpoint.sign_checkpoint(HEAD, SIGNER)
    for _ in range(5):
        assert cache.open(data, origin=ORIGIN, verifier=verifier) == HEAD
    assert verifier.asked == 1


def test_the_cache_answers_for_one_origin_and_one_key_only() -> None:
    cache = CheckpointCache()
    data = checkpoint.sign_checkpoint(HEAD, SIGNER)
    cache.open(data, origin=ORIGIN, verifier=SIGNER.verifier)
    other = VerifierKey.of(ORIGIN, SigningKey(bytes(32)).public)
    with pytest.raises(BadStatement):
        cache.open(data, origin=ORIGIN, verifier=other)
    with pytest.raises(BadStatement):
        cache.open(data, origin="comity.example/other", verifier=SIGNER.verifier)


def test_the_cache_forgets_what_was_used_longest_ago() -> None:
    verifier = CountingVerifier(SIGNER.verifier)
    cache = CheckpointCache(2)
    notes = [
        checkpoint.sign_checkpoint(Checkpoint(ORIGIN, size, HEAD.root), SIGNER)
        for size in (1, 2, 3)
    ]
    for at in (0, 1, 0, 2, 0):
        cache.open(notes[at], origin=ORIGIN, verifier=verifier)
    assert (verifier.asked, len(cache)) == (3, 2)
    cache.open(notes[1], origin=ORIGIN, verifier=verifier)
    assert verifier.asked == 4
