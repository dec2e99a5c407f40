"""What the file shows of the pitfalls, and what another version changes for members."""

from __future__ import annotations

from typing import Any

import pytest

from node.programme import presets, read_programme
from node.programme.design import GOALS, MODES, Answers, Mode, from_preset, suggested, written
from node.programme.diff import diff, takes_away
from node.programme.lint import lint
from node.programme.model import Programme

ANSWERS = Answers(
    name='The "Corner": Club #1',
    zone="Asia/Tokyo",
    currency="JPY",
    goal="loyalty",
    resources="Bread: every morning",
    need="A place to belong # really",
)


def club(**changes: Any) -> Programme:
    """A programme without a pitfall, and `changes` to it."""
    content: dict[str, Any] = {
        "version": "1",
        "name": "Corner Club",
        "zone": "Europe/Paris",
        "currency": "EUR",
        "aim": {"goal": "loyalty", "resources": "Bread", "need": "Belonging"},
        "units": {
            "points": {"kind": "hard", "expiry": {"months": 24}},
            "growth": {"kind": "growth", "expiry": {"months": 12}},
        },
        "events": {"visit": {}},
        "earn": {
            "bought": {"on": "purchase", "rate": {"points": 3, "per_minor": 200}},
            "came": {
                "on": "visit",
                "unit": "growth",
                "points": 7,
                "limits": [{"times": 1, "per": "day"}],
            },
        },
        "tiers": {
            "levels": [
                {"id": "basic"},
                {"id": "silver", "reach": [{"growth": 70}], "benefits": ["early"]},
                {"id": "gold", "reach": [{"growth": 210}], "benefits": ["early", "gift"]},
            ],
            "validity": {"months": 12},
        },
        "benefits": {"early": {"title": "Offers early"}, "gift": {"title": "A cake"}},
        "return_window_days": 14,
    }
    return Programme.model_validate(content | changes)


def preset(name: str) -> Programme:
    return read_programme(presets.programme(name)).programme


def pitfalls(programme: Programme) -> set[str]:
    return {one.pitfall for one in lint(programme)}


def levels(*reaches: int, **changes: Any) -> dict[str, Any]:
    ladder = [{"id": "l0"}] + [
        {"id": f"l{at}", "reach": [{"growth": reach}]} for at, reach in enumerate(reaches, start=1)
    ]
    return {"levels": ladder, "validity": {"months": 12}} | changes


def test_a_programme_without_pitfalls_has_no_findings() -> None:
    assert lint(club()) == ()


POINTS = {"kind": "hard", "expiry": {"months": 24}}
GROWTH = {"kind": "growth", "expiry": {"months": 12}}
GOLD = {"kind": "gold", "value": {"minor": 1, "points": 1}}
BOUGHT = {"on": "purchase", "rate": {"points": 1, "per_minor": 100}}


