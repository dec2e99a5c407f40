"""Which key signs a log at which size: exactly one, and a retired one never again above it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.errors import Malformed, RetiredKey, UnknownKey
from comity.keys import SigningKey
from comity.log.checkpoint import Checkpoint, CheckpointCache, open_checkpoint, sign_checkpoint
from comity.log.history import MAX_KEYS, KeyHistory
from comity.log.note import SignerKey, split

ORIGIN = "comity.example/fuel"


def signer(number: int, origin: str = ORIGIN) -> SignerKey:
    return SignerKey.of(origin, SigningKey(bytes([number]) * 32))


FIRST, SECOND, THIRD, STRANGER = (signer(number) for number in (1, 2, 3, 4))
ROTATED = KeyHistory.of(FIRST.verifier).rotated(SECOND.verifier, 100).rotated(THIRD.verifier, 250)


def head(size: int, by: SignerKey) -> bytes:
    return sign_checkpoint(Checkpoint(ORIGIN, size, bytes([7]) * 32), by)


def test_a_log_that_never_changed_its_key_has_it_for_every_size() -> None:
    history = KeyHistory.of(FIRST.verifier)
    assert history.at(0) == history.at(2**63 - 1) == FIRST.verifier
    assert str(history) == str(FIRST.verifier)


@pytest.mark.parametrize(
    ("size", "by"),
    [(1, FIRST), (100, FIRST), (101, SECOND), (250, SECOND), (251, THIRD), (10**9, THIRD)],
)
def test_each_size_has_one_key_and_only_that_one_signs_it(size: int, by: SignerKey) -> None:
    assert ROTATED.at(size) == by.verifier
    assert open_checkpoint(head(size, by), origin=ORIGIN, verifier=ROTATED).size == size
    for other in {FIRST, SECOND, THIRD} - {by}:
        with pytest.raises(RetiredKey, match="not count"):
            open_checkpoint(head(size, other), origin=ORIGIN, verifier=ROTATED)


def test_a_key_that_the_log_never_had_is_unknown_and_not_retired() -> None:
    with pytest.raises(UnknownKey):
        open_checkpoint(head(5, STRANGER), origin=ORIGIN, verifier=ROTATED)


def test_a_head_under_both_keys_counts_under_the_right_one() -> None:
    note = head(101, FIRST)
    both = sign_checkpoint(
        Checkpoint(ORIGIN, 101, bytes([7]) * 32),
        SECOND,
        existing=split(note)[1],
    )
    assert open_checkpoint(both, origin=ORIGIN, verifier=ROTATED).size == 101


def test_two_histories_are_alike_up_to_the_first_exchange_that_only_one_has() -> None:
    first = KeyHistory.of(FIRST.verifier)
    once = first.rotated(SECOND.verifier, 100)
    assert ROTATED.changed_above(first) == first.changed_above(ROTATED) == 100
    assert ROTATED.changed_above(once) == 250
    assert once.changed_above(first.rotated(SECOND.verifier, 90)) == 90
    assert ROTATED.changed_above(ROTATED) == 2**63 - 1
    assert ROTATED.extends(once)
    assert ROTATED.extends(first)
    assert not once.extends(ROTATED)
    assert not once.extends(first.rotated(SECOND.verifier, 90))


def test_nothing_of_a_revoked_log_counts_above_its_end() -> None:
    ended = ROTATED.ended(300)
    assert ended.at(300) == THIRD.verifier
    assert open_checkpoint(head(300, THIRD), origin=ORIGIN, verifier=ended).size == 300
    with pytest.raises(RetiredKey, match="revoked"):
        open_checkpoint(head(301, THIRD), origin=ORIGIN, verifier=ended)
    with pytest.raises(Malformed, match="does not come back"):
        ended.rotated(STRANGER.verifier, 400)


def test_a_retired_key_a_strangers_key_and_an_earlier_size_are_refused() -> None:
    for again in (FIRST, SECOND, THIRD):
        with pytest.raises(Malformed, match="does not come back"):
            ROTATED.rotated(again.verifier, 300)
    with pytest.raises(Malformed, match="not of"):
        ROTATED.rotated(signer(9, "comity.example/grocery").verifier, 300)
    with pytest.raises(Malformed, match="250 entries already"):
        ROTATED.rotated(STRANGER.verifier, 249)
    full = KeyHistory.of(FIRST.verifier)
    for number in range(10, 10 + MAX_KEYS - 1):
        full = full.rotated(signer(number).verifier, number)
    with pytest.raises(Malformed, match="at most"):
        full.rotated(STRANGER.verifier, 1000)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "100",
        f"100 {FIRST.verifier} 200",
        f"-1 {FIRST.verifier} {SECOND.verifier}",
        f"0100 {FIRST.verifier} {SECOND.verifier}",
        f"{FIRST.verifier} {SECOND.verifier}",
        f"100 {FIRST.verifier} 50 {SECOND.verifier} {THIRD.verifier}",
        f"100 {FIRST.verifier} {FIRST.verifier}",
        f"100 {FIRST.verifier} {signer(5, 'comity.example/grocery').verifier}",
    ],
)
def test_what_is_no_history_is_not_read_as_one(text: str) -> None:
    with pytest.raises(Malformed):
        KeyHistory.parse(text)


@given(st.lists(st.integers(0, 1000), max_size=6), st.booleans(), st.integers(0, 1200))
def test_text_and_history_are_the_same_thing(sizes: list[int], ends: bool, asked: int) -> None:
    history = KeyHistory.of(signer(20).verifier)
    for number, size in enumerate(sorted(sizes)):
        history = history.rotated(signer(21 + number).verifier, size)
    if ends:
        history = history.ended(history.last_size + 10)
    assert KeyHistory.parse(str(history)) == history
    passed = sum(size < asked for size in sizes)
    if ends and asked > history.last_size:
        with pytest.raises(RetiredKey):
            history.at(asked)
    else:
        assert history.at(asked) == signer(20 + passed).verifier


def test_what_was_verified_before_an_exchange_is_verified_again_after_it() -> None:
    cache = CheckpointCache()
    note = head(150, FIRST)
    assert cache.open(note, origin=ORIGIN, verifier=KeyHistory.of(FIRST.verifier)).size == 150
    with pytest.raises(RetiredKey):
        cache.open(note, origin=ORIGIN, verifier=ROTATED)
