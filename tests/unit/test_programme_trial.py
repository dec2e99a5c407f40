"""One member's book under a programme: refunds, payments, conversions, penalties, marks."""

from __future__ import annotations

import pytest

from comity.clock import DAY, HOUR
from comity.errors import Conflict, InsufficientPoints, Malformed, NotReversible, Refused
from node.programme import marks
from node.programme.facts import MarkChange
from node.programme.purse import Moved
from tests.trials import at, enrolled, happening, programme, purchase

SHANGHAI = "Asia/Shanghai"
NOON = at("2026-03-01 12:00", SHANGHAI)


def rules(clawback: str = "debt", *, more: str = "", window: int = 0) -> str:
    return f"""\
units: {{points: {{expiry: {{months: 12}}, clawback: {clawback}}}}}
events: {{refused: {{}}, gift: {{}}}}
return_window_days: {window}
earn:
  buy: {{on: purchase, rate: {{points: 1, per_minor: 100}}}}
  gift: {{on: gift, points: 40}}
{more}"""


# --- beans ----------------------------------------------------------------------------------

BEANS = programme(
    """\
units: {beans: {kind: gold, value: {minor: 1, points: 1}, expiry: {days: 180},
  expired_lot_grace_days: 0}}
events: {coupon: {}}
earn:
  buy: {on: purchase, rate: {points: 1, per_minor: 100}}
  coupon: {on: coupon, points: 2000}
payment: {value: {minor: 100, points: 100}, multiple: 1000, max_percent: 50}
""",
    zone=SHANGHAI,
)


@pytest.mark.row("P11")
@pytest.mark.row("P9")
@pytest.mark.row("P16")
def test_beans_of_a_returned_order_come_back_with_eight_days_left() -> None:
    book = enrolled(BEANS, "2026-01-01 09:00")
    book.record(happening("coupon", at("2026-01-01 10:00", SHANGHAI)))
    (lot,) = book.purse.of("beans")
    assert lot.expires_at_us == at("2026-07-01", SHANGHAI)
    ordered = lot.expires_at_us - 10 * DAY
    book.advance(ordered)
    assert book.pay("order", points=2_000, amount_minor=5_000) == 2_000
    assert book.balance("beans") == 0
    book.advance(ordered + 2 * DAY)
    book.restore("order", 2_000)
    (back,) = book.purse.of("beans")
    assert (back.lot, back.available, back.expires_at_us) == (lot.lot, 2_000, lot.expires_at_us)
    assert back.expires_at_us - book.now_us == 8 * DAY


@pytest.mark.row("P11")
def test_beans_that_expired_meanwhile_do_not_come_back() -> None:
    book = enrolled(BEANS, "2026-01-01 09:00")
    book.record(happening("coupon", at("2026-01-01 10:00", SHANGHAI)))
    book.advance(at("2026-06-30 12:00", SHANGHAI))
    book.pay("order", points=1_000, amount_minor=2_000)
    book.advance(at("2026-07-02 12:00", SHANGHAI))
    book.restore("order", 1_000)
    assert book.balance("beans") == 0
    assert isinstance(book.history[-1].what, Moved)
    assert book.history[-1].what.cause == "expired"


# --- refunds --------------------------------------------------------------------------------


@pytest.mark.row("P1")
def test_a_refund_in_parts_ends_where_one_refund_ends() -> None:
    parts, once = (enrolled(programme(rules())) for _ in range(2))
    for book in (parts, once):
        book.record(purchase(1_299, NOON, id="p"))
        assert book.balance("points") == 12
    for kept in (1_250, 900, 1_000, 655):
        parts.refund("p", kept_minor=kept)
    once.refund("p", kept_minor=655)
    assert parts.balance("points") == once.balance("points") == 6
    parts.refund("p", kept_minor=0)
    assert (parts.balance("points"), parts.debt("points")) == (0, 0)


def test_points_rounded_by_line_are_refunded_by_line() -> None:
    text = rules().replace("per_minor: 100}", "per_minor: 100}, rounding: line")
    book = enrolled(programme(text))
    book.record(purchase(400, NOON, lines=[180, 170, 50], id="p"))
    assert book.balance("points") == 2
    with pytest.raises(Malformed, match="each line"):
        book.refund("p", kept_minor=230)
    assert book.balance("points") == 2
    book.refund("p", kept_minor=230, kept_lines=[180, 0, 50])
    assert book.balance("points") == 1


