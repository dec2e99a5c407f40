"""Histories: lived again as they happened or as they were heard, month by month, and under
another version."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import date
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.clock import DAY, MINUTE
from comity.errors import Malformed
from node.programme import Programme, histories, read_programme
from node.programme.calendar import start_of_day
from node.programme.facts import Event
from node.programme.histories import Act, live
from node.programme.model import Value
from node.programme.roll_forward import closing, levels_by_month, months, roll_forward
from node.programme.what_if import what_if

FILE = """
version: "1"
name: Corner
zone: Europe/Paris
currency: EUR
units:
  points: {kind: hard, expiry: {days: 30}, clawback: debt}
  growth: {kind: growth, expiry: {months: 12}}
events:
  note: {attributes: {words: number, mood: text, first: truth}}
earn:
  points: {on: purchase, rate: {points: 1, per_minor: 100}}
  growth: {on: purchase, unit: growth, rate: {points: 1, per_minor: 100}}
  note: {on: note, when: event.number.words >= 3, points: 7}
multipliers:
  gold: {when: member.level == 'gold', numerator: 3, rules: [points]}
tiers:
  levels: [{id: base}, {id: gold, reach: [{growth: 50}], benefits: [cake]}]
benefits:
  cake: {title: A cake, cost_minor: 900}
