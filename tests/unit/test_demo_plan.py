"""The plan of the demonstration: what happens on which day, and what the brands agree."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from fractions import Fraction
from itertools import permutations

import pytest

from cli.demo import plan
from cli.demo.coalition import COALITION, PARTNER, PROBATION, TERMS, agreements
from cli.demo.journey import ZONE, CouponUse, Journey, Purchase
from cli.demo.plan import Afterwards
from comity.clock import DAY
from comity.terms import agreements as arithmetic
from node.programme import read_programme

START = datetime(2026, 9, 1, 9, 0, tzinfo=ZONE)
NOW_US = 1_790_000_000_000_000


def _journey(days: int = 30) -> Journey:
    purchases = []
    for number in range(days * 4):
        brand = list(COALITION)[number % 4]
        at = START + timedelta(hours=6 * number)
        purchases.append(Purchase(brand, number % 3, number, at, 100 + number))
    uses = tuple(
        CouponUse("grocery", number % 3, date(2026, 9, 1) + timedelta(days=number % days))
        for number in range(60)
    )
    return Journey(households=(0, 1, 2), purchases=tuple(purchases), coupon_uses=uses)


def test_no_purchase_and_no_wish_is_lost() -> None:
    made = plan.make(_journey())
    own = sum(len(found) for day in made.days for found in day.purchases.values())
    shared = sum(len(day.partner_purchases) for day in made.days)
    assert own + shared == made.purchases == 120
    assert sum(len(w) for day in made.days for w in day.wishes.values()) == made.wishes == 60


def test_days_are_in_order_and_purchases_in_time_order() -> None:
    days = plan.make(_journey()).days
    assert [day.day for day in days] == sorted(day.day for day in days)
    for day in days:
        for found in day.purchases.values():
            assert [one.at for one in found] == sorted(one.at for one in found)


def test_some_who_buy_at_the_partner_earn_elsewhere() -> None:
    shared = [one for day in plan.make(_journey(60)).days for one in day.partner_purchases]
    assert shared
    assert {one.brand for one in shared} == {PARTNER}
    assert all(one.cents for one in shared)


def test_households_are_members_where_they_shop() -> None:
    data = _journey()
    made = plan.make(data)
    for household in data.households:
        shops = {one.brand for one in data.purchases if one.household == household}
        assert set(made.memberships[household]) == shops


def test_every_kind_of_ending_happens() -> None:
    wishes = [w for day in plan.make(_journey()).days for ws in day.wishes.values() for w in ws]
    assert {plan.afterwards(number) for number in range(1, 26)} == set(Afterwards)
    assert any(wish.exchange for wish in wishes)
    assert any(wish.stubborn for wish in wishes)


def test_the_same_data_makes_the_same_plan() -> None:
    assert plan.make(_journey()) == plan.make(_journey())


@pytest.mark.parametrize("brand", COALITION)
def test_programmes_are_ones_a_node_runs_by(brand: str) -> None:
    found = read_programme(COALITION[brand].programme().encode()).programme
    assert found.main_unit == "points"
    assert found.backdate_days * DAY > 53 * 7 * DAY


@pytest.mark.parametrize("brand", COALITION)
def test_prices_are_at_par_with_what_a_point_is_worth(brand: str) -> None:
    member = COALITION[brand]
    for reward, (_, _, minor) in zip(member.rewards(), member.ladder, strict=True):
        assert reward.price_points * member.worth >= minor
        assert (reward.price_points - 1) * member.worth < minor


def test_every_pair_agrees_on_terms_of_its_own() -> None:
    found = agreements(NOW_US)
    assert [(one.issuer, one.acceptor) for one in found] == list(permutations(COALITION, 2))
    for one in found:
        arithmetic.check_terms(one)
        arithmetic.check_active(one, NOW_US)
    assert len(set(TERMS.values())) > 8


def test_issuers_pay_less_than_worth_and_members_pay_no_less_than_par() -> None:
    for one in agreements(NOW_US):
        issuer, acceptor = COALITION[one.issuer], COALITION[one.acceptor]
        assert Fraction(one.price.numerator, one.price.denominator) < issuer.worth
        par = acceptor.worth / issuer.worth
        assert Fraction(one.conversion.numerator, one.conversion.denominator) >= par


def test_the_first_redemption_of_the_probationer_exceeds_its_cap() -> None:
    cap = COALITION[PROBATION].brand().caps[0].minor
    for one in agreements(NOW_US):
        if one.issuer == PROBATION:
            cheapest = min(r.price_points for r in COALITION[one.acceptor].rewards())
            points = arithmetic.issuer_points(one, cheapest)
            assert arithmetic.amounts(one, points).amount.minor > cap
