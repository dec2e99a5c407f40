"""Refund algebra: a member with refunds ends where one ends who never bought the refunded goods.

What holds, of a brand's own programme whose rules look at the event alone (rates, fixed points,
rounding by order or by line, multipliers, a return window) and have no limits:

 1. Under every clawback policy and whatever members spend, balance less debt less what was
    forgiven is what the kept goods earned plus gifts less spending; nothing is forgiven under
    `debt`, and nothing is owed under the others.
 2. If every spending was also possible without the refunded goods and nothing spendable expired,
    what is pending and available is the same under `debt` and `within_balance`, with nothing owed
    or forgiven; without a return window so is each lot. (With one, points that matured after a
    spending may be older than those it took, and are then the first to be taken back.) Under
    `pending_only` lots are the same if every refund came before its points matured.
 3. Growth, which nobody spends, and levels that follow it at once, and tags that follow, are the
    same even where points expire in between.
 4. If points expired in between, a member never gains by buying and returning, and loses at most
    what expired, and no more than was spent; who spends nothing ends exactly the same.

With limits a refund gives the counts back, so later purchases have the room again; purchases that
the limit cut before stay cut.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comity.clock import DAY
from node.programme import Programme
from node.programme.trial import Book
from tests.trials import at, happening, programme, purchase

START = at("2026-01-05 10:00")

TEXT = """\
units:
  points: {{expiry: {expiry}, clawback: {clawback}}}
  growth: {{kind: growth, expiry: {{calendar_years: 0}}, clawback: debt}}
events: {{gift: {{}}}}
return_window_days: {window}
earn:
  buy: {{on: purchase, rate: {{points: 3, per_minor: 100}}, rounding: {rounding}}}
  visit: {{on: purchase, points: 5}}
  grow: {{on: purchase, unit: growth, rate: {{points: 1, per_minor: 100}}, pending: false}}
  gift: {{on: gift, points: 20}}
multipliers:
  thursday: {{when: 'local.weekday == 4', numerator: 3, denominator: 2}}
tiers:
  levels:
  - {{id: basic}}
  - {{id: silver, reach: [{{growth: 20}}]}}
  - {{id: gold, reach: [{{growth: 60}}]}}