"""
RULES = read_programme(FILE.encode()).programme
WORSE = read_programme(
    FILE.replace("per_minor: 100}}\n  growth", "per_minor: 200}}\n  growth")
    .replace("numerator: 3", "numerator: 10")
    .encode()
).programme
START = 1_767_222_000_000_000  # 2026-01-01 in Paris
END = START + 200 * DAY


def bought(member: str, day: int, minor: int) -> Act:
    at_us, name = START + day * DAY + 9 * 60 * MINUTE, f"{member}-{day}"
    event = Event(id=name, type="purchase", at_us=at_us, amount_minor=minor)
    return Act(member=member, at_us=at_us, kind="event", id=name, event=event, heard_at_us=END)


def did(
    member: str, day: int, kind: histories.Kind, name: str, *, points: int = 0, kept: int = 0
) -> Act:
    return Act(
        member=member,
        at_us=START + day * DAY + 20 * 60 * MINUTE,
        kind=kind,
        id=name,
        amount_minor=kept,
        points=points,
        heard_at_us=END,
    )


def test_a_history_heard_late_has_none_of_what_expired_meanwhile() -> None:
    acts = [bought("ann", 0, 1_000), bought("ann", 190, 500)]
    now = live(RULES, acts, until_us=END, as_heard=True).books["ann"]
    then = live(RULES, acts, until_us=END).books["ann"]
    assert now.balance("points") == then.balance("points") == 5
    assert now.by_source["points", "business"] == 5
    assert then.by_source["points", "business"] == 15
    assert now.balance("growth") == then.balance("growth") == 15


def test_what_was_refused_does_not_come_back() -> None:
    acts = [
        bought("ann", 0, 1_000),
        did("ann", 1, "spend", "s1", points=11),
        did("ann", 2, "restore", "s1", points=11),
        did("ann", 3, "spend", "s2", points=4),
        did("ann", 4, "restore", "s2", points=1),
    ]
    lived = live(RULES, acts, until_us=START + 5 * DAY)
    assert lived.refused == {"INSUFFICIENT_POINTS": 1}
    assert lived.books["ann"].balance("points") == 7


def test_who_joined_and_did_nothing_is_there_too() -> None:
    lived = live(RULES, [], until_us=END, joined={"bob": START})
    assert lived.books["bob"].level == "base"


@st.composite
def history(draw: st.DrawFn) -> list[Act]:
    acts: list[Act] = []
    for member in ("ann", "bob"):
        for day in sorted(draw(st.sets(st.integers(0, 190), max_size=8))):
            acts.append(bought(member, day, draw(st.integers(1, 9_000))))
            match draw(st.integers(0, 3)):
                case 1:
                    points = draw(st.integers(1, 60))
                    acts.append(did(member, day, "spend", f"s-{member}-{day}", points=points))
                case 2:
                    acts.append(did(member, day, "refund", f"{member}-{day}", kept=0))
                case _:
                    pass
    return acts


@given(history())
def test_months_follow_from_each_other_and_close_with_what_is_there(acts: list[Act]) -> None:
    span = months(RULES, START, END)
    books = live(RULES, acts, until_us=END).books.values()
    rows = roll_forward(RULES, books, [month for month, _ in span])
    for unit in RULES.units:
        own = [row for row in rows if row.unit == unit]
        assert own[0].opening == 0
        assert all(row.closing == later.opening for row, later in pairwise(own))
        assert own[-1].closing == closing(books, unit)
        assert all(row.expired <= 0 and row.spent <= 0 and row.clawed_back <= 0 for row in own)
    levels = levels_by_month(books, span)
    assert {sum(found.values()) for found in list(levels.values())[-1:]} == {len(books)}


@given(history())
def test_the_same_version_changes_nothing_for_anybody(acts: list[Act]) -> None:
    found = what_if(RULES, RULES, acts, until_us=END, worth=Value(minor=1, points=1))
    assert (found.verdicts["gains"], found.verdicts["loses"]) == (0, 0)
    assert (found.minor, found.points, found.refused) == (0, 0, {})


@given(history())
def test_going_there_and_back_cancels_out(acts: list[Act]) -> None:
    worth = Value(minor=1, points=2)
    there = what_if(RULES, WORSE, acts, until_us=END, worth=worth)
    back = what_if(WORSE, RULES, acts, until_us=END, worth=worth)
    assert (there.minor, there.points) == (-back.minor, -back.points)
    assert there.verdicts["gains"] == back.verdicts["loses"]


def test_a_devaluation_has_losers_and_gainers_and_a_cost() -> None:
    acts = [
        bought("often", 180, 9_000),
        bought("often", 185, 4_000),
        bought("seldom", 185, 1_000),
        bought("once", 0, 1_000),
    ]
    found = what_if(RULES, WORSE, acts, until_us=END, worth=Value(minor=2, points=1))
    verdicts = {one.member: one.verdict for one in found.members}
    assert verdicts == {"often": "gains", "seldom": "loses", "once": "same"}
    # 90 + 3 * 40 against 45 + 10 * 20; 10 against 5; what the third had expired either way.
    assert {one.member: one.points for one in found.members} == {
        "often": 35,
        "seldom": -5,
        "once": 0,
    }
    assert found.minor == 2 * found.points


def test_a_higher_level_costs_its_benefits() -> None:
    easier = read_programme(FILE.replace("growth: 50}", "growth: 5}").encode()).programme
    found = what_if(RULES, easier, [bought("ann", 180, 1_000)], until_us=END)
    (one,) = found.members
    assert (one.verdict, one.before.level, one.after.level) == ("gains", "base", "gold")
    assert found.minor == 900


# --- as CSV ---------------------------------------------------------------------------------


def test_a_history_written_is_read_again() -> None:
    note = Event(
        id="n1",
        type="note",
        at_us=START + DAY,
        attributes={"words": 3, "mood": "fine, really", "first": True},
    )
    acts = [
        bought("ann", 0, 1_000),
        Act(member="bob", at_us=note.at_us, kind="event", id="n1", event=note, heard_at_us=END),
        did("ann", 2, "spend", "s1", points=4),
        did("ann", 3, "restore", "s1", points=2),
        did("ann", 4, "refund", "ann-0", kept=300),
    ]
    file = io.StringIO()
    histories.write(acts, RULES, file)
    again = histories.read(RULES, io.StringIO(file.getvalue()))
    assert list(again) == [replace(act, heard_at_us=0) for act in acts]
    assert live(RULES, again, until_us=END).books["bob"].by_source["points", "business"] == 7


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("ann,2026-01-01T10:00,purchase,b1,0,0", "above zero"),
        ("ann,2026-01-01T10:00,purchase,b1,ten,0", "invalid literal"),
        ("ann,yesterday,purchase,b1,10,0", "yesterday"),
        (",2026-01-01T10:00,purchase,b1,10,0", "a member and an id"),
        ("ann,2026-01-01T10:00,dance,b1,10,0", "dance is no event"),
        ("ann,2026-01-01T10:00,event,b1,10,0", "event is no event"),
        ("ann,2026-01-01T10:00,spend,s1,0,-4", "not negative"),
        ("ann,2026-01-01T10:00,note,n1,0,0", "invalid literal"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(line: str, reason: str) -> None:
    text = f"{','.join(histories.COLUMNS)}\n{line}\n"
    with pytest.raises(Malformed) as raised:
        histories.read(RULES, io.StringIO(text))
    assert "Line 2" in raised.value.message
    assert reason in raised.value.message


def test_a_history_without_its_columns_says_which() -> None:
    with pytest.raises(Malformed, match="names no column what, id"):
        histories.read(RULES, io.StringIO("member,at\nann,2026-01-01\n"))


def test_a_level_that_ends_shows_in_its_month() -> None:
    rules: Programme = read_programme(
        FILE.replace(
            "growth: {kind: growth, expiry: {months: 12}}",
            "growth: {kind: growth, expiry: {days: 30}}",
        ).encode()
    ).programme
    span = months(rules, START, START + 95 * DAY)
    books = live(rules, [bought("ann", 10, 6_000)], until_us=START + 95 * DAY).books
    levels = levels_by_month(books.values(), span)
    assert [max(found, default="") for found in levels.values()][:2] == ["gold", "base"]
    assert span[0] == ("2026-01", start_of_day(rules, date(2026, 2, 1)))
