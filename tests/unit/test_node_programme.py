"""The programme file, earning, and days in the programme's own zone."""

from __future__ import annotations

from datetime import date, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.clock import DAY, SECOND
from comity.errors import LimitExceeded, Malformed
from node.programme import (
    Rate,
    check_redemption,
    expires_at,
    local_day,
    points_for,
    purchase_rate,
    read_programme,
    start_of_day,
)
from tests.brand import START_US, programme

FILE = b"""\
version: "2026-1"
name: Grocery Plus
zone: Europe/Amsterdam
currency: EUR
units:
  points:
    expiry: {months: 12}
    clawback: debt
earn:
  purchase:
    on: purchase
    rate: {points: 1, per_minor: 100}
return_window_days: 14
"""


def at(text: str, zone: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()) * SECOND


def test_a_file_is_read_with_the_digest_of_its_bytes() -> None:
    read = read_programme(FILE)
    assert purchase_rate(read.programme) == Rate(points=1, per_minor=100)
    assert read.programme.units["points"].expiry.months == 12
    assert len(read.digest) == 32
    assert read.digest != read_programme(FILE + b"\n").digest


@pytest.mark.parametrize(
    ("wrong", "right", "sentence"),
    [
        (b"per_minor: 0", b"per_minor: 100", "Line 12 of the programme file, earn.purchase.rate."),
        (b"per_minor: 0.5", b"per_minor: 100", "Line 12"),
        (b"zone: Mars/Olympus", b"zone: Europe/Amsterdam", "Line 3"),
        (b"clawbak: debt", b"clawback: debt", "Line 8"),
        (b"clawback: sue", b"clawback: debt", "Line 8"),
        (b"name: A\nname: B", b"name: Grocery Plus", "Line 3 of the programme file: name is given"),
        (b"{months: 12, days: 3}", b"{months: 12}", "one of days, months"),
        (b"name: [", b"name: Grocery Plus", "not YAML"),
    ],
)
def test_a_mistake_in_the_file_is_named_with_its_line(
    wrong: bytes, right: bytes, sentence: str
) -> None:
    assert right in FILE
    with pytest.raises(Malformed, match=sentence):
        read_programme(FILE.replace(right, wrong))


def test_points_are_rounded_down_once_for_a_purchase() -> None:
    assert points_for(1_280, rate_points=1, rate_minor=100) == 12
    assert points_for(99, rate_points=1, rate_minor=100) == 0
    assert points_for(1, rate_points=3, rate_minor=2) == 1


@pytest.mark.parametrize(
    ("rule", "zone", "earned", "expires"),
    [
        # At least the stated time, to the end of the local day.
        ({"days": 1}, "UTC", "2026-03-01T10:00:00", "2026-03-03T00:00:00"),
        ({"months": 12}, "Europe/Amsterdam", "2026-01-15T23:59:59", "2027-01-16T00:00:00"),
        ({"months": 1}, "Europe/Amsterdam", "2026-01-31T12:00:00", "2026-03-01T00:00:00"),
        ({"months": 1}, "Europe/Amsterdam", "2024-01-31T12:00:00", "2024-03-01T00:00:00"),
        # Points of 2014 are good through 2015.
        ({"calendar_years": 1}, "Asia/Shanghai", "2014-06-01T00:00:00", "2016-01-01T00:00:00"),
        # Over a clock change the day counts, not 24 hours.
        ({"days": 1}, "Europe/Amsterdam", "2026-03-28T12:00:00", "2026-03-30T00:00:00"),
        ({"days": 1}, "Europe/Amsterdam", "2026-10-24T12:00:00", "2026-10-26T00:00:00"),
    ],
)
def test_points_expire_at_local_midnight(
    rule: dict[str, int], zone: str, earned: str, expires: str
) -> None:
    rules = programme(zone=zone, expiry=rule)
    assert expires_at(rules, "points", at(earned, zone)) == at(expires, zone)


def test_without_a_rule_points_never_expire() -> None:
    assert expires_at(programme(), "points", START_US) == 0


def test_the_day_is_the_programmes_own() -> None:
    # 23:30 UTC on New Year's Eve is next year in Amsterdam and in Tokyo, not in New York.
    moment = START_US - 30 * 60 * SECOND
    assert local_day(programme(), moment) == date(2026, 1, 1)
    assert local_day(programme(zone="America/New_York"), moment) == date(2025, 12, 31)


@given(
    day=st.dates(date(2000, 1, 1), date(2090, 1, 1)),
    zone=st.sampled_from(["Europe/Amsterdam", "America/Sao_Paulo", "Asia/Beirut", "UTC"]),
)
def test_a_day_begins_where_the_day_before_ends(day: date, zone: str) -> None:
    rules = programme(zone=zone)
    start = start_of_day(rules, day)
    assert local_day(rules, start) == day
    assert local_day(rules, start - 1) < day


@given(
    days=st.integers(1, 1_000),
    earned=st.integers(START_US // SECOND, START_US // SECOND + 10**8),
)
def test_points_live_at_least_as_long_as_promised(days: int, earned: int) -> None:
    rules = programme(expiry={"days": days})
    life_us = expires_at(rules, "points", earned * SECOND) - earned * SECOND
    assert (days - 1) * DAY < life_us <= (days + 1) * DAY + 3_600 * SECOND


def test_a_day_of_redemptions_has_a_limit() -> None:
    rules = programme(redemptions_per_day=2, redeemed_points_per_day=100)
    check_redemption(rules, asked=60, redeemed_today=40, redemptions_today=1)
    with pytest.raises(LimitExceeded, match="2 times"):
        check_redemption(rules, asked=1, redeemed_today=2, redemptions_today=2)
    with pytest.raises(LimitExceeded, match="60 more"):
        check_redemption(rules, asked=61, redeemed_today=40, redemptions_today=1)