tags: {{big: {{when: 'member.spend_minor >= 4000'}}}}
"""


def rules(
    clawback: str, *, expiry: str = "{}", window: int = 0, rounding: str = "order"
) -> Programme:
    return programme(
        TEXT.format(clawback=clawback, expiry=expiry, window=window, rounding=rounding)
    )


# --- histories ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Buy:
    lines: tuple[int, ...]
    kept: tuple[tuple[int, ...], ...]
    """What each refund leaves of the lines, less each time."""

    @property
    def rest(self) -> tuple[int, ...]:
        return self.kept[-1] if self.kept else self.lines


@dataclass(frozen=True, slots=True)
class Step:
    kind: str
    number: int = 0


@st.composite
def buys(draw: st.DrawFn) -> Buy:
    lines = tuple(draw(st.lists(st.integers(1, 2_500), min_size=1, max_size=3)))
    kept, left = [], lines
    for _ in range(draw(st.integers(0, 3))):
        whole = draw(st.booleans())
        left = tuple(0 if whole else draw(st.integers(0, one)) for one in left)
        kept.append(left)
    return Buy(lines, tuple(kept))


steps = st.lists(
    st.one_of(
        st.builds(Step, st.just("buy"), st.integers(0, 3)),
        st.builds(Step, st.just("refund"), st.integers(0, 3)),
        st.builds(Step, st.just("gift")),
        st.builds(Step, st.just("burn"), st.integers(1, 120)),
        st.builds(Step, st.just("wait"), st.integers(1, 40)),
    ),
    max_size=25,
)
histories = st.tuples(st.lists(buys(), min_size=4, max_size=4), steps)


class Lives:
    """The same member twice: with purchases and refunds, and with what was kept alone."""

    def __init__(self, programme_: Programme, bought: list[Buy]) -> None:
        self.real = Book(programme_, enrolled_at_us=START)
        self.other = Book(programme_, enrolled_at_us=START)
        self.bought = bought
        self.refunds = [0] * len(bought)
        self.done: set[int] = set()
        self.spent = self.gifts = 0
        self.now_us = START

    def live(self, todo: list[Step], *, beyond: bool, early: bool = False) -> None:
        """`beyond`: spend also what only the refunded goods earned. `early`: refund at once."""
        for at_, step in enumerate(todo):
            self.now_us += 3_600_000_000
            self.advance()
            match step.kind:
                case "buy":
                    self.buy(step.number)
                    while early and self.refund(step.number):
                        pass
                case "refund":
                    self.refund(step.number)
                case "gift":
                    self.gifts += 20
                    for book in (self.real, self.other):
                        book.record(happening("gift", self.now_us, name=f"gift {at_}"))
                case "burn":
                    self.burn(f"burn {at_}", step.number, beyond=beyond)
                case _:
                    self.now_us += step.number * DAY
        self.advance()
        for number in self.done:
            while self.refund(number):
                pass

    def advance(self) -> None:
        self.real.advance(self.now_us)
        self.other.advance(self.now_us)

    def buy(self, number: int) -> None:
        if number in self.done:
            return
        self.done.add(number)
        buy, name = self.bought[number], f"p{number}"
        for book, lines in ((self.real, buy.lines), (self.other, buy.rest)):
            if sum(lines):
                book.record(purchase(sum(lines), self.now_us, lines=lines, id=name))

    def refund(self, number: int) -> bool:
        buy, at_ = self.bought[number], self.refunds[number]
        if number not in self.done or at_ == len(buy.kept):
            return False
        left = buy.kept[at_]
        self.real.refund(f"p{number}", kept_minor=sum(left), kept_lines=left)
        self.refunds[number] += 1
        return True

    def burn(self, name: str, points: int, *, beyond: bool) -> None:
        points = min(points, self.real.balance("points"))
        if not beyond:
            points = min(points, self.other.balance("points"))
        if points:
            self.spent += points
            self.real.spend(name, "points", points)
            if not beyond:
                self.other.spend(name, "points", points)


def net(book: Book) -> int:
    return book.balance("points") + book.pending("points") - book.debt("points")


def lots(book: Book) -> dict[tuple[int, int], tuple[int, int]]:
    found: dict[tuple[int, int], tuple[int, int]] = defaultdict(lambda: (0, 0))
    for lot in book.purse.of("points"):
        key = (lot.earned_at_us, lot.expires_at_us)
        found[key] = (found[key][0] + lot.pending, found[key][1] + lot.available)
    return dict(found)


def worth(buy: Buy, at_us: int, *, by_line: bool) -> int:
    """What the kept lines earn, said a second time and simply."""
    numerator, denominator = (9, 200) if at_us // DAY % 7 == 0 else (3, 100)
    if by_line:
        earned = sum(line * numerator // denominator for line in buy.rest)
    else:
        earned = sum(buy.rest) * numerator // denominator
    return earned + (5 if any(buy.rest) else 0)


# --- what holds -----------------------------------------------------------------------------

some = settings(max_examples=150)
windows = st.sampled_from([0, 14])
roundings = st.sampled_from(["order", "line"])


@some
@given(st.sampled_from(["debt", "within_balance", "pending_only"]), windows, roundings, histories)
def test_balance_less_debt_is_what_was_kept_less_what_was_spent(
    clawback: str, window: int, rounding: str, history: tuple[list[Buy], list[Step]]
) -> None:
    lives = Lives(rules(clawback, window=window, rounding=rounding), history[0])
    lives.live(history[1], beyond=True)
    book = lives.real
    kept = sum(
        worth(lives.bought[number], book.event(f"p{number}").at_us, by_line=rounding == "line")
        for number in lives.done
    )
    forgiven = book.purse.forgiven["points"]
    assert net(book) - forgiven == kept + lives.gifts - lives.spent
    assert forgiven == 0 or clawback != "debt"
    assert book.debt("points") == 0 or clawback == "debt"
    given_ = sum(book.by_source["points", source] for source in ("business", "activity", "bonus"))
    assert given_ == kept + lives.gifts


@some
@given(st.sampled_from(["debt", "within_balance"]), windows, roundings, histories)
def test_lots_are_as_if_the_refunded_goods_had_never_been_bought(
    clawback: str, window: int, rounding: str, history: tuple[list[Buy], list[Step]]
) -> None:
    expiring = rules(clawback, expiry="{months: 240}", window=window, rounding=rounding)
    lives = Lives(expiring, history[0])
    lives.live(history[1], beyond=False)
    real, other = lives.real, lives.other
    assert (real.balance("points"), real.pending("points")) == (
        other.balance("points"),
        other.pending("points"),
    )
    assert real.debt("points") == real.purse.forgiven["points"] == 0
    if not window:
        assert lots(real) == lots(other)


@some
@given(histories)
def test_what_is_refunded_while_pending_was_never_there_under_pending_only(
    history: tuple[list[Buy], list[Step]],
) -> None:
    lives = Lives(rules("pending_only", window=14), history[0])
    lives.live(history[1], beyond=False, early=True)
    assert lots(lives.real) == lots(lives.other)
    assert lives.real.purse.forgiven["points"] == 0


@some
@given(st.sampled_from(["debt", "within_balance", "pending_only"]), windows, roundings, histories)
def test_growth_levels_and_tags_are_those_of_what_was_kept(
    clawback: str, window: int, rounding: str, history: tuple[list[Buy], list[Step]]
) -> None:
    short = rules(clawback, expiry="{days: 30}", window=window, rounding=rounding)
    lives = Lives(short, history[0])
    lives.live(history[1], beyond=True)
    real, other = lives.real, lives.other
    assert real.balance("growth") == other.balance("growth")
    assert real.debt("growth") == 0
    assert real.level == other.level
    assert real.facts().tags == other.facts().tags
    assert real.facts().activity.spend_minor == other.facts().activity.spend_minor
    assert real.facts().activity.purchases == other.facts().activity.purchases


@some
@given(st.sampled_from(["debt", "within_balance"]), windows, histories)
def test_where_points_expire_nobody_gains_by_returning_and_loses_no_more_than_expired(
    clawback: str, window: int, history: tuple[list[Buy], list[Step]]
) -> None:
    lives = Lives(rules(clawback, expiry="{days: 30}", window=window), history[0])
    lives.live(history[1], beyond=False)
    real, other = lives.real, lives.other
    mine = net(real) - real.purse.forgiven["points"]
    assert mine <= net(other)
    assert mine >= net(other) - min(lives.spent, sum(lot.gone for lot in real.purse.lots.values()))
    if not lives.spent:
        assert lots(real) == lots(other)


@some
@given(st.sampled_from(["debt", "within_balance", "pending_only"]), windows, histories)
def test_no_point_is_made_or_lost(
    clawback: str, window: int, history: tuple[list[Buy], list[Step]]
) -> None:
    lives = Lives(rules(clawback, expiry="{days: 30}", window=window), history[0])
    lives.live(history[1], beyond=True)
    book = lives.real
    given_ = sum(lot.earned for lot in book.purse.lots.values())
    for lot in book.purse.lots.values():
        assert min(lot.pending, lot.available, lot.held) >= 0
        assert lot.pending + lot.available + lot.gone <= lot.earned
    assert given_ >= book.balance("points") + book.pending("points")


@given(histories)
def test_the_same_history_always_ends_the_same(history: tuple[list[Buy], list[Step]]) -> None:
    first, again = (Lives(rules("debt", expiry="{days: 30}"), history[0]) for _ in range(2))
    for lives in (first, again):
        lives.live(history[1], beyond=True)
    assert first.real.history == again.real.history


@pytest.mark.parametrize("rounding", ["order", "line"])
def test_any_order_of_part_refunds_ends_the_same(rounding: str) -> None:
    ends = set()
    for first, second in (((50, 120), (50, 0)), ((130, 0), (50, 0)), ((50, 0), (50, 0))):
        book = Book(rules("debt", rounding=rounding), enrolled_at_us=START)
        book.record(purchase(310, START, lines=[190, 120], id="p"))
        for left in (first, second):
            book.refund("p", kept_minor=sum(left), kept_lines=left)
        ends.add(book.balance("points"))
    assert ends == {6}