@pytest.mark.row("T11", "T13", "T14", "T20", "P7", "P17", "P18", "O1", "O8")
@pytest.mark.parametrize(
    ("pitfall", "changes"),
    [
        ("no-aim", {"aim": None}),
        ("complexity", {"earn": {f"r{n}": BOUGHT for n in range(9)}, "tiers": None}),
        (
            "complexity",
            {"units": {"points": POINTS, "growth": GROWTH, "spend": GROWTH, "stays": GROWTH}},
        ),
        ("complexity", {"tags": {"odd": {"when": " && ".join(["member.days > 300"] * 8)}}}),
        ("dual-reward", {"earn": {"a": BOUGHT, "b": BOUGHT | {"unit": "growth"}}}),
        ("gold-standard-cost", {"units": {"points": GOLD, "growth": GROWTH}}),
        (
            "gold-standard-cost",
            {
                "units": {"points": GOLD | {"expiry": {"days": 90}}, "growth": GROWTH},
                "earn": {"a": {"on": "purchase", "rate": {"points": 4, "per_minor": 100}}},
            },
        ),
        (
            "gold-standard-cost",
            {
                "units": {"points": GOLD | {"expiry": {"days": 90}}, "growth": GROWTH},
                "earn": {"a": BOUGHT | {"funded_by": "platform"}},
            },
        ),
        (
            "soft-becomes-hard",
            {
                "units": {"points": POINTS, "coins": {"kind": "soft"}, "growth": GROWTH},
                "main": "points",
                "conversions": {
                    "x": {
                        "from_unit": "coins",
                        "into_unit": "points",
                        "points": 2,
                        "into_points": 1,
                    }
                },
            },
        ),
        ("never-expires", {"units": {"points": {}, "growth": GROWTH}}),
        ("no-notice", {"units": {"points": POINTS | {"notice_days": []}, "growth": GROWTH}}),
        ("no-return-window", {"return_window_days": 0}),
        ("no-limit", {"earn": {"came": {"on": "visit", "points": 1}}}),
        (
            "too-many-levels",
            {
                "tiers": levels(*range(1, 8))
                | {
                    "levels": [
                        {
                            "id": f"l{n}",
                            "reach": [{"growth": n}] if n else [],
                            "benefits": ["gift"] if n else [],
                        }
                        for n in range(8)
                    ]
                }
            },
        ),
        ("too-few-levels", {"tiers": levels(5)}),
        (
            "out-of-reach",
            {
                "units": {"points": POINTS, "growth": GROWTH, "stays": GROWTH},
                "tiers": {"levels": [{"id": "a"}, {"id": "b", "reach": [{"stays": 1}]}]},
            },
        ),
        ("not-ascending", {"tiers": levels(50, 50)}),
        ("not-ascending", {"tiers": levels(50, 20)}),
        (
            "levels-for-ever",
            {
                "units": {"points": POINTS, "growth": {"kind": "growth"}},
                "tiers": levels(5, 10, validity={}),
            },
        ),
        (
            "growth-ends-at-once",
            {
                "units": {
                    "points": POINTS,
                    "growth": {"kind": "growth", "expiry": {"calendar_years": 0}},
                },
                "tiers": levels(5, 10, validity={}),
            },
        ),
        ("frequent-changes", {"tiers": levels(5, 10, downgrade="at_once")}),
        ("frequent-changes", {"tiers": levels(5, 10, validity={})}),
        ("frequent-changes", {"tiers": levels(5, 10, validity={"months": 1})}),
        ("hard-fall", {"tiers": levels(5, 10, 20)}),
        ("unused", {"tiers": None}),
        (
            "no-step",
            {
                "tiers": {
                    "validity": {"months": 12},
                    "levels": [
                        {"id": "a"},
                        {"id": "b", "reach": [{"growth": 1}], "benefits": ["gift", "early"]},
                        {"id": "c", "reach": [{"growth": 2}], "benefits": ["early", "gift"]},
                    ],
                }
            },
        ),
        (
            "lost-on-the-way-up",
            {
                "tiers": {
                    "validity": {"months": 12},
                    "levels": [
                        {"id": "a"},
                        {"id": "b", "reach": [{"growth": 1}], "benefits": ["gift"]},
                        {"id": "c", "reach": [{"growth": 2}], "benefits": ["early"]},
                    ],
                }
            },
        ),
        (
            "no-benefit",
            {
                "tiers": {
                    "validity": {"months": 12},
                    "levels": [
                        {"id": "a"},
                        {"id": "b", "reach": [{"growth": 1}], "benefits": ["gift", "early"]},
                        {"id": "c", "reach": [{"growth": 2}]},
                    ],
                }
            },
        ),
    ],
)
def test_a_pitfall_is_named(pitfall: str, changes: dict[str, Any]) -> None:
    assert pitfall in pitfalls(club(**changes))


@pytest.mark.row("O8")
@pytest.mark.parametrize("name", presets.names())
def test_a_copy_of_a_preset_is_recognised(name: str) -> None:
    copied = read_programme(from_preset(ANSWERS, name).encode()).programme
    found = [one.sentence for one in lint(copied) if one.pitfall == "sameness"]
    assert [name in sentence for sentence in found] == [True]