@pytest.mark.parametrize(
    ("clawback", "balance", "debt", "forgiven"),
    [("debt", 0, 60, 0), ("within_balance", 0, 0, 60), ("pending_only", 0, 0, 60)],
)
def test_who_bears_points_that_were_spent_before_the_refund(
    clawback: str, balance: int, debt: int, forgiven: int
) -> None:
    book = enrolled(programme(rules(clawback)))
    book.record(purchase(6_000, NOON, id="p"))
    book.spend("s", "points", 60)
    (found,) = book.refund("p", kept_minor=0)
    assert (book.balance("points"), book.debt("points")) == (balance, debt)
    assert found.forgiven == book.purse.forgiven["points"] == forgiven
    book.record(happening("gift", NOON + DAY))
    assert book.balance("points") == (0 if debt else 40)
    assert book.debt("points") == (20 if debt else 0)


def test_pending_points_are_taken_back_under_every_policy() -> None:
    for clawback in ("debt", "within_balance", "pending_only"):
        book = enrolled(programme(rules(clawback, window=14)))
        book.record(purchase(6_000, NOON, id="p"))
        book.record(happening("gift", NOON))
        book.refund("p", kept_minor=3_000)
        assert (book.balance("points"), book.pending("points")) == (40, 30)
        book.refund("p", kept_minor=0)
        assert (book.balance("points"), book.pending("points")) == (40, 0)


def test_points_that_expired_unspent_are_not_taken_from_others() -> None:
    book = enrolled(programme(rules()))
    book.record(purchase(6_000, NOON, id="p"))
    book.record(happening("gift", NOON + 200 * DAY))
    book.advance(NOON + 400 * DAY)
    assert book.balance("points") == 40
    (found,) = book.refund("p", kept_minor=0)
    assert (found.expired, found.taken) == (60, 0)
    assert (book.balance("points"), book.debt("points")) == (40, 0)


def test_limits_get_room_back_from_a_refund() -> None:
    text = rules().replace("per_minor: 100}", "per_minor: 100}, limits: [{points: 50, per: day}]")
    book = enrolled(programme(text))
    book.record(purchase(4_000, NOON, id="p"))
    book.record(purchase(4_000, NOON, id="q"))
    assert book.balance("points") == 50
    book.refund("p", kept_minor=0)
    assert book.balance("points") == 10
    book.record(purchase(9_000, NOON, id="r"))
    assert book.balance("points") == 50


def test_nobody_refunds_more_than_was_bought_or_repeats_an_event_differently() -> None:
    book = enrolled(programme(rules()))
    event = purchase(4_000, NOON, id="p")
    assert book.record(event) is book.record(event)
    assert book.balance("points") == 40
    with pytest.raises(Conflict):
        book.record(purchase(4_001, NOON, id="p"))
    for wrong in (-1, 4_001):
        with pytest.raises(NotReversible):
            book.refund("p", kept_minor=wrong)


# --- spending, penalties --------------------------------------------------------------------


@pytest.mark.row("P8")
@pytest.mark.parametrize(("penalty", "balance", "debt"), [("floor", 0, 0), ("debt", 0, 20)])
def test_a_penalty_stops_at_zero_or_is_owed(penalty: str, balance: int, debt: int) -> None:
    more = f"  refused: {{on: refused, points: -60, penalty: {penalty}}}\n"
    book = enrolled(programme(rules(more=more)))
    book.record(happening("gift", NOON))
    book.record(happening("refused", NOON + HOUR, name="r"))
    assert (book.balance("points"), book.debt("points")) == (balance, debt)
    assert [one.earned for one in book.earned("r").verdicts] == [0, 0, -60]
    book.record(happening("gift", NOON + DAY))
    assert book.balance("points") == 40 - debt


def test_spending_can_be_stopped_while_earning_goes_on() -> None:
    book = enrolled(programme(rules(more="burn_frozen: true\n")))
    book.record(happening("gift", NOON))
    with pytest.raises(Refused, match="earning goes on"):
        book.spend("s", "points", 10)
    assert book.balance("points") == 40


def test_nobody_spends_what_is_not_there() -> None:
    book = enrolled(programme(rules()))
    book.record(happening("gift", NOON))
    with pytest.raises(InsufficientPoints):
        book.spend("s", "points", 41)
    book.spend("s", "points", 30)
    book.spend("s", "points", 30)
    assert book.balance("points") == 10


# --- conversion -----------------------------------------------------------------------------


