"""Commitments bind and hide, and no two inputs share one."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.errors import BadStatement
from comity.log import commitment

SALT = bytes(range(16))
labels = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=10)
salts = st.binary(min_size=16, max_size=32)
inputs = st.tuples(labels, salts, st.binary(max_size=20))


def test_the_encoding_is_the_documented_one() -> None:
    expected = hashlib.sha256(
        b"comity-commitment/v1\n" + bytes(7) + b"\x07account" + bytes(7) + b"\x10" + SALT + b"m-1"
    ).digest()
    assert commitment.commit("account", SALT, b"m-1") == expected


@given(inputs)
def test_a_commitment_opens_with_what_it_was_made_of(made: tuple[str, bytes, bytes]) -> None:
    label, salt, value = made
    committed = commitment.commit(*made)
    commitment.verify_commitment(committed, label=label, salt=salt, value=value)
    for wrong in (
        {"label": label + "x"},
        {"salt": bytes(16) if salt != bytes(16) else bytes(17)},
        {"value": value + b"\x00"},
    ):
        opening = {"label": label, "salt": salt, "value": value} | wrong
        with pytest.raises(BadStatement):
            commitment.verify_commitment(committed, **opening)  # type: ignore[arg-type]


@given(inputs, inputs)
def test_different_inputs_give_different_commitments(
    one: tuple[str, bytes, bytes], other: tuple[str, bytes, bytes]
) -> None:
    assert (commitment.commit(*one) == commitment.commit(*other)) is (one == other)


def test_bytes_do_not_move_between_label_salt_and_value() -> None:
    found = {
        commitment.commit("ab", SALT + b"cd", b"ef"),
        commitment.commit("a", SALT + b"cd", b"ef"),
        commitment.commit("ab", SALT + b"c", b"def"),
        commitment.commit("ab", SALT + b"cdef", b""),
    }
    assert len(found) == 4


@pytest.mark.parametrize(
    ("label", "salt"), [("a", bytes(15)), ("a", bytes(33)), ("", SALT), ("\ud800", SALT)]
)
def test_a_short_salt_or_a_missing_label_is_refused(label: str, salt: bytes) -> None:
    with pytest.raises(BadStatement):
        commitment.commit(label, salt, b"")
    assert not commitment.opens(bytes(32), label=label, salt=salt, value=b"")


def test_derived_salts_differ_by_each_part_of_the_context() -> None:
    secret = bytes(32)
    contexts: list[tuple[bytes | int, ...]] = [
        (),
        (b"",),
        (b"ab",),
        (b"a", b"b"),
        (b"1",),
        (1,),
        (-1,),
        (2**80,),
        (b"ab", 1),
    ]
    found = {commitment.derive_salt(secret, *context) for context in contexts}
    assert len(found) == len(contexts)
    assert commitment.derive_salt(secret, b"ab") == commitment.derive_salt(secret, b"ab")
    assert commitment.derive_salt(bytes([1]) * 32, b"ab") not in found
    commitment.commit("a", commitment.derive_salt(secret, 1), b"")


def test_a_short_secret_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="16"):
        commitment.derive_salt(b"short", 1)
