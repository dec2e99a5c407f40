"""Agreement arithmetic: literal figures, and reversals that end where one would."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.errors import AgreementInactive, ComityError, LimitExceeded, Malformed, NotReversible
from comity.terms import agreements
from comity.v1 import common_pb2
from comity.v1.common_pb2 import Ratio
from tests.unit.replay_log import terms

ACCRUAL = common_pb2.REDEMPTION_KIND_ACCRUAL
ROUNDINGS = [value for value in common_pb2.Rounding.values() if value]


@pytest.mark.parametrize(
    ("rounding", "points", "amount"),
    [
        # 101 points at 1/2 are 50.5, 99 are 49.5.
        (common_pb2.ROUNDING_DOWN, 101, 50),
        (common_pb2.ROUNDING_UP, 101, 51),
        (common_pb2.ROUNDING_HALF_UP, 101, 51),
        (common_pb2.ROUNDING_HALF_EVEN, 101, 50),
        (common_pb2.ROUNDING_HALF_EVEN, 99, 50),
    ],
)
def test_an_amount_is_rounded_once_as_agreed(rounding: int, points: int, amount: int) -> None:
    found = agreements.amounts(terms(amount_rounding=rounding), points)
    assert (found.amount.minor, found.amount.currency) == (amount, "EUR")
    assert (found.exact.numerator, found.exact.denominator) == (points, 2)


def test_a_fee_is_a_part_of_the_amount_and_a_fixed_sum() -> None:
    # 1,000 points are 500; 2 % of them 10, and 3 fixed.
    assert agreements.amounts(terms(), 1_000).fee.minor == 13
    # 2 % of 25 are 0.5, rounded half up to 1.
    assert agreements.amounts(terms(), 50).fee.minor == 4
    assert agreements.amounts(terms(fee_basis_points=0, fee_fixed_minor=0), 50).fee.minor == 0


def test_in_an_accrual_the_acceptor_pays() -> None:
    assert agreements.amounts(terms(), 100, ACCRUAL).amount.minor == -50


def test_a_price_in_issuer_points_is_converted_and_rounded() -> None:
    odd = terms(conversion=Ratio(numerator=3, denominator=2))
    assert agreements.issuer_points(odd, 5) == 8  # 7.5, rounded up
    assert agreements.issuer_points(terms(), 5) == 10


def test_points_worth_nothing_are_refused() -> None:
    with pytest.raises(LimitExceeded):
        agreements.amounts(terms(amount_rounding=common_pb2.ROUNDING_DOWN), 1)


@given(
    st.integers(1, 10**6),
    st.integers(1, 10**4),
    st.integers(0, 10_000),
    st.integers(0, 1_000),
    st.sampled_from(ROUNDINGS),
    st.data(),
)
def test_reversing_in_any_parts_ends_where_reversing_at_once_does(
    numerator: int, denominator: int, basis: int, fixed: int, rounding: int, data: st.DataObject
) -> None:
    agreed = terms(
        price=Ratio(numerator=numerator, denominator=denominator),
        fee_basis_points=basis,
        fee_fixed_minor=fixed,
        amount_rounding=rounding,
    )
    committed = data.draw(st.integers(1, 50_000))
    try:
        whole = agreements.amounts(agreed, committed)
    except ComityError:
        return
    cuts = data.draw(st.sets(st.integers(1, committed), max_size=5)) | {committed}
    before = amount = fee = 0
    for cumulative in sorted(cuts):
        part = agreements.reversal_amounts(
            agreed, committed=committed, before=before, cumulative=cumulative
        )
        assert part.amount.minor <= 0
        assert part.fee.minor <= 0
        before, amount, fee = cumulative, amount - part.amount.minor, fee - part.fee.minor
        assert amount <= whole.amount.minor
        assert fee <= whole.fee.minor
    assert (amount, fee) == (whole.amount.minor, whole.fee.minor)


@pytest.mark.parametrize(("before", "cumulative"), [(0, 101), (50, 50), (50, 40), (-1, 5), (0, 0)])
def test_no_more_than_was_committed_is_reversed(before: int, cumulative: int) -> None:
    with pytest.raises(NotReversible):
        agreements.reversal_amounts(terms(), committed=100, before=before, cumulative=cumulative)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"acceptor": "grocery"}, "terms.acceptor"),
        ({"issuer": "operator"}, "terms.issuer"),
        ({"acceptor": "drift"}, "terms.issuer"),
        ({"maximum_points": 9}, "terms.maximum_points"),
        ({"valid_until_us": 1_000}, "terms.valid_until_us"),
        ({"floor_limit_points": 1}, "terms.floor_limit_points"),
        ({"kinds": []}, "terms.kinds"),
        ({"kinds": [1, 1]}, "terms.kinds"),
    ],
)
def test_terms_that_no_brand_may_offer_are_refused_by_field(
    changed: dict[str, Any], field: str
) -> None:
    with pytest.raises(Malformed) as caught:
        agreements.check_terms(terms(**changed))
    assert caught.value.field == field


def test_terms_whose_figures_leave_int64_are_refused() -> None:
    agreements.check_terms(terms())
    huge = terms(price=Ratio(numerator=2**62, denominator=1))
    with pytest.raises(Malformed):
        agreements.check_terms(huge)


def test_limits_validity_and_kinds_hold_at_their_edges() -> None:
    agreed = terms(multiple_points=5)
    for points in (10, 100_000):
        agreements.check_points(agreed, points)
    for points in (9, 5, 11, 100_005):
        with pytest.raises(LimitExceeded):
            agreements.check_points(agreed, points)
    agreements.check_active(agreed, 1_000)
    for at_us in (999, 10**15):
        with pytest.raises(AgreementInactive):
            agreements.check_active(agreed, at_us)
    agreements.check_kind(agreed, common_pb2.REDEMPTION_KIND_REWARD)
    with pytest.raises(AgreementInactive):
        agreements.check_kind(agreed, ACCRUAL)


def test_a_digest_binds_every_field_and_the_salt() -> None:
    digests = {
        agreements.digest(one)
        for one in (terms(), terms(version=2), terms(salt=bytes(range(16))), terms(issuer="x"))
    }
    assert len(digests) == 4