@pytest.mark.row("T15")
@pytest.mark.parametrize(("keeps", "level"), [("true", "gold"), ("false", "basic")])
def test_growth_turned_into_points_may_cost_the_level(keeps: str, level: str) -> None:
    book = enrolled(
        programme(
            f"""\
units: {{points: {{}}, growth: {{kind: growth}}}}
earn: {{grow: {{on: purchase, unit: growth, rate: {{points: 1, per_minor: 100}}}}}}
tiers: {{levels: [{{id: basic}}, {{id: gold, reach: [{{growth: 100}}]}}]}}
conversions:
  cash: {{from_unit: growth, into_unit: points, points: 10, into_points: 1, keeps_level: {keeps}}}
"""
        )
    )
    book.record(purchase(15_000, NOON))
    assert book.level == "gold"
    assert book.convert("cash", 100) == 10
    assert (book.balance("growth"), book.balance("points")) == (50, 10)
    assert book.level == level
    book.record(purchase(100, NOON + DAY))
    assert book.level == level


# --- marks ----------------------------------------------------------------------------------

MARKED = programme(
    """\
units: {points: {}}
events: {story: {title: Tell your story}}
earn: {buy: {on: purchase, rate: {points: 1, per_minor: 100}}}
badges:
  regular: {title: A regular, when: 'member.purchases >= 2'}
  storyteller: {on: story, when: 'true'}
  founder: {title: Given by hand}
titles: {patron: {when: 'member.spend_minor >= 10000', keeps: false}}
tags:
  asleep: {when: 'member.state == "dormant"'}
  big: {when: 'member.spend_minor >= 10000'}
  generous: {when: 'member.spend_minor >= 10000', keeps: true}
lifecycle: {dormant_days: 60}
""",
    zone=SHANGHAI,
)


@pytest.mark.row("B1")
@pytest.mark.row("B2")
@pytest.mark.row("B5")
@pytest.mark.row("B6")
def test_badges_are_facts_and_not_points() -> None:
    book = enrolled(MARKED)
    book.record(purchase(99, NOON))
    book.record(purchase(99, NOON + HOUR))
    book.record(happening("story", NOON + DAY))
    assert book.facts().badges == {"regular", "storyteller"}
    assert book.purse.lots == {}
    book.record(purchase(20_000, NOON + DAY, id="p"))
    assert book.facts().titles == {"patron"}
    book.refund("p", kept_minor=0)
    assert book.facts().titles == frozenset()
    assert book.facts().badges == {"regular", "storyteller"}


@pytest.mark.row("B3")
@pytest.mark.row("B4")
@pytest.mark.row("T3")
def test_a_member_has_several_tags_and_loses_those_that_follow() -> None:
    book = enrolled(MARKED)
    book.record(purchase(10_000, NOON, id="p"))
    assert book.facts().tags == {"big", "generous"}
    book.advance(NOON + 59 * DAY)
    assert book.facts().tags == {"big", "generous"}
    book.advance(at("2026-04-30 00:00", SHANGHAI))
    assert book.facts().tags == {"asleep", "big", "generous"}
    book.refund("p", kept_minor=9_999)
    assert book.facts().tags == {"asleep", "generous"}
    book.record(purchase(1, NOON + 100 * DAY))
    assert book.facts().tags == {"big", "generous"}
    changes = [one.what for one in book.history if isinstance(one.what, MarkChange)]
    assert [(one.name, one.given) for one in changes if one.name == "asleep"] == [
        ("asleep", True),
        ("asleep", False),
    ]


@pytest.mark.row("B4")
@pytest.mark.parametrize(
    ("condition", "later"),
    [
        ("member.purchases >= 2", 0),
        ("member.balance.points > 5 && member.level == ''", 0),
        ("member.days >= 30", at("2026-03-02", SHANGHAI)),
        ("member.state == 'dormant'", at("2026-03-02", SHANGHAI)),
        ("member.purchases > 1 && local.month == 4", at("2026-03-02", SHANGHAI)),
        ("member.days_since_purchase > 90", at("2026-03-02", SHANGHAI)),
    ],
)
def test_only_marks_that_time_alone_may_change_are_looked_at_each_day(
    condition: str, later: int
) -> None:
    text = f'units: {{points: {{}}}}\ntags: {{tagged: {{when: "{condition}"}}}}\n'
    assert marks.next_review_at(programme(text, zone=SHANGHAI), now_us=NOON) == later
