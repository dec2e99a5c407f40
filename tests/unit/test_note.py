"""Signed notes: strict reading, and nothing signed that could not be read."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.errors import BadStatement, Malformed
from comity.keys import SigningKey
from comity.log import note
from comity.log.note import Signature, SignerKey, VerifierKey


def signer(name: str, number: int = 0) -> SignerKey:
    return SignerKey.of(name, SigningKey(hashlib.sha256(b"%d" % number).digest()))


ALICE = signer("comity.example/alice", 1)
BOB = signer("comity.example/bob", 2)
TEXT = "one\n\ntwo\n"

texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.just("\n"), max_size=80)


@given(texts)
def test_what_is_signed_opens(text: str) -> None:
    opened = note.open_note(note.sign(text + "\n", ALICE), [ALICE.verifier])
    assert opened.text == text + "\n"
    assert [found.name for found in opened.signatures] == [ALICE.name]


def test_signatures_are_added_and_a_repeated_one_replaced() -> None:
    first = note.open_note(note.sign(TEXT, ALICE), [ALICE.verifier])
    both = note.sign(TEXT, BOB, first.signatures)
    opened = note.open_note(both, [BOB.verifier])
    assert opened.unverified == first.signatures
    again = note.sign(TEXT, ALICE, (*opened.unverified, *opened.signatures))
    _, signatures = note.split(again)
    assert [found.name for found in signatures] == [BOB.name, ALICE.name]


def test_a_key_of_the_same_name_is_told_apart_by_its_id() -> None:
    rotated = signer(ALICE.name, 3)
    opened = note.open_note(note.sign(TEXT, rotated, ()), [rotated.verifier, ALICE.verifier])
    assert opened.signatures[0].key_id == rotated.key_id != ALICE.key_id
    with pytest.raises(BadStatement, match="known key"):
        note.open_note(note.sign(TEXT, rotated), [ALICE.verifier])


def test_every_changed_byte_of_a_note_is_noticed() -> None:
    good = note.sign(TEXT, ALICE).encode()
    for at in range(len(good)):
        for change in (1, 0x20, 0x80):
            changed = bytearray(good)
            changed[at] ^= change
            with pytest.raises(BadStatement):
                note.open_note(bytes(changed), [ALICE.verifier])


def test_a_cut_or_extended_note_is_refused() -> None:
    good = note.sign(TEXT, ALICE).encode()
    for end in range(len(good)):
        with pytest.raises(BadStatement):
            note.open_note(good[:end], [ALICE.verifier])
    for more in (b"\n", b"x", b"\n\n", "— \n".encode()):
        with pytest.raises(BadStatement):
            note.open_note(good + more, [ALICE.verifier])


@given(st.binary(max_size=200))
def test_hostile_bytes_raise_nothing_but_a_bad_statement(data: bytes) -> None:
    for hostile in (data, TEXT.encode() + b"\n" + data, "a\n\n— b ".encode() + data + b"\n"):
        with pytest.raises(BadStatement):
            note.open_note(hostile, [ALICE.verifier])


@given(st.text(max_size=80))
def test_hostile_keys_raise_nothing_but_malformed(text: str) -> None:
    for hostile in (text, f"name+{text}", f"name+00000000+{text}"):
        with pytest.raises(Malformed):
            VerifierKey.parse(hostile)
        with pytest.raises(Malformed):
            SignerKey.parse("PRIVATE+KEY+" + hostile)


def test_base64_has_one_form() -> None:
    assert note.from_base64("AA==") == b"\x00"
    for twin in ("AB==", "AA=", "AA", "AA==\n", " AA==", "A-==", "AA==AA==", "é"):
        assert note.from_base64(twin) is None


def test_a_note_larger_than_the_limit_is_refused() -> None:
    huge = note.sign("x" * note.MAX_NOTE_BYTES + "\n", ALICE)
    with pytest.raises(BadStatement, match="longer"):
        note.open_note(huge, [ALICE.verifier])


def test_a_hundred_signatures_are_the_most() -> None:
    others = [Signature(f"other{number}", number, b"signature") for number in range(100)]
    assert len(note.split(note.sign(TEXT, ALICE, others[:99]))[1]) == 100
    with pytest.raises(Malformed):
        note.sign(TEXT, ALICE, others)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u00a0b", "a\nb", "a\x01", "\ud800"])
def test_a_name_that_no_note_can_hold_is_refused(name: str) -> None:
    with pytest.raises(Malformed):
        SignerKey.of(name, ALICE.key)


@pytest.mark.parametrize("text", ["", "no newline", "tab\t\n", "\x00\n", "cr\r\n", "\ud800\n"])
def test_a_text_that_no_note_can_hold_is_not_signed(text: str) -> None:
    with pytest.raises(Malformed):
        note.sign(text, ALICE)


def test_keys_read_back_and_hide_their_secret() -> None:
    assert SignerKey.parse(ALICE.format()) == ALICE
    assert VerifierKey.parse(str(ALICE.verifier)) == ALICE.verifier
    secret = ALICE.format().rpartition("+")[2]
    assert secret not in repr(ALICE) + str(ALICE)


def test_a_key_of_another_type_is_refused() -> None:
    raw = b"\x04" + ALICE.verifier.public.raw
    key_id = note.key_id_of("a", 4, ALICE.verifier.public.raw)
    with pytest.raises(Malformed):
        VerifierKey.parse(f"a+{key_id:08x}+{note.to_base64(raw)}")
