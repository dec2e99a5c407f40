"""Points pay a part of an order at their own brand, and come back with it, in rows and entries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comity.clock import DAY
from comity.errors import (
    ComityError,
    Conflict,
    InsufficientPoints,
    LimitExceeded,
    Malformed,
    MemberLocked,
    NotFound,
    NotReversible,
    SpendingFrozen,
)
from comity.v1 import merchant_pb2
from comity.verify.database import database
from node.commands import EraseMember, LockMember
from node.payments import PayWithPoints, RefundPayment
from tests.brand import Brand, programme
from tests.club import Club

JD = {"value": {"minor": 1, "points": 1}, "multiple": 1_000, "max_percent": 50}
CENT = {"value": {"minor": 1, "points": 1}}


def shop(
    folder: Path, payment: dict[str, Any] | None = None, *, grace: int = 0, **changes: Any
) -> Club:
    """A brand with one point a cent for ten days, which pays orders."""
    rules: dict[str, Any] = {
        "version": "1",
        "name": "Beans",
        "zone": "Asia/Shanghai",
        "currency": "EUR",
        "units": {
            "beans": {"expiry": {"days": 10}, "clawback": "debt", "expired_lot_grace_days": grace}
        },
        "earn": {
            "purchase": {"on": "purchase", "rate": {"points": 1, "per_minor": 1}, "pending": False}
        },
    } | changes
    if payment is not None:
        rules["payment"] = payment
    return Club(folder, rules)


def pay(
    brand: Brand, account: str, order: str, minor: int, points: int = 0, **more: Any
) -> merchant_pb2.PayWithPointsResponse:
    command = PayWithPoints(
        caller="till:front",
        id=more.pop("id", "") or brand.new_id(),
        account=account,
        order_id=order,
        currency=more.pop("currency", "EUR"),
        amount_minor=minor,
        points=points,
        **more,
    )
    return brand.ask(command, merchant_pb2.PayWithPointsResponse)


def back(brand: Brand, order: str, **more: Any) -> merchant_pb2.RefundPaymentResponse:
    if "cumulative_minor" in more:
        more.setdefault("currency", "EUR")
    command = RefundPayment(
        caller="till:front", id=more.pop("id", "") or brand.new_id(), order_id=order, **more
    )
    return brand.ask(command, merchant_pb2.RefundPaymentResponse)


def verified(brand: Club) -> None:
    """Every invariant holds, and the database is what its log says."""
    brand.check()
    report = database(brand.path)
    assert report.passed, [row for row in report.checks if not row.passed]


# --- paying ---------------------------------------------------------------------------------


@pytest.mark.row("P9")
@pytest.mark.row("P11")
def test_points_pay_half_of_an_order_in_thousands_and_a_virtual_one_whole(tmp_path: Path) -> None:
    brand = shop(tmp_path, JD)
    alice = brand.enrol()
    brand.buy(alice, 7_900)
    paid = pay(brand, alice, "o-1", 5_999)
    assert (paid.points, paid.covered.minor, paid.rest.minor) == (2_000, 2_000, 3_999)
    paid = pay(brand, alice, "o-2", 3_000, 3_000, virtual=True)
    assert (paid.points, paid.covered.minor, paid.rest.minor) == (3_000, 3_000, 0)
    for points in (999, 1_500, 2_000):
        with pytest.raises(LimitExceeded):
            pay(brand, alice, f"o-{points}", 3_000, points)
    with pytest.raises(LimitExceeded, match="None of the"):
        pay(brand, alice, "o-small", 1_999)
    with pytest.raises(InsufficientPoints):
        pay(brand, alice, "o-large", 100_000, 3_000)
    assert brand.balance(alice) == (0, 2_900, 0, 0)
    assert brand.kinds().count("spend") == 2
    verified(brand)


@pytest.mark.row("P12")
@pytest.mark.row("P15")
def test_one_basket_burns_points_and_earns_on_the_money_that_is_left(tmp_path: Path) -> None:
    brand = shop(tmp_path, CENT | {"max_percent": 30})
    alice = brand.enrol()
    brand.buy(alice, 1_000)
    paid = pay(brand, alice, "basket", 2_000)
    assert (paid.points, paid.rest.minor) == (600, 1_400)
    earned = brand.buy(alice, paid.rest.minor, purchase_id="basket")
    assert earned.points == 1_400
    assert brand.balance(alice) == (0, 1_000 - 600 + 1_400, 0, 0)
    # The whole basket is given back: what it earned is gone, what it cost is there again.
    brand.refund("basket", 1_400)
    back(brand, "basket")
    assert brand.balance(alice) == (0, 1_000, 0, 0)
    verified(brand)


def test_no_point_is_spent_that_pays_nothing(tmp_path: Path) -> None:
    brand = shop(tmp_path, {"value": {"minor": 1, "points": 100}})
    alice = brand.enrol()
    brand.buy(alice, 250)
    with pytest.raises(LimitExceeded, match="less than one minor unit"):
        pay(brand, alice, "o-0", 500, 99)
    assert pay(brand, alice, "o-1", 500).points == 200
    with pytest.raises(LimitExceeded, match="None of the 50 points"):
        pay(brand, alice, "o-2", 500)
    verified(brand)


def test_an_order_is_paid_once_and_the_same_request_answered_alike(tmp_path: Path) -> None:
    brand = shop(tmp_path, CENT)
    alice = brand.enrol()
    brand.buy(alice, 100)
    first = pay(brand, alice, "o-1", 60, 50, id="one")
    assert pay(brand, alice, "o-1", 60, 50, id="one") == first
    with pytest.raises(Conflict) as caught:
        pay(brand, alice, "o-1", 60, 40, id="one")
    assert caught.value.field == "points"
    with pytest.raises(Conflict) as caught:
        pay(brand, alice, "o-1", 60, 50)
    assert caught.value.field == "order_id"
    assert brand.balance(alice) == (0, 50, 0, 0)
    verified(brand)


def test_what_may_not_be_paid_is_refused_and_leaves_no_trace(tmp_path: Path) -> None:
    brand = shop(tmp_path, CENT)
    alice = brand.enrol()
    brand.buy(alice, 100)
    before = brand.kinds()
    with pytest.raises(Malformed):
        pay(brand, alice, "o-1", 60, 50, currency="USD")
    with pytest.raises(Malformed):
        pay(brand, alice, "o-1", 0)
    with pytest.raises(NotFound):
        pay(brand, "acc_" + "0" * 32, "o-1", 60)
    brand.do(LockMember(caller="manager:ann", id="lock", account=alice, locked=True))
    with pytest.raises(MemberLocked):
        pay(brand, alice, "o-1", 60)
    assert brand.kinds() == before
    assert not brand.rows("payments")


@pytest.mark.parametrize(
    ("payment", "frozen", "refusal"),
    [(None, False, LimitExceeded), (CENT, True, SpendingFrozen)],
)
def test_a_programme_without_payment_or_with_a_freeze_takes_no_points(
    tmp_path: Path, payment: dict[str, Any] | None, frozen: bool, refusal: type[ComityError]
) -> None:
    brand = shop(tmp_path, payment, burn_frozen=frozen)
    alice = brand.enrol()
    assert brand.buy(alice, 100).points == 100
    with pytest.raises(refusal):
        pay(brand, alice, "o-1", 60)


# --- giving back ----------------------------------------------------------------------------


@pytest.mark.row("P11")
def test_a_ten_day_point_that_comes_back_after_two_days_has_its_eight_left(tmp_path: Path) -> None:
    brand = shop(tmp_path, JD)
    alice = brand.enrol()
    brand.buy(alice, 2_000)
    (lot,) = brand.rows("lots")
    brand.now_us = lot["expires_at_us"] - 10 * DAY
    pay(brand, alice, "o-1", 5_000, 2_000)
    brand.pass_days(2)
    answer = back(brand, "o-1")
    assert (answer.points, answer.expired) == (2_000, 0)
    (same,) = brand.rows("lots")
    assert (same["lot"], same["available"]) == (lot["lot"], 2_000)
    assert same["expires_at_us"] - brand.now_us == 8 * DAY
    brand.now_us = same["expires_at_us"] - 1
    assert brand.balance(alice) == (0, 2_000, 0, 0)
    brand.now_us += 1
    brand.sweep()
    assert brand.balance(alice) == (0, 0, 0, 0)
    verified(brand)


@pytest.mark.row("P11")
def test_points_that_expired_meanwhile_do_not_come_back(tmp_path: Path) -> None:
    brand = shop(tmp_path, CENT)
    alice = brand.enrol()
    brand.buy(alice, 300)
    brand.pass_days(5)
    brand.buy(alice, 200)
    assert pay(brand, alice, "o-1", 400).points == 400
    brand.pass_days(6)
    answer = back(brand, "o-1")
    assert (answer.points, answer.expired) == (400, 300)
    assert brand.balance(alice) == (0, 200, 0, 0)
    verified(brand)


def test_a_grace_lets_points_live_on_that_come_back_expired(tmp_path: Path) -> None:
    brand = shop(tmp_path, CENT, grace=3)
    alice = brand.enrol()
    brand.buy(alice, 300)
    pay(brand, alice, "o-1", 300)
    brand.pass_days(20)
    assert back(brand, "o-1").expired == 0
    assert brand.balance(alice) == (0, 300, 0, 0)
    brand.pass_days(3)
    assert brand.balance(alice) == (0, 0, 0, 0)
    verified(brand)


def test_the_earliest_expiry_is_spent_first_and_comes_back_last(tmp_path: Path) -> None:
    brand = shop(tmp_path, CENT)
    alice = brand.enrol()
    for _ in range(3):
        brand.buy(alice, 100)
        brand.pass_days(1)
    pay(brand, alice, "o-1", 250)

    def in_lots() -> list[int]:
        rows = sorted(brand.rows("lots"), key=lambda row: int(row["expires_at_us"]))
        return [row["available"] for row in rows]

    assert in_lots() == [0, 0, 50]
    back(brand, "o-1", cumulative_points=80)
    assert in_lots() == [0, 30, 100]
    back(brand, "o-1", cumulative_minor=200)
    assert in_lots() == [50, 100, 100]
    assert back(brand, "o-1", cumulative_points=10).points == 0
    assert back(brand, "o-1").cumulative_points == 250
    assert in_lots() == [100, 100, 100]
    verified(brand)


def test_no_more_comes_back_than_was_paid(tmp_path: Path) -> None:
    brand = shop(tmp_path, CENT)
    alice = brand.enrol()
    brand.buy(alice, 100)
    pay(brand, alice, "o-1", 60)
    too_much: tuple[dict[str, Any], ...] = ({"cumulative_points": 61}, {"cumulative_minor": 61})
    for wrong in too_much:
        with pytest.raises(NotReversible):
            back(brand, "o-1", **wrong)
    malformed: tuple[dict[str, Any], ...] = (
        {"cumulative_points": 1, "cumulative_minor": 1},
        {"cumulative_minor": 0},
        {"cumulative_minor": 1, "currency": "USD"},
    )
    for wrong in malformed:
        with pytest.raises(Malformed):
            back(brand, "o-1", **wrong)
    with pytest.raises(NotFound):
        back(brand, "o-2")
    assert brand.balance(alice) == (0, 40, 0, 0)


def test_what_comes_back_pays_a_debt_first(tmp_path: Path) -> None:
    brand = shop(tmp_path, CENT)
    alice = brand.enrol()
    brand.buy(alice, 100, purchase_id="p")
    pay(brand, alice, "o-1", 100)
    brand.refund("p", 100)
    assert brand.balance(alice) == (0, 0, 0, -100)
    back(brand, "o-1", cumulative_points=30)
    assert brand.balance(alice) == (0, 0, 0, -70)
    back(brand, "o-1")
    assert brand.balance(alice) == (0, 0, 0, 0)
    verified(brand)


def test_what_comes_back_to_a_member_who_left_is_gone(tmp_path: Path) -> None:
    brand = shop(tmp_path, CENT)
    alice = brand.enrol()
    brand.buy(alice, 100)
    pay(brand, alice, "o-1", 60)
    brand.do(EraseMember(caller="manager:ann", id="erase", account=alice))
    answer = back(brand, "o-1")
    assert (answer.points, answer.expired) == (60, 60)
    assert not [row for row in brand.rows("lots") if row["open"]]
    verified(brand)


def test_a_refund_works_while_spending_is_stopped(tmp_path: Path) -> None:
    brand = shop(tmp_path, CENT)
    alice = brand.enrol()
    brand.buy(alice, 100)
    pay(brand, alice, "o-1", 60)
    brand.do(LockMember(caller="manager:ann", id="lock", account=alice, locked=True))
    assert back(brand, "o-1").points == 60
    verified(brand)


@settings(max_examples=12, deadline=None)
@given(totals=st.lists(st.integers(1, 170), min_size=1, max_size=6))
def test_any_parts_in_any_order_end_where_one_refund_of_the_same_total_ends(
    totals: list[int],
) -> None:
    ends = []
    for some in (totals, [max(totals)]):
        brand = Brand(programme(payment=CENT, return_window_days=0, expiry={"days": 60}))
        alice = brand.enrol()
        for name in ("a", "b"):
            brand.buy(alice, 100, purchase_id=name)
            brand.pass_days(8)
        pay(brand, alice, "o-1", 170)
        for cumulative in some:
            back(brand, "o-1", cumulative_points=cumulative)
        brand.check()
        parts = {row["lot"]: row["available"] for row in brand.rows("lots")}
        ends.append((brand.balance(alice), sorted(parts.values())))
    assert ends[0] == ends[1]
    assert ends[0][0] == (0, 30 + max(totals), 0, 0)
