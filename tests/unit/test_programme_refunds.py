"""What refunds leave of grants, and where the rest is taken from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.programme.facts import Count
from node.programme.model import Clawback
from node.programme.refunds import given_back, kept, recover
from tests.trials import at, programme

amounts = st.lists(st.integers(0, 10**9), min_size=1, max_size=6)
small = st.integers(0, 1_000)


@pytest.mark.row("P1")
def test_what_is_kept_earns_as_if_it_had_been_bought_alone() -> None:
    assert kept(12, numerator=1, denominator=100, by_line=False, amounts_kept=[680]) == 6
    assert kept(12, numerator=1, denominator=100, by_line=True, amounts_kept=[680, 150, 99]) == 7
    assert kept(12, numerator=0, denominator=0, by_line=False, amounts_kept=[1]) == 12
    assert kept(12, numerator=0, denominator=0, by_line=False, amounts_kept=[0]) == 0


def test_a_grant_that_a_limit_cut_never_grows() -> None:
    assert kept(5, numerator=1, denominator=100, by_line=False, amounts_kept=[900]) == 5
    assert kept(5, numerator=1, denominator=100, by_line=False, amounts_kept=[300]) == 3


@given(amounts, st.integers(1, 1_000), st.integers(1, 1_000), st.booleans(), st.data())
def test_keeping_less_never_leaves_more(
    bought: list[int], numerator: int, denominator: int, by_line: bool, data: st.DataObject
) -> None:
    def left(of: list[int]) -> int:
        return kept(
            10**15,
            numerator=numerator,
            denominator=denominator,
            by_line=by_line,
            amounts_kept=of,
        )

    less = [data.draw(st.integers(0, one)) for one in bought]
    assert 0 <= left(less) <= left(bought)
    assert left([0] * len(bought)) == 0


@given(st.sampled_from(Clawback), small, small, small, small, small)
def test_every_point_asked_for_is_accounted_for(
    policy: Clawback, points: int, pending: int, available: int, expired: int, elsewhere: int
) -> None:
    found = recover(
        policy,
        points,
        pending=pending,
        available=available,
        expired=expired,
        elsewhere=elsewhere,
    )
    assert found.taken + found.expired + found.forgiven == points
    assert found.pending <= pending
    assert found.available <= available
    assert found.expired <= expired
    assert found.elsewhere <= elsewhere
    assert found.debt == 0 or policy is Clawback.DEBT
    assert found.forgiven == 0 or policy is not Clawback.DEBT
    if policy is Clawback.PENDING_ONLY:
        assert found.taken == found.pending
    if found.forgiven and policy is Clawback.WITHIN_BALANCE:
        assert (found.available, found.elsewhere) == (available, elsewhere)


def test_points_that_expired_unspent_are_not_owed() -> None:
    found = recover(Clawback.DEBT, 10, pending=0, available=0, expired=7, elsewhere=100)
    assert (found.expired, found.elsewhere, found.debt) == (7, 3, 0)


def test_limits_get_back_what_a_refund_reverses() -> None:
    rules = programme(
        """\
units: {points: {}}
earn:
  buy:
    on: purchase
    rate: {points: 1, per_minor: 100}
    limits: [{points: 500, per: day}, {times: 3, per: month}]
"""
    )
    when = at("2026-11-22 12:00")
    counts = {
        ("buy", "2026-11-22"): Count(times=2, points=300),
        ("buy", "2026-11"): Count(times=2, points=300),
    }
    part = given_back(rules, counts, rule="buy", at_us=when, points=40, whole=False)
    assert part == {
        ("buy", "2026-11-22"): Count(times=2, points=260),
        ("buy", "2026-11"): Count(times=2, points=260),
    }
    whole = given_back(rules, counts, rule="buy", at_us=when, points=100, whole=True)
    assert whole["buy", "2026-11"] == Count(times=1, points=200)
    assert given_back(rules, counts, rule="gone", at_us=when, points=1, whole=True) == {}
