"""Lots: which points are taken, and what time does to them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.clock import DAY
from comity.errors import InsufficientPoints
from node.lots import Lot, as_of, expiry_on_return, spendable, take

NOW = 1_000 * DAY


def lot(name: str = "1.0", *, available: int = 0, pending: int = 0, expires: int = 0) -> Lot:
    return Lot(
        lot=name,
        account="acc_1",
        unit="grocery/points",
        earned=available + pending,
        pending=pending,
        available=available,
        held=0,
        earned_at_us=NOW - DAY,
        available_at_us=NOW + DAY if pending else NOW - DAY,
        expires_at_us=expires,
    )


def test_the_earliest_expiry_goes_first_and_never_expiring_points_last() -> None:
    lots = [
        lot("1.0", available=5),
        lot("2.0", available=5, expires=NOW + 2 * DAY),
        lot("3.0", available=5, expires=NOW + DAY),
    ]
    taken = take(lots, 12, NOW)
    assert [(one.lot, part) for one, part in taken] == [("3.0", 5), ("2.0", 5), ("1.0", 2)]


def test_ties_go_by_the_place_in_the_log_and_not_by_its_spelling() -> None:
    lots = [lot("10.0", available=1), lot("9.2", available=1), lot("9.10", available=1)]
    assert [one.lot for one, _ in take(lots, 3, NOW)] == ["9.2", "9.10", "10.0"]


def test_a_lot_expires_in_the_very_microsecond() -> None:
    dying = lot(available=5, expires=NOW)
    assert spendable([dying], NOW - 1) == 5
    assert spendable([dying], NOW) == 0
    with pytest.raises(InsufficientPoints):
        take([dying], 1, NOW)


def test_too_few_points_say_how_many_there_are() -> None:
    lots = [lot(available=5), lot("2.0", pending=50)]
    with pytest.raises(InsufficientPoints) as caught:
        take(lots, 6, NOW)
    assert caught.value.metadata == {"available": "5", "asked": "6"}


def test_time_matures_and_ends_a_lot_but_not_its_held_points() -> None:
    one = lot(pending=5, expires=NOW + 9 * DAY)
    assert as_of(one, NOW).pending == 5
    ripe = as_of(one, NOW + DAY)
    assert (ripe.pending, ripe.available) == (0, 5)
    held = ripe.changed(available=-3, held=3)
    late = as_of(held, NOW + 9 * DAY)
    assert (late.available, late.held) == (0, 3)
    assert late.due_at_us == 0


def test_points_come_back_to_their_expiry_or_to_the_grace() -> None:
    one = lot(available=5, expires=NOW)
    assert expiry_on_return(one, NOW - 1, grace_days=30) == NOW
    assert expiry_on_return(one, NOW, grace_days=30) == NOW + 30 * DAY
    assert expiry_on_return(one, NOW, grace_days=0) == NOW


def test_no_part_of_a_lot_is_negative() -> None:
    with pytest.raises(ValueError):
        lot(available=1).changed(available=-2)


@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.integers(0, 6)).map(
            lambda t: lot(available=t[0], expires=(NOW + (t[1] - 2) * DAY) if t[1] else 0)
        ),
        max_size=8,
    ),
    st.integers(1, 200),
)
def test_what_is_taken_is_exactly_what_was_asked_and_was_there(lots: list[Lot], asked: int) -> None:
    named = [replace(one, lot=f"{place}.0") for place, one in enumerate(lots)]
    there = spendable(named, NOW)
    if asked > there:
        with pytest.raises(InsufficientPoints):
            take(named, asked, NOW)
        return
    taken = take(named, asked, NOW)
    assert sum(part for _, part in taken) == asked
    assert all(0 < part <= one.available and not one.expired(NOW) for one, part in taken)
    left = [one for one, part in taken if part < one.available]
    assert left in ([], [taken[-1][0]])
