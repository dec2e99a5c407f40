"""Points and levels to the second: ends of years, changes of the clock, 29 February."""

from __future__ import annotations

import pytest

from comity.clock import DAY, HOUR, SECOND
from node.programme import Programme
from node.programme.purse import Moved
from node.programme.trial import Book
from tests.trials import at, enrolled, happening, programme, purchase

ZONES = ("Asia/Shanghai", "Europe/Berlin", "UTC")


def expiring(expiry: str, zone: str, *, kind: str = "hard") -> Programme:
    return programme(
        f"""\
units: {{points: {{kind: {kind}, expiry: {expiry}}}}}
events: {{visit: {{}}}}
earn: {{visit: {{on: visit, unit: points, points: 100}}}}
""",
        zone=zone,
    )


def ends(expiry: str, zone: str, earned: str, *, joined: str = "2012-03-01 08:00") -> int:
    """When 100 points earned then are gone, found by asking the second before and the second."""
    rules = expiring(expiry, zone)
    book = enrolled(rules, joined)
    book.record(happening("visit", at(earned, zone)))
    (lot,) = book.purse.of("points")
    book.advance(lot.expires_at_us - SECOND)
    assert book.balance("points") == 100
    book.advance(lot.expires_at_us)
    assert book.balance("points") == 0
    assert [one.what for one in book.history][-1] == Moved(
        cause="expired", unit="points", points=-100, reference=lot.lot
    )
    return lot.expires_at_us


@pytest.mark.row("P6")
@pytest.mark.parametrize("zone", ZONES)
def test_points_of_2014_live_to_the_end_of_2015(zone: str) -> None:
    rules = expiring("{calendar_years: 1}", zone)
    book = enrolled(rules, "2014-01-01 00:00:00")
    book.record(happening("visit", at("2014-06-01 12:00:00", zone)))
    book.advance(at("2015-12-31 23:59:59", zone))
    assert book.balance("points") == 100
    book.advance(at("2016-01-01 00:00:00", zone))
    assert book.balance("points") == 0
    gone = [one for one in book.history if isinstance(one.what, Moved) and one.what.points < 0]
    assert [(one.at_us, one.what) for one in gone] == [
        (
            at("2016-01-01 00:00:00", zone),
            Moved(cause="expired", unit="points", points=-100, reference="0.0"),
        )
    ]


@pytest.mark.row("P6")
@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize(
    ("earned", "gone"),
    [("2014-12-31 23:59:59", "2016-01-01"), ("2015-01-01 00:00:00", "2017-01-01")],
)
def test_the_year_of_earning_is_the_local_one(zone: str, earned: str, gone: str) -> None:
    assert ends("{calendar_years: 1}", zone, earned) == at(gone, zone)


@pytest.mark.row("P7")
@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize(
    ("expiry", "earned", "gone"),
    [
        ("{months: 12}", "2024-02-29 10:00", "2025-03-01"),
        ("{months: 48}", "2024-02-29 10:00", "2028-03-01"),
        ("{months: 1}", "2023-01-31 10:00", "2023-03-01"),
        ("{months: 1}", "2024-01-31 10:00", "2024-03-01"),
        ("{days: 365}", "2024-02-29 10:00", "2025-03-01"),
        ("{days: 1}", "2024-02-28 10:00", "2024-03-01"),
        ("{days: 1}", "2023-02-28 10:00", "2023-03-02"),
        ("{calendar_years: 0}", "2024-02-29 10:00", "2025-01-01"),
        ("{anniversary_years: 1}", "2024-02-29 10:00", "2024-03-01"),
        ("{anniversary_years: 1}", "2024-03-01 00:00", "2025-03-01"),
        ("{anniversary_years: 2}", "2024-02-29 10:00", "2025-03-01"),
    ],
)
def test_every_shape_of_expiry_ends_at_a_local_midnight(
    zone: str, expiry: str, earned: str, gone: str
) -> None:
    assert ends(expiry, zone, earned) == at(gone, zone)


@pytest.mark.parametrize("zone", ZONES)
def test_who_joined_on_29_february_has_an_anniversary_every_year(zone: str) -> None:
    year = "{anniversary_years: 1}"
    joined = "2024-02-29 12:00"
    assert ends(year, zone, "2024-03-01 00:00", joined=joined) == at("2025-02-28", zone)
    assert ends(year, zone, "2027-03-01 00:00", joined=joined) == at("2028-02-29", zone)


@pytest.mark.row("P6")
def test_a_day_of_23_or_25_hours_is_a_whole_day_in_berlin() -> None:
    zone = "Europe/Berlin"
    spring = ends("{days: 1}", zone, "2026-03-28 12:00")
    assert spring == at("2026-03-30 00:00", zone)
    assert spring - at("2026-03-29 00:00", zone) == 23 * HOUR
    autumn = ends("{days: 1}", zone, "2026-10-24 12:00")
    assert autumn == at("2026-10-26 00:00", zone)
    assert autumn - at("2026-10-25 00:00", zone) == 25 * HOUR
    assert ends("{days: 1}", zone, "2026-10-25 02:30") == at("2026-10-27 00:00", zone)


@pytest.mark.row("P2")
@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25"])
def test_signing_in_counts_once_on_a_day_that_the_clock_changes(day: str) -> None:
    rules = programme(
        """\
units: {points: {}}
events: {signin: {}}
earn: {signin: {on: signin, points: 10, limits: [{times: 1, per: day}]}}
""",
        zone="Europe/Berlin",
    )
    book = enrolled(rules)
    midnight = at(f"{day} 00:00", rules.zone)
    length = 23 if day == "2026-03-29" else 25
    for hour in range(length):
        book.record(happening("signin", midnight + hour * HOUR))
    assert book.balance("points") == 10
    book.record(happening("signin", midnight + length * HOUR))
    assert book.balance("points") == 20


@pytest.mark.row("P7")
@pytest.mark.parametrize("zone", ZONES)
def test_earning_again_prolongs_what_idles(zone: str) -> None:
    rules = expiring("{idle_days: 30}", zone)
    book = enrolled(rules, "2026-01-01 00:00")
    book.record(happening("visit", at("2026-01-01 12:00", zone)))
    book.record(happening("visit", at("2026-01-31 23:59:59", zone)))
    book.advance(at("2026-03-02 23:59:59", zone))
    assert book.balance("points") == 200
    book.advance(at("2026-03-03 00:00:00", zone))
    assert book.balance("points") == 0


@pytest.mark.parametrize("zone", ZONES)
def test_pending_points_ripen_to_the_second(zone: str) -> None:
    rules = programme(
        """\
units: {points: {}}
return_window_days: 14
earn: {buy: {on: purchase, rate: {points: 1, per_minor: 100}}}
""",
        zone=zone,
    )
    book = Book(rules, enrolled_at_us=at("2026-03-20", zone))
    bought = at("2026-03-20 10:00", zone)
    book.record(purchase(5_000, bought))
    book.advance(bought + 14 * DAY - SECOND)
    assert (book.balance("points"), book.pending("points")) == (0, 50)
    book.advance(bought + 14 * DAY)
    assert (book.balance("points"), book.pending("points")) == (50, 0)
