"""Draws that anybody can check: commit, sell, reveal."""

from __future__ import annotations

import hashlib
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.errors import BadStatement, Malformed
from node.programme.draw import check, commitment, winners

seeds = st.binary(min_size=32, max_size=32)


def seed(number: int) -> bytes:
    return hashlib.sha256(b"%d" % number).digest()


@pytest.mark.row("P9")
@pytest.mark.row("P10")
def test_a_stranger_checks_a_draw_with_what_was_published() -> None:
    committed = commitment(seed(1))
    won = winners(seed(1), tickets=1_000, prizes=3, closing=seed(77))
    assert len(set(won)) == 3
    check(committed, seed(1), tickets=1_000, prizes=3, closing=seed(77), claimed=won)
    with pytest.raises(BadStatement, match="committed to"):
        check(committed, seed(2), tickets=1_000, prizes=3, closing=seed(77), claimed=won)
    with pytest.raises(BadStatement, match="do not follow"):
        check(committed, seed(1), tickets=1_000, prizes=3, closing=seed(77), claimed=won[::-1])
    with pytest.raises(BadStatement, match="do not follow"):
        check(committed, seed(1), tickets=1_001, prizes=3, closing=seed(77), claimed=won)
    with pytest.raises(BadStatement, match="do not follow"):
        check(committed, seed(1), tickets=1_000, prizes=3, closing=seed(78), claimed=won)


@pytest.mark.row("P9")
@given(seeds, st.integers(0, 500), st.integers(0, 50), seeds)
def test_every_prize_goes_to_one_ticket_that_was_sold(
    secret: bytes, tickets: int, prizes: int, closing: bytes
) -> None:
    won = winners(secret, tickets=tickets, prizes=prizes, closing=closing)
    assert len(won) == len(set(won)) == min(tickets, prizes)
    assert all(0 <= one < tickets for one in won)
    assert won == winners(secret, tickets=tickets, prizes=prizes, closing=closing)
    assert won[:1] == winners(secret, tickets=tickets, prizes=1, closing=closing)[: min(prizes, 1)]


@pytest.mark.row("P9")
def test_every_ticket_wins_about_as_often() -> None:
    wins = Counter(
        winners(seed(number), tickets=7, prizes=1, closing=bytes(32))[0] for number in range(7_000)
    )
    assert set(wins) == set(range(7))
    # Each count is binomial(7000, 1/7), standard deviation 29: five of them either way.
    assert all(abs(count - 1_000) < 150 for count in wins.values())


def test_a_seed_is_32_bytes() -> None:
    for wrong in (b"", bytes(31), bytes(33)):
        with pytest.raises(Malformed, match="32 random bytes"):
            commitment(wrong)
    with pytest.raises(Malformed):
        winners(bytes(32), tickets=-1, prizes=1, closing=bytes(32))
    with pytest.raises(Malformed, match="root"):
        winners(bytes(32), tickets=1, prizes=1, closing=b"")
