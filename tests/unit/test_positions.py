"""Positions: whatever a decision moves, it moves from somebody to somebody."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.errors import CapExceeded, Overflow
from comity.terms import positions
from comity.v1 import common_pb2, entry_pb2
from comity.v1.common_pb2 import FEE_PAYER_ACCEPTOR, FEE_PAYER_ISSUER, Money

MINOR = st.integers(-(2**40), 2**40)


def moved(
    amount: int,
    fee: int = 0,
    drift: int = 0,
    payer: common_pb2.FeePayer.ValueType = FEE_PAYER_ISSUER,
) -> entry_pb2.Amounts:
    return entry_pb2.Amounts(
        amount=Money(currency="EUR", minor=amount),
        fee=Money(currency="EUR", minor=fee),
        drift=Money(currency="EUR", minor=drift),
        fee_payer=payer,
    )


@pytest.mark.parametrize(
    ("payer", "expected"),
    [
        (FEE_PAYER_ISSUER, {"a": -105, "b": 98, "operator": 5, "drift": 2}),
        (FEE_PAYER_ACCEPTOR, {"a": -100, "b": 93, "operator": 5, "drift": 2}),
    ],
)
def test_amount_fee_and_drift_go_from_whom_to_whom(
    payer: common_pb2.FeePayer.ValueType, expected: dict[str, int]
) -> None:
    amounts = moved(100, 5, 2, payer)
    assert positions.effects(issuer="a", acceptor="b", amounts=amounts) == expected


@given(MINOR, MINOR, MINOR, st.sampled_from([FEE_PAYER_ISSUER, FEE_PAYER_ACCEPTOR]))
def test_effects_sum_to_zero(
    amount: int, fee: int, drift: int, payer: common_pb2.FeePayer.ValueType
) -> None:
    found = positions.effects(issuer="a", acceptor="b", amounts=moved(amount, fee, drift, payer))
    assert sum(found.values()) == 0
    back = positions.effects(issuer="a", acceptor="b", amounts=moved(-amount, -fee, -drift, payer))
    assert set(positions.fold(found, back).values()) == {0}


def test_the_payer_is_whoever_promised() -> None:
    reward, accrual = common_pb2.REDEMPTION_KIND_REWARD, common_pb2.REDEMPTION_KIND_ACCRUAL
    assert positions.payer_of(reward, issuer="a", acceptor="b") == "a"
    assert positions.payer_of(accrual, issuer="a", acceptor="b") == "b"


def test_a_cap_holds_to_the_last_minor_unit() -> None:
    assert positions.check_cap(participant="a", position=-40, change=-60, cap=100) == -100
    with pytest.raises(CapExceeded):
        positions.check_cap(participant="a", position=-40, change=-61, cap=100)
    # Whoever is below its cap already may still be paid, wholly or in part.
    assert positions.check_cap(participant="a", position=-500, change=1, cap=100) == -499
    assert positions.check_cap(participant="a", position=-500, change=0, cap=100) == -500
    with pytest.raises(CapExceeded):
        positions.check_cap(participant="a", position=0, change=-1, cap=0)


def test_positions_stay_within_int64() -> None:
    with pytest.raises(Overflow):
        positions.fold({"a": 2**63 - 1}, {"a": 1})
    with pytest.raises(Overflow):
        positions.check_cap(participant="a", position=-(2**63), change=-1, cap=2**63 - 1)
    assert positions.fold({"a": 1}, {"b": 2}) == {"a": 1, "b": 2}
