"""Purchases, refunds, adjustments, and what time does to an account."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comity.clock import DAY
from comity.errors import Conflict, InsufficientPoints, LimitExceeded, Malformed, NotReversible
from comity.ledger.command import Answer
from comity.v1 import merchant_pb2
from node.commands import DeclareProgramme, RecordPurchase, Sweep
from tests.brand import START_US, Brand, programme


def test_a_purchase_earns_and_a_retry_earns_once() -> None:
    brand = Brand(programme(rate={"points": 1, "per_minor": 100}))
    alice = brand.enrol()
    first = brand.buy(alice, 1_280, purchase_id="till-1/7")
    again = brand.buy(alice, 1_280, purchase_id="till-1/7")
    assert first == again
    assert (first.points, first.pending) == (12, False)
    assert brand.balance(alice) == (0, 12, 0, 0)
    assert brand.kinds() == ["accrual"]
    brand.check()


def test_a_purchase_id_names_one_purchase_of_the_whole_brand() -> None:
    brand = Brand(programme())
    alice, bob = brand.enrol(), brand.enrol("bob")
    brand.buy(alice, 100, purchase_id="p")
    with pytest.raises(Conflict, match="another account"):
        brand.buy(bob, 100, purchase_id="p")
    with pytest.raises(Conflict, match=r"another amount\.minor"):
        brand.buy(alice, 101, purchase_id="p")


def test_a_batch_answers_each_purchase_for_itself() -> None:
    brand = Brand(programme())
    alice = brand.enrol()

    def purchase(name: str, account: str, minor: int, currency: str = "EUR") -> RecordPurchase:
        return RecordPurchase(purchase_id=name, account=account, currency=currency, minor=minor)

    outcomes = brand.run(
        purchase("a", alice, 10),
        purchase("b", "acc_nobody", 10),
        purchase("c", alice, 0),
        purchase("d", alice, 10, "USD"),
        purchase("e", alice, 7),
    )
    assert [type(one).__name__ for one in outcomes] == [
        "Answer",
        "NotFound",
        "Malformed",
        "Malformed",
        "Answer",
    ]
    assert brand.balance(alice) == (0, 17, 0, 0)
    brand.check()


def test_a_purchase_too_small_for_a_point_is_still_a_purchase() -> None:
    brand = Brand(programme(rate={"points": 1, "per_minor": 100}))
    alice = brand.enrol()
    assert brand.buy(alice, 99, purchase_id="p").points == 0
    assert brand.kinds() == []
    assert brand.refund("p", 99).points == 0


def test_pending_points_mature_when_the_return_window_closes() -> None:
    brand = Brand(programme(return_window_days=14))
    alice = brand.enrol()
    assert brand.buy(alice, 50).pending
    brand.now_us = START_US + 14 * DAY - 1
    assert brand.balance(alice) == (50, 0, 0, 0)
    with pytest.raises(InsufficientPoints):
        brand.adjust(alice, -1)
    brand.now_us += 1
    assert brand.balance(alice) == (0, 50, 0, 0)
    # No sweep has run: the adjustment lets the points mature first, in the same commit.
    brand.adjust(alice, -1)
    assert brand.kinds() == ["accrual", "transfer", "adjustment"]
    assert brand.balance(alice) == (0, 49, 0, 0)
    brand.check()


def test_points_expire_to_the_second_in_the_zone() -> None:
    brand = Brand(programme(expiry={"calendar_years": 0}))
    alice = brand.enrol()
    brand.buy(alice, 100)
    # 2027-01-01 00:00 in Amsterdam is 23:00 UTC the day before.
    end = START_US + 365 * DAY - 3_600 * 1_000_000
    brand.now_us = end - 1
    assert brand.balance(alice) == (0, 100, 0, 0)
    assert brand.sweep() == 0
    brand.now_us = end
    assert brand.balance(alice) == (0, 0, 0, 0)
    with pytest.raises(InsufficientPoints):
        brand.adjust(alice, -1)
    assert brand.sweep() == 1
    assert brand.kinds() == ["accrual", "expiry"]
    assert brand.sweep() == 0
    brand.check()


def test_one_sweep_settles_many_accounts_in_few_entries() -> None:
    brand = Brand(programme(return_window_days=1, expiry={"days": 30}))
    accounts = [brand.enrol(f"member {n}") for n in range(40)]
    for account in accounts:
        brand.buy(account, 10)
        brand.buy(account, 5)
    brand.pass_days(1)
    assert brand.sweep() == 80
    assert brand.kinds()[80:] == ["transfer"]
    brand.pass_days(40)
    assert brand.sweep() == 80
    assert brand.kinds()[80:] == ["transfer", "expiry"]
    brand.check()


def test_entries_stay_within_their_size_however_many_lots_are_due() -> None:
    brand = Brand(programme(expiry={"days": 30}))
    alice = brand.enrol()
    for at in range(0, 1_100, 100):
        brand.run(
            *(
                RecordPurchase(purchase_id=f"p{at + n}", account=alice, currency="EUR", minor=1)
                for n in range(100)
            )
        )
    brand.pass_days(40)
    assert brand.sweep() == 1_000
    assert brand.sweep() == 100
    brand.check()


# --- refunds --------------------------------------------------------------------------------


def test_a_refund_takes_back_pending_points_first() -> None:
    brand = Brand(programme(return_window_days=14))
    alice = brand.enrol()
    brand.buy(alice, 100, purchase_id="p")
    assert brand.refund("p", 30).points == 30
    assert brand.balance(alice) == (70, 0, 0, 0)
    brand.check()


def test_the_points_of_a_refund_are_the_difference_of_what_the_rest_earns() -> None:
    brand = Brand(programme(rate={"points": 1, "per_minor": 100}))
    alice = brand.enrol()
    brand.buy(alice, 250, purchase_id="p")
    # 2 points for 250, 2 for 249, 1 for 199, 0 for 99.
    assert [brand.refund("p", cumulative).points for cumulative in (1, 51, 151, 250)] == [
        0, 1, 1, 0,
    ]  # fmt: skip
    assert brand.balance(alice) == (0, 0, 0, 0)


def test_a_refund_beyond_the_balance_is_owed_and_paid_by_what_is_earned_next() -> None:
    brand = Brand(programme(clawback="debt"))
    alice = brand.enrol()
    brand.buy(alice, 100, purchase_id="p")
    brand.adjust(alice, -80)
    answer = brand.refund("p", 100)
    assert (answer.points, answer.debt) == (100, 80)
    assert brand.balance(alice) == (0, 0, 0, -80)
    brand.buy(alice, 50)
    assert brand.balance(alice) == (0, 0, 0, -30)
    brand.adjust(alice, 40)
    assert brand.balance(alice) == (0, 10, 0, 0)
    brand.check()


def test_within_the_balance_the_programme_forgives_what_is_spent() -> None:
    brand = Brand(programme(clawback="within_balance"))
    alice = brand.enrol()
    brand.buy(alice, 100, purchase_id="p")
    brand.adjust(alice, -80)
    brand.buy(alice, 30)
    answer = brand.refund("p", 100)
    assert (answer.points, answer.debt) == (50, 0)
    assert brand.balance(alice) == (0, 0, 0, 0)
    brand.check()


def test_a_refund_above_the_price_is_refused_and_a_late_smaller_one_changes_nothing() -> None:
    brand = Brand(programme())
    alice = brand.enrol()
    brand.buy(alice, 100, purchase_id="p")
    with pytest.raises(NotReversible):
        brand.refund("p", 101)
    assert brand.refund("p", 60).points == 60
    assert brand.refund("p", 40).points == 0
    with pytest.raises(Malformed):
        brand.refund("p", 0)
    assert brand.balance(alice) == (0, 40, 0, 0)


@dataclass(frozen=True)
class Sale:
    minor: int
    refunds: tuple[int, ...]


sales = st.lists(
    st.builds(
        lambda minor, cuts: Sale(minor, tuple(sorted({1 + cut % minor for cut in cuts}))),
        st.integers(1, 2_000),
        st.lists(st.integers(0, 2_000), max_size=4),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=40)
@given(sales, st.randoms(use_true_random=False), st.booleans())
def test_any_order_of_purchases_and_partial_refunds_ends_alike(
    sold: list[Sale], order: object, pending: bool
) -> None:
    rules = programme(
        rate={"points": 3, "per_minor": 70},
        return_window_days=7 if pending else 0,
        clawback="debt",
    )
    expected = 0
    for sale in sold:
        kept = sale.minor - max(sale.refunds, default=0)
        expected += kept * 3 // 70
    brand = Brand(rules)
    alice = brand.enrol()
    steps = [("buy", place, 0) for place in range(len(sold))]
    steps += [("refund", place, cut) for place, sale in enumerate(sold) for cut in sale.refunds]
    order.shuffle(steps)  # type: ignore[attr-defined]
    bought: set[int] = set()
    waiting: list[tuple[str, int, int]] = []
    for step in steps:
        kind, place, cut = step
        if kind == "buy":
            brand.buy(alice, sold[place].minor, purchase_id=f"p{place}")
            bought.add(place)
        elif place in bought:
            brand.refund(f"p{place}", cut)
        else:
            waiting.append(step)
    for _, place, cut in waiting:
        brand.refund(f"p{place}", cut)
    waiting_points, available, held, debt = brand.balance(alice)
    assert waiting_points + available + held + debt == expected
    assert debt == 0
    brand.check()


@settings(max_examples=25)
@given(st.lists(st.integers(-60, 60).filter(bool), min_size=1, max_size=12), st.booleans())
def test_balances_lots_totals_and_the_replayed_log_agree(moves: list[int], debt: bool) -> None:
    brand = Brand(
        programme(
            clawback="debt" if debt else "within_balance",
            return_window_days=2,
            expiry={"days": 5},
        )
    )
    alice = brand.enrol()
    for place, move in enumerate(moves):
        brand.now_us += DAY
        if move > 0:
            brand.buy(alice, move, purchase_id=f"p{place}")
        elif place and moves[place - 1] > 0:
            brand.refund(f"p{place - 1}", min(-move, moves[place - 1]))
        elif brand.balance(alice)[1] >= -move:
            brand.adjust(alice, move)
        if move % 3 == 0:
            brand.sweep()
        brand.check()


# --- adjustments and the programme ----------------------------------------------------------


def test_an_adjustment_takes_no_more_than_there_is() -> None:
    brand = Brand(programme())
    alice = brand.enrol()
    brand.adjust(alice, 30)
    with pytest.raises(InsufficientPoints):
        brand.adjust(alice, -31)
    brand.adjust(alice, -30)
    assert brand.balance(alice) == (0, 0, 0, 0)
    brand.check()


def test_the_statement_of_a_member_shows_every_entry_newest_first() -> None:
    brand = Brand(programme(return_window_days=1))
    alice = brand.enrol()
    brand.buy(alice, 100, purchase_id="till-1/7")
    brand.pass_days(1)
    brand.adjust(alice, 5)
    page = brand.store.activity(alice, limit=2, cursor="")
    shown = [(one.entry, one.pending, one.available, one.reference) for one in page.items]
    assert shown == [("adjustment", 0, 5, "goodwill"), ("transfer", -100, 100, "matured")]
    rest = brand.store.activity(alice, limit=2, cursor=page.next_cursor)
    assert [(one.entry, one.pending, one.reference) for one in rest.items] == [
        ("accrual", 100, "till-1/7")
    ]
    assert rest.next_cursor == ""


def test_lots_are_listed_page_by_page() -> None:
    brand = Brand(programme())
    alice = brand.enrol()
    for minor in range(1, 8):
        brand.buy(alice, minor)
    found, cursor = [], ""
    while True:
        page = brand.store.lots(alice, now_us=brand.now_us, limit=3, cursor=cursor)
        found += [one.available for one in page.items]
        cursor = page.next_cursor
        if not cursor:
            break
    assert sorted(found) == list(range(1, 8))


def test_the_programme_is_declared_when_it_changes_and_only_then() -> None:
    brand = Brand(programme())
    for digest, version in ((b"a" * 32, "1"), (b"a" * 32, "1"), (b"b" * 32, "2")):
        brand.do(DeclareProgramme(version=version, digest=digest))
    assert brand.kinds() == ["programme", "programme"]
    # A start with an earlier file changes nothing: the newest version stays in force.
    brand.do(DeclareProgramme(version="1", digest=b"a" * 32))
    assert len(brand.kinds()) == 2
    with pytest.raises(Conflict, match="new version"):
        brand.do(DeclareProgramme(version="2", digest=b"c" * 32))


def test_the_totals_of_the_programme_sum_to_zero() -> None:
    brand = Brand(programme())
    alice = brand.enrol()
    brand.buy(alice, 100, purchase_id="p")
    brand.refund("p", 30)
    totals = brand.store.totals()
    assert sum(one.points for one in totals.totals) == 0
    assert {one.account_class: one.points for one in totals.totals} == {
        2: 70, 4: -100, 7: 30,
    }  # fmt: skip
    assert (totals.members, totals.entries) == (1, 2)


def test_a_purchase_without_value_is_refused() -> None:
    brand = Brand(programme())
    alice = brand.enrol()
    for minor in (0, -5):
        with pytest.raises(Malformed):
            brand.buy(alice, minor)
    assert brand.kinds() == []


def test_purchases_are_accepted_as_far_back_as_the_programme_says() -> None:
    brand = Brand(programme(backdate_days=30, return_window_days=14))
    alice = brand.enrol()
    assert brand.buy(alice, 5, at_us=START_US - 30 * DAY).points == 5
    (lot,) = brand.store.lots(alice, now_us=START_US, limit=10, cursor="").items
    assert lot.earned_at_us == START_US - 30 * DAY
    assert lot.available_at_us == START_US - 16 * DAY
    for wrong in (START_US - 31 * DAY, START_US + DAY):
        with pytest.raises(LimitExceeded):
            brand.buy(alice, 5, at_us=wrong)


def test_old_purchases_are_refused_and_the_refusal_stands() -> None:
    brand = Brand(programme(backdate_days=1))
    alice = brand.enrol()
    old = START_US - 3 * DAY
    for _ in range(2):
        with pytest.raises(LimitExceeded):
            brand.buy(alice, 10, purchase_id="old", at_us=old)
    assert brand.buy(alice, 10, purchase_id="fresh", at_us=START_US - DAY).points == 10


def test_a_batch_of_purchases_of_one_member_adds_up() -> None:
    brand = Brand(programme())
    alice = brand.enrol()
    outcomes = brand.run(
        *(
            RecordPurchase(purchase_id=f"p{n}", account=alice, currency="EUR", minor=n + 1)
            for n in range(50)
        ),
        Sweep(limit=10),
    )
    assert all(isinstance(one, Answer) for one in outcomes)
    points = [
        merchant_pb2.PurchaseResult.FromString(one.body).points
        for one in outcomes[:-1]
        if isinstance(one, Answer)
    ]
    assert points == list(range(1, 51))
    assert brand.balance(alice) == (0, 51 * 25, 0, 0)
    brand.check()
