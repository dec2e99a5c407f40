"""Conditions and formulas: what is refused at reading, what they see, what stops one that runs."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.clock import DAY, SECOND
from node.programme.expressions import Expression, Failed, Kind, NotAllowed
from node.programme.facts import Activity, Event, Facts, Line, Rank
from node.programme.model import Programme
from node.programme.situation import Situation
from tests.brand import START_US, programme

ZONE = ZoneInfo("Europe/Amsterdam")


def rich(**changes: Any) -> Programme:
    """A programme with something of everything an expression may name."""
    return programme(
        units={"points": {}, "growth": {"kind": "growth"}},
        events={"review": {"attributes": {"topic": "text", "words": "number", "photo": "truth"}}},
        tiers={"levels": [{"id": "basic"}, {"id": "gold", "reach": [{"growth": 100}]}]},
        tags={"vip": {}},
        **changes,
    )


RICH = rich()
REVIEW = Event(id="r1", type="review", at_us=START_US, attributes={"words": 120, "photo": True})


def facts(**changes: Any) -> Facts:
    known: dict[str, Any] = {"enrolled_at_us": START_US - 10 * DAY, "balances": {}}
    return Facts(**known | changes)


def value(
    text: str,
    kind: Kind = "condition",
    *,
    event: Event | None = REVIEW,
    member: Facts | None = None,
    now_us: int = START_US,
) -> bool | int | Failed:
    compiled = Expression(text, kind=kind, event=True, programme=RICH)
    return compiled.value(Situation(RICH, member or facts(), event, now_us=now_us))


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZONE).timestamp()) * SECOND


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("member.dayz > 3", "undefined field 'dayz'"),
        ("member.days >", "Syntax error"),
        ("days > 3", "undeclared reference to 'days'"),
        ("member.days > 1.5", "> does not go with"),
        ("member.days > '3'", "does not go with"),
        ("dyn(member.days) > 1.5", "only whole numbers"),
        ("[0.5, 1.0].size() > 1", "only whole numbers"),
        ("{'a': 0.5}.size() > 1", "only whole numbers"),
        ("[[1.5]].exists(x, x.size() > 0)", "only whole numbers"),
        ("double(member.days) > double('3')", "only whole numbers"),
        ("type(1) == double", "only whole numbers"),
        ("member.days", "a condition is true or false; this is of type INT"),
        ("event.number.lines > 3", "no event has an attribute lines of type number"),
        ("event.number['topic'] > 3", "no event has an attribute topic of type number"),
        ("member.balance.miles > 3", "there is no unit miles; there is points, growth"),
        ("member.level == 'silver'", "there is no level silver; there is basic, gold"),
        ("'platinum' != member.level", "there is no level platinum"),
        ("'gold' in member.tags", "there is no tag gold; there is vip"),
        ("'critic' in member.badges", "there is no badge critic; there is none"),
        ("event.type == 'revue'", "there is no event revue"),
        ("member.level in ['gold', 'silver']", "there is no level silver"),
        ("['vip', 'vipp'].exists(t, t in member.tags) && 'vipp' in member.tags", "no tag vipp"),
        ("member.state == 'asleep'", "there is no state asleep"),
        ("ratio(1, 2, 3, 'floor') > 0", "ratio rounds by one of 'down'"),
        ("ratio(1, 2, 3, event.text.topic) > 0", "ratio rounds by one of"),
        ("(" * 300 + "true" + ")" * 300, "recursion"),
        ("true" + " && true" * 100 + " && [1].map(a, [a].map(b, b).size() > 0)", "does not go"),
    ],
)
def test_what_is_wrong_with_an_expression_is_found_before_it_runs(text: str, sentence: str) -> None:
    with pytest.raises(NotAllowed, match=sentence):
        Expression(text, kind="condition", event=True, programme=RICH)


def test_a_mistake_has_its_line_and_column() -> None:
    text = "member.days > 3 &&\n  member.level == 'silver'"
    with pytest.raises(NotAllowed) as caught:
        Expression(text, kind="condition", event=True, programme=RICH)
    assert (caught.value.line, caught.value.column) == (2, 16)


def test_where_there_is_no_event_none_can_be_named() -> None:
    Expression("member.days > 3", kind="condition", event=False, programme=RICH)
    with pytest.raises(NotAllowed, match="no event here"):
        Expression("event.amount_minor > 3", kind="condition", event=False, programme=RICH)


def test_a_formula_is_a_whole_number() -> None:
    for text in ("true", "1u", "'1'", "dyn(1)", "null"):
        with pytest.raises(NotAllowed, match="a formula is a whole number"):
            Expression(text, kind="formula", event=True, programme=RICH)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("event.type == 'review' && event.number.words > 100 && event.truth.photo", True),
        ("event.text.topic == ''", True),
        ("'words' in event.number", True),
        ("event.amount_minor == 0 && event.lines.size() == 0", True),
        ("member.days == 10 && member.days_since_purchase == 10", True),
        ("member.balance.points == 7 && member.balance.growth == 0", True),
        ("member.level == 'gold' && member.rank == 2", True),
        ("member.state == 'new'", True),
        ("'vip' in member.tags", True),
        ("local.date == '2026-01-01' && local.date < '2026-02'", True),
        ("local.weekday == 4 && local.hour == 1 && local.year == 2026", True),
        ("local.birthday || local.anniversary", False),
    ],
)
def test_expressions_see_the_event_the_member_and_the_local_time(text: str, expected: bool) -> None:
    member = facts(
        balances={"points": 7}, rank=Rank(level="gold", since_us=0), tags=frozenset({"vip"})
    )
    assert value(text, member=member) is expected


def test_lines_of_a_purchase_can_be_asked() -> None:
    lines = (
        Line(amount_minor=300, category="fruit"),
        Line(amount_minor=500, category="wine", product="port"),
    )
    bought = Event(id="p", type="purchase", at_us=START_US, amount_minor=800, lines=lines)
    activity = Activity(purchases=2, last_purchase_at_us=START_US - 3 * DAY)
    member = facts(activity=activity)
    assert value("event.lines.exists(l, l.category == 'wine')", event=bought) is True
    assert value("event.lines.all(l, l.amount_minor < 500)", event=bought) is False
    assert value("member.days_since_purchase", "formula", event=bought, member=member) == 3


@pytest.mark.row("C9")
@pytest.mark.parametrize(
    ("birthday", "moment", "expected"),
    [
        ("02-29", "2028-02-29T00:00:00", True),
        ("02-29", "2028-02-28T12:00:00", False),
        ("02-29", "2027-02-28T23:59:59", True),
        ("02-29", "2027-03-01T00:00:00", False),
        ("11-22", "2026-11-22T00:00:00", True),
        ("", "2026-11-22T00:00:00", False),
    ],
)
def test_a_birthday_lasts_its_local_day(birthday: str, moment: str, expected: bool) -> None:
    member = facts(birthday=birthday)
    assert value("local.birthday", event=None, member=member, now_us=at(moment)) is expected


@pytest.mark.row("C9")
def test_an_anniversary_is_of_an_earlier_year() -> None:
    member = facts(enrolled_at_us=at("2024-02-29T12:00:00"))
    found = {
        moment: value("local.anniversary", event=None, member=member, now_us=at(moment))
        for moment in ("2024-02-29T13:00:00", "2025-02-28T01:00:00", "2028-02-29T01:00:00")
    }
    assert list(found.values()) == [False, True, True]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1 / event.amount_minor", "divide by zero"),
        ("1 % event.amount_minor", "modulus by zero"),
        ("9223372036854775807 + event.number.words", "overflow"),
        ("ratio(9223372036854775807, 3, 1, 'down')", "64-bit"),
        ("ratio(1, 1, event.amount_minor, 'down')", "denominator"),
        ("event.lines[3].amount_minor", "index"),
        ("int(event.text.topic)", ""),
    ],
)
def test_what_fails_while_it_runs_is_a_value_with_a_reason(text: str, reason: str) -> None:
    found = value(text, "formula")
    assert isinstance(found, Failed)
    assert reason in found.reason


def test_a_bomb_is_stopped() -> None:
    hundred = "[" + ",".join(["0"] * 100) + "]"
    for text in (
        f"{hundred}.all(a, {hundred}.all(b, {hundred}.all(c, a + b + c == 0)))",
        f"{hundred}.map(a, {hundred}.map(b, {hundred}.map(c, 'x'))).size() > 0",
    ):
        found = value(text)
        assert isinstance(found, Failed)
        assert "more steps" in found.reason


@given(
    points=st.integers(-(10**12), 10**12),
    numerator=st.integers(0, 1_000),
    denominator=st.integers(1, 1_000),
)
def test_a_ratio_is_exact(points: int, numerator: int, denominator: int) -> None:
    text = f"ratio({points}, {numerator}, {denominator}, 'down')"
    found = value(text, "formula")
    exact = abs(points) * numerator // denominator
    assert found == (exact if points >= 0 else -exact)


def test_rounding_is_what_it_says() -> None:
    half = {name: value(f"ratio(5, 1, 2, '{name}')", "formula") for name in ("down", "up")}
    assert half == {"down": 2, "up": 3}
    assert value("ratio(5, 1, 2, 'half_even')", "formula") == 2
    assert value("ratio(5, 1, 2, 'half_up')", "formula") == 3
    assert value("min(3, max(1, 2))", "formula") == 2


def test_the_same_facts_always_give_the_same_value() -> None:
    situation = Situation(RICH, facts(), REVIEW, now_us=START_US)
    compiled = Expression("member.days * 3", kind="formula", event=True, programme=RICH)
    assert {compiled.value(situation) for _ in range(50)} == {30}
