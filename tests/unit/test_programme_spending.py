"""Points that pay a part of an order, and points that become other points."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.errors import LimitExceeded
from node.programme.spending import check_payment, converted, covers, most
from tests.trials import programme

BEANS = programme(
    """\
units: {beans: {expiry: {days: 180}, expired_lot_grace_days: 0}}
payment:
  value: {minor: 100, points: 100}
  multiple: 1000
  max_percent: 50
"""
)


@pytest.mark.row("P11")
def test_beans_pay_half_of_a_physical_order_and_all_of_a_virtual_one() -> None:
    assert BEANS.payment is not None
    assert covers(BEANS.payment, 100) == 100
    assert check_payment(BEANS, points=5_000, amount_minor=10_000) == 5_000
    assert check_payment(BEANS, points=10_000, amount_minor=10_000, virtual=True) == 10_000
    with pytest.raises(LimitExceeded, match="use at most 5,000 points"):
        check_payment(BEANS, points=6_000, amount_minor=10_000)
    with pytest.raises(LimitExceeded, match="multiples of 1,000"):
        check_payment(BEANS, points=1_500, amount_minor=10_000)
    with pytest.raises(LimitExceeded, match="multiples"):
        check_payment(BEANS, points=-1_000, amount_minor=10_000)


@pytest.mark.row("P9")
def test_a_programme_without_payment_takes_no_points() -> None:
    with pytest.raises(LimitExceeded, match="do not pay orders"):
        check_payment(programme("units: {points: {}}\n"), points=1, amount_minor=100)


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.booleans())
def test_the_most_that_may_be_paid_is_accepted_and_one_more_multiple_is_not(
    amount: int, available: int, virtual: bool
) -> None:
    assert BEANS.payment is not None
    best = most(BEANS.payment, amount_minor=amount, available=available, virtual=virtual)
    assert best <= available
    if best:
        check_payment(BEANS, points=best, amount_minor=amount, virtual=virtual)
    if best + 1_000 <= available:
        with pytest.raises(LimitExceeded):
            check_payment(BEANS, points=best + 1_000, amount_minor=amount, virtual=virtual)


@pytest.mark.row("P22")
def test_ten_thousand_points_become_two_thousand_miles() -> None:
    rules = programme(
        """\
units: {points: {}, miles: {}}
main: points
conversions:
  miles:
    from_unit: points
    into_unit: miles
    points: 5
    into_points: 1
    minimum: 5000
    multiple: 1000
"""
    )
    conversion = rules.conversions["miles"]
    assert converted(conversion, 10_000) == 2_000
    for wrong in (4_000, 5_500, 0, -5_000):
        with pytest.raises(LimitExceeded, match="multiples of 1,000"):
            converted(conversion, wrong)