# --- designing ------------------------------------------------------------------------------


@pytest.mark.row("O1", "O14", "T18")
@pytest.mark.parametrize("mode", MODES)
def test_a_first_programme_is_one_without_pitfalls(mode: Mode) -> None:
    made = read_programme(written(ANSWERS, mode).encode()).programme
    assert made.name == ANSWERS.name
    assert made.aim is not None
    assert made.aim.need == ANSWERS.need
    assert pitfalls(made) <= {"too-few-levels"}
    assert bool(made.spendable) == (mode != "levels")
    assert (made.tiers is not None) == (mode != "points")


def test_every_goal_suggests_a_shape_with_a_reason() -> None:
    for goal in GOALS:
        mode, reason = suggested(goal)
        assert mode in MODES
        assert reason


# --- comparing ------------------------------------------------------------------------------


def sentences(before: Programme, after: Programme, kind: str) -> list[str]:
    return [one.sentence for one in diff(before, after) if one.kind == kind]


def test_the_same_programme_changes_nothing() -> None:
    for name in presets.names():
        assert diff(preset(name), preset(name)) == ()


@pytest.mark.row("P19", "T10", "T21")
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"units": {"points": {"expiry": {"months": 12}}, "growth": GROWTH}},
            "New points live 12 months, not 24 months.",
        ),
        (
            {"earn": {"bought": {"on": "purchase", "rate": {"points": 1, "per_minor": 100}}}},
            "Purchase: 1 points for every 1.00 EUR; before: 3 points for every 2.00 EUR.",
        ),
        (
            {"earn": {"bought": {"on": "purchase", "rate": {"points": 3, "per_minor": 200}}}},
            "No longer for visit: 7 growth, at most once a day.",
        ),
        (
            {
                "tiers": levels(70, 300)
                | {
                    "levels": [
                        {"id": "basic"},
                        {"id": "silver", "reach": [{"growth": 70}], "benefits": ["early"]},
                        {"id": "gold", "reach": [{"growth": 300}], "benefits": ["early", "gift"]},
                    ]
                }
            },
            "Gold takes 300 growth; before: 210 growth.",
        ),
        (
            {
                "tiers": {
                    "validity": {"months": 12},
                    "levels": [
                        {"id": "basic"},
                        {"id": "silver", "reach": [{"growth": 70}], "benefits": ["early"]},
                        {"id": "gold", "reach": [{"growth": 210}], "benefits": ["early"]},
                    ],
                }
            },
            "Gold no longer gets: A cake.",
        ),
        ({"tiers": None}, "The level Gold ends."),
        ({"return_window_days": 30}, "Points of a purchase can be spent after 30 days, not 14."),
        ({"burn_frozen": True}, "Spending points stops; points are still earned."),
        ({"redemptions_per_day": 1}, "A day allows 1 redemptions, not 100."),
    ],
)
def test_what_is_taken_away_is_told_first_and_its_return_is_better(
    changes: dict[str, Any], sentence: str
) -> None:
    before, after = club(), club(**changes)
    assert sentence in [one.sentence for one in takes_away(before, after)]
    assert diff(before, after)[0].kind == "worse"
    assert takes_away(after, before) == ()
    assert sentences(after, before, "better")


def test_the_stars_of_2016_are_told_to_those_of_2015() -> None:
    worse = sentences(preset("starbucks-2015"), preset("starbucks-2016"), "worse")
    assert "New stars live 6 months, not 12 months." in worse
    assert "The level Welcome ends." in worse


def test_a_new_value_of_gold_points_is_told() -> None:
    now = club(units={"points": GOLD, "growth": GROWTH})
    less = club(units={"points": GOLD | {"value": {"minor": 1, "points": 2}}, "growth": GROWTH})
    assert sentences(now, less, "worse") == ["2 points are worth 0.01 EUR; 1 were worth 0.01 EUR."]
