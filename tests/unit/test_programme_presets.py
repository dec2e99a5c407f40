"""The presets: every one is read, does what its events expect, and is among the named ones."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from comity.errors import Malformed, NotFound
from node.programme import presets, read_programme
from node.programme.model import PURCHASE, Programme
from node.programme.tryout import Tried, read_script, try_out

NAMES = presets.names()


def preset(name: str) -> Programme:
    return read_programme(presets.programme(name)).programme


def tried(name: str, events: bytes = b"") -> Tried:
    return try_out(preset(name), events or presets.events(name))


def test_the_programmes_of_well_known_brands_are_there() -> None:
    assert set(NAMES) >= {
        "airline-miles",
        "ant-member",
        "basic-senior-vip",
        "costco",
        "gewara",
        "jd-beans",
        "luckin",
        "qq-levels",
        "rfm",
        "starbucks-2015",
        "starbucks-2016",
        "taobao-v",
        "tmall",
        "xiaomi",
    }
    with pytest.raises(NotFound, match="There is no preset starbuck; there is airline-miles"):
        presets.programme("starbuck")


@pytest.mark.row("T1", "T7", "T9", "T12", "T16", "T17", "T18", "T19")
@pytest.mark.row("P3", "P10", "P13", "P22", "P24", "P25", "O13")
@pytest.mark.parametrize("name", NAMES)
def test_a_preset_does_what_its_events_expect(name: str) -> None:
    assert tried(name).wrong == ()


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_says_where_its_rules_come_from(name: str) -> None:
    assert presets.title(name).endswith(".") or ":" in presets.title(name)
    assert len(re.findall(r"^# ", presets.programme(name).decode(), re.MULTILINE)) >= 2


@pytest.mark.parametrize("name", NAMES)
def test_the_events_of_a_preset_try_most_of_its_rules(name: str) -> None:
    programme = preset(name)
    script, _ = read_script(presets.events(name))
    used = {step.event or PURCHASE for step in script.steps if step.event or step.purchase}
    assert used >= {rule.on for rule in programme.earn.values()}
    assert sum(step.expect is not None for step in script.steps) >= 6


@pytest.mark.row("P6")
def test_points_of_2014_are_good_through_2015() -> None:
    events = b"""
enrolled: 2014-01-01
steps:
  - {at: 2014-06-01 10:00, purchase: 10000}
  - {at: 2015-12-31 23:59:59, expect: {balance: {points: 100}}}
  - {at: 2016-01-01 00:00:00, expect: {balance: {points: 0}}}
"""
    found = tried("tmall", events)
    assert found.wrong == ()
    assert found.steps[-1].notes == ("points -100, expired",)


@pytest.mark.row("P11")
def test_a_bean_that_comes_back_after_two_days_has_its_eight_left() -> None:
    events = b"""
enrolled: 2026-01-01
steps:
  - {at: 2026-01-10 12:00, purchase: 100000}
  - {at: 2026-06-29 23:00, pay: 1000, amount: 2000, id: order}
  - {at: 2026-07-01 23:00, restore: order, points: 1000}
  - {at: 2026-07-09 23:59:59, expect: {balance: {beans: 1000}}}
  - {at: 2026-07-10 00:00:00, expect: {balance: {beans: 0}}}
"""
    assert tried("jd-beans", events).wrong == ()


@pytest.mark.row("T12")
def test_the_levels_of_qq_take_n_squared_and_four_n_days() -> None:
    tiers = preset("qq-levels").tiers
    assert tiers is not None
    days = [level.reach[0]["active"] // 20 for level in tiers.levels[1:]]
    assert days == [n * n + 4 * n for n in range(1, 65)]
    assert days[12] == 221
    assert [later - now for now, later in pairwise(days)] == [2 * n + 5 for n in range(1, 64)]


@pytest.mark.row("P25", "P19")
def test_small_coffees_are_worth_less_since_2016() -> None:
    events = """
enrolled: 2016-01-01
steps:
  - {{at: 2016-01-02 08:00, purchase: {price}, times: 55}}
"""
    gold = {
        (year, price): tried(f"starbucks-{year}", events.format(price=price).encode()).book.level
        for year in ("2015", "2016")
        for price in (195, 600)
    }
    assert gold == {
        ("2015", 195): "gold",
        ("2016", 195): "green",
        ("2015", 600): "gold",
        ("2016", 600): "gold",
    }


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ("{at: 2026-01-02, buy: 3}", "Line 3 of the event file, steps.0.buy: there is no such"),
        ("{at: yesterday, purchase: 3}", "Line 3 of the event file, steps.0.at"),
        ("{at: 2026-13-02, purchase: 3}", "Line 3 of the event file, steps.0.at"),
        ("{at: 2026-01-02, purchase: 3, spend: 4}", "a step is one of purchase, event"),
        ("{at: 2026-01-02, restore: x}", "say with points"),
        ("\n  - ".join(["{at: 2026-01-02, purchase: 1, times: 5000}"] * 5), "more than 20,000"),
        ("{at: 2026-01-02, pay: 10}", "say with amount"),
        ("{at: 2026-01-02T10:00+01:00, purchase: 3}", "without a zone"),
        (
            "{at: 2026-01-02, event: visit}",
            "Line 3 .*steps.0.event: .* no visit here; it has review",
        ),
        ("{at: 2026-01-02, event: review, attributes: {stars: 3}}", "no stars here; it has photos"),
        ("{at: 2026-01-02, convert: miles, points: 3}", "no miles here; it has none"),
        ("{at: 2026-01-02, spend: 3, unit: miles}", "no miles here; it has beans, growth"),
    ],
)
def test_a_mistake_in_an_event_file_has_its_line(wrong: str, sentence: str) -> None:
    with pytest.raises(Malformed, match=sentence):
        tried("jd-beans", f"enrolled: 2026-01-01\nsteps:\n  - {wrong}\n".encode())


def test_what_is_not_as_expected_is_told_with_its_line() -> None:
    events = b"""enrolled: 2026-01-01
steps:
  - at: 2026-01-02 09:00
    purchase: 100
    expect: {level: gold, balance: {beans: 2, coins: 1}, badges: [critic], refused: true}
"""
    assert tried("jd-beans", events).wrong == (
        "Line 3: it was not refused.",
        "Line 3: 1 beans available, expected 2.",
        "Line 3: there is no unit coins.",
        "Line 3: level bronze, expected gold.",
        "Line 3: badges none, expected critic.",
    )
