"""Whole-number arithmetic: exact, symmetric, and never outside 64 bits."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity import points
from comity.errors import Malformed, Overflow
from comity.points import MAX, MIN, Ratio, Rounding

int64 = st.integers(MIN, MAX)
positive = st.integers(1, MAX)
ratios = st.builds(Ratio, positive, positive)
roundings = st.sampled_from(Rounding)


@pytest.mark.parametrize(
    ("rounding", "expected"),
    [
        (Rounding.DOWN, [0, 0, 1, 1, 1, 1, 2, 2, 2]),
        (Rounding.UP, [0, 1, 1, 2, 2, 2, 2, 3, 3]),
        (Rounding.HALF_UP, [0, 1, 1, 1, 2, 2, 2, 2, 3]),
        (Rounding.HALF_EVEN, [0, 0, 1, 1, 2, 2, 2, 2, 2]),
    ],
)
def test_quarters_round_as_each_rule_says(rounding: Rounding, expected: list[int]) -> None:
    quarters = [0, 2, 4, 5, 6, 7, 8, 9, 10]
    found = [points.scale(value, Ratio(1, 4), rounding) for value in quarters]
    assert found == expected
    below = [points.scale(-value, Ratio(1, 4), rounding) for value in quarters]
    assert below == [-value for value in expected]


@given(int64, ratios, roundings)
def test_a_scaled_amount_is_within_one_of_the_exact_and_symmetric(
    value: int, ratio: Ratio, rounding: Rounding
) -> None:
    exact = Fraction(value * ratio.numerator, ratio.denominator)
    try:
        found = points.scale(value, ratio, rounding)
    except Overflow:
        assert abs(exact) > MAX - 1
        return
    nearest = rounding in (Rounding.HALF_UP, Rounding.HALF_EVEN)
    assert abs(found - exact) <= (Fraction(1, 2) if nearest else 1)
    assert abs(found - exact) < 1
    if rounding is Rounding.DOWN:
        assert abs(found) <= abs(exact)
    if rounding is Rounding.UP:
        assert abs(found) >= abs(exact)
    if rounding is Rounding.HALF_EVEN:
        assert found == round(exact)
    if value != MIN and found != MIN:
        assert points.scale(-value, ratio, rounding) == -found


@given(int64, roundings)
def test_a_whole_ratio_of_one_changes_nothing(value: int, rounding: Rounding) -> None:
    assert points.scale(value, Ratio(7, 7), rounding) == value


@given(int64, int64)
def test_sums_and_products_are_exact_or_refused(left: int, right: int) -> None:
    for found, exact in (
        (points.add, left + right),
        (points.subtract, left - right),
        (points.multiply, left * right),
    ):
        if MIN <= exact <= MAX:
            assert found(left, right) == exact
        else:
            with pytest.raises(Overflow):
                found(left, right)


def test_the_ends_of_the_range_are_inside() -> None:
    assert points.checked(MAX) == 9223372036854775807
    assert points.checked(MIN) == -9223372036854775808
    for outside in (MAX + 1, MIN - 1):
        with pytest.raises(Overflow):
            points.checked(outside)
    with pytest.raises(Overflow):
        points.scale(MIN, Ratio(2, 1), Rounding.DOWN)
    with pytest.raises(Overflow):
        points.add(MAX, 1)


def test_only_the_result_of_a_long_sum_has_to_fit() -> None:
    assert points.total([MAX, MAX, -MAX]) == MAX
    assert points.total([]) == 0
    with pytest.raises(Overflow):
        points.total([MAX, 1])


@given(positive, positive)
def test_a_ratio_is_kept_in_lowest_terms(numerator: int, denominator: int) -> None:
    ratio = Ratio(numerator, denominator)
    exact = Fraction(numerator, denominator)
    assert (ratio.numerator, ratio.denominator) == exact.as_integer_ratio()
    assert ratio.times(ratio.inverse()) == Ratio(1, 1)
    assert str(ratio) == f"{exact.numerator}/{exact.denominator}"


@pytest.mark.parametrize(("numerator", "denominator"), [(0, 1), (1, 0), (-1, 2), (1, -2)])
def test_a_ratio_is_positive(numerator: int, denominator: int) -> None:
    with pytest.raises(Malformed):
        Ratio(numerator, denominator)


def test_a_ratio_that_leaves_the_range_is_refused() -> None:
    with pytest.raises(Overflow):
        Ratio(MAX + 1, 1)
    assert Ratio((MAX + 1) * 3, MAX + 1) == Ratio(3, 1)
    with pytest.raises(Overflow):
        Ratio(MAX, 1).times(Ratio(2, 1))


def test_shares_go_to_the_largest_remainders_then_to_the_earliest() -> None:
    assert points.split(10, [1, 1, 1]) == (4, 3, 3)
    assert points.split(100, [333, 333, 334]) == (33, 33, 34)
    assert points.split(-10, [1, 1, 1]) == (-4, -3, -3)
    assert points.split(5, [0, 3, 0]) == (0, 5, 0)
    assert points.split(0, [2, 1]) == (0, 0)


@given(int64, st.lists(st.integers(0, MAX), min_size=1, max_size=9).filter(any))
def test_shares_sum_exactly_and_are_within_one_of_exact(value: int, weights: list[int]) -> None:
    shares = points.split(value, weights)
    assert sum(shares) == value
    for share, weight in zip(shares, weights, strict=True):
        assert abs(share - Fraction(value * weight, sum(weights))) < 1


@pytest.mark.parametrize("weights", [[], [0], [0, 0], [3, -1]])
def test_weights_that_share_nothing_are_refused(weights: list[int]) -> None:
    with pytest.raises(Malformed):
        points.split(1, weights)


@pytest.mark.parametrize("denominator", [0, -1])
def test_dividing_by_nothing_is_a_mistake(denominator: int) -> None:
    with pytest.raises(ValueError, match="denominator"):
        points.divide(1, denominator, Rounding.DOWN)
