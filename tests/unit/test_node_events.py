"""Events earn, levels and marks follow, refunds take back; the log alone gives all of it again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from comity.clock import DAY
from comity.errors import (
    ComityError,
    Conflict,
    InsufficientPoints,
    LimitExceeded,
    Malformed,
    NotFound,
    Overflow,
    Refused,
)
from comity.ledger.command import Answer
from comity.v1 import entry_pb2, merchant_pb2
from comity.v1.programme_pb2 import EventDetails
from node.commands import EraseMember, RecordEvent, RecordPurchase, RefundPurchase
from tests.club import HOUR, Club, content

BADGE, TAG = int(entry_pb2.MARK_KIND_BADGE), int(entry_pb2.MARK_KIND_TAG)


@pytest.fixture
def club(tmp_path: Path) -> Club:
    return Club(tmp_path)


@pytest.mark.row("P2")
def test_signing_in_earns_once_a_local_day(club: Club) -> None:
    alice = club.enrol()
    club.now_us += 23 * HOUR
    assert club.happen(alice, "sign_in")["points"] == 10
    assert "points" not in club.happen(alice, "sign_in")
    assert club.has(alice)["points"] == 10
    club.now_us += 2 * HOUR
    assert club.happen(alice, "sign_in")["points"] == 10
    assert club.has(alice)["points"] == 20
    club.check()


def test_a_repeated_event_is_answered_and_earns_nothing_more(club: Club) -> None:
    alice = club.enrol()
    first = club.happen(alice, "sign_in", event_id="visit-1")
    assert club.happen(alice, "sign_in", event_id="visit-1") == first
    assert club.has(alice) == {"points": 10, "growth": 2}
    with pytest.raises(Conflict):
        club.happen(club.enrol("bob"), "sign_in", event_id="visit-1")


def test_sums_beyond_what_a_ledger_holds_are_refused(club: Club) -> None:
    alice = club.enrol()
    club.buy(alice, 2**62)
    with pytest.raises(Overflow):
        club.buy(alice, 2**62)
    assert club.rows("quarantine") == []
    club.check()


def test_events_before_joining_and_of_all_ages_expire_by_anniversary(tmp_path: Path) -> None:
    programme = content(backdate_days=400)
    programme["units"]["growth"]["expiry"] = {"anniversary_years": 1}
    club = Club(tmp_path, programme)
    alice = club.enrol()
    for days in (1, 200, 364, 366, 399):
        club.buy(alice, 1_000, at_us=club.now_us - days * DAY)
    club.check()
    club.pass_days(800)
    club.sweep()
    assert club.has(alice)["growth"] == 0
    club.check()


@pytest.mark.row("P13")
def test_a_level_by_points_follows_them_up_and_down(tmp_path: Path) -> None:
    levels = [{"id": "member"}, {"id": "gold", "reach": [{"points": 50}]}]
    programme = content(tiers={"levels": levels, "downgrade": "at_once"})
    club = Club(tmp_path, programme)
    alice = club.enrol()
    club.adjust(alice, 60)
    assert club.level(alice) == "gold"
    club.adjust(alice, -20)
    assert club.level(alice) == "member"
    club.check()


def test_an_event_and_a_purchase_never_share_an_id(club: Club) -> None:
    alice = club.enrol()
    club.buy(alice, 500, purchase_id="one")
    with pytest.raises(Conflict):
        club.happen(alice, "sign_in", event_id="one")
    club.happen(alice, "sign_in", event_id="two")
    with pytest.raises(Conflict):
        club.buy(alice, 500, purchase_id="two")
    club.check()


@pytest.mark.parametrize(
    ("kind", "said", "error"),
    [
        ("unheard_of", {}, Malformed),
        ("purchase", {}, Malformed),
        ("review", {}, Malformed),
        ("review", {"stars": "five"}, Malformed),
        ("review", {"stars": True}, Malformed),
        ("review", {"stars": 5, "mood": "good"}, Malformed),
        ("sign_in", {"stars": 5}, Malformed),
    ],
)
def test_an_event_is_one_the_programme_knows(
    club: Club, kind: str, said: dict[str, Any], error: type[ComityError]
) -> None:
    alice = club.enrol()
    with pytest.raises(error):
        club.happen(alice, kind, **said)
    assert club.rows("events") == []
    assert club.happen(alice, "review", stars=5) == {}


def test_an_event_of_the_future_or_long_ago_is_refused(club: Club) -> None:
    alice = club.enrol()
    with pytest.raises(LimitExceeded):
        club.happen(alice, "sign_in", at_us=club.now_us + HOUR)
    with pytest.raises(LimitExceeded):
        club.happen(alice, "sign_in", at_us=club.now_us - DAY)
    with pytest.raises(NotFound):
        club.happen("acc_" + "0" * 32, "sign_in")


@pytest.mark.row("T8")
def test_growth_raises_a_level_at_once_and_over_two(club: Club) -> None:
    alice = club.enrol()
    club.buy(alice, 9_900)
    assert club.level(alice) == "member"
    club.buy(alice, 100)
    assert club.level(alice) == "silver"
    bob = club.enrol("bob")
    club.buy(bob, 60_000)
    assert club.level(bob) == "gold"
    assert [one.name for one in club.given() if one.kind == entry_pb2.MARK_KIND_TIER] == [
        "member",
        "silver",
        "member",
        "gold",
    ]
    club.check()


@pytest.mark.row("T10")
def test_a_refund_takes_growth_level_and_limits_back_in_one_commit(club: Club) -> None:
    alice = club.enrol()
    club.buy(alice, 12_000, purchase_id="p")
    assert (club.level(alice), club.has(alice)) == ("silver", {"points": 120, "growth": 120})
    before = len(club.entries())
    club.refund("p", 6_000)
    assert (club.level(alice), club.has(alice)) == ("member", {"points": 60, "growth": 60})
    assert club.kinds()[before:] == ["clawback", "marks"]
    club.refund("p", 12_000)
    assert club.has(alice) == {"points": 0, "growth": 0}
    (row,) = club.rows("activity")
    assert (row["purchases"], row["spend_minor"]) == (0, 0)
    club.check()


@pytest.mark.row("B1")
def test_a_badge_is_a_fact_and_moves_no_point(club: Club) -> None:
    alice = club.enrol()
    for _ in range(2):
        club.buy(alice, 100)
    assert club.marks(alice) == set()
    club.buy(alice, 100)
    assert club.marks(alice) == {"regular"}
    points = club.has(alice)
    club.mark(alice, BADGE, "founder")
    assert club.marks(alice) == {"regular", "founder"}
    assert club.has(alice) == points
    assert club.kinds()[-1] == "marks"
    club.check()


@pytest.mark.row("B3")
def test_tags_come_and_go_with_their_rule_and_a_member_has_several(club: Club) -> None:
    alice = club.enrol()
    club.buy(alice, 10_000, purchase_id="p")
    assert "big" in club.marks(alice)
    club.refund("p", 1)
    assert "big" not in club.marks(alice)
    club.check()


def test_a_mark_by_hand_is_of_the_programme_and_given_once(club: Club) -> None:
    alice = club.enrol()
    club.mark(alice, BADGE, "founder")
    with pytest.raises(Conflict):
        club.mark(alice, BADGE, "founder")
    with pytest.raises(NotFound):
        club.mark(alice, TAG, "founder")
    with pytest.raises(Malformed):
        club.mark(alice, int(entry_pb2.MARK_KIND_TIER), "gold")
    club.mark(alice, BADGE, "founder", given=False)
    with pytest.raises(NotFound):
        club.mark(alice, BADGE, "founder", given=False)
    club.check()


@pytest.mark.row("P8")
def test_a_refused_delivery_takes_points_down_to_nothing_or_into_debt(tmp_path: Path) -> None:
    for penalty, left in (("floor", (0, 0)), ("debt", (0, -20))):
        programme = content()
        programme["earn"]["refused"]["penalty"] = penalty
        (tmp_path / penalty).mkdir()
        club = Club(tmp_path / penalty, programme)
        alice = club.enrol()
        club.buy(alice, 8_000)
        assert club.happen(alice, "refused_delivery") == {"points": -50}
        assert club.has(alice)["points"] == 30
        club.happen(alice, "refused_delivery")
        (row,) = [one for one in club.rows("accounts") if one["unit"].endswith("points")]
        assert (row["available"], row["debt"]) == left
        club.check()


@pytest.mark.row("T6")
def test_growth_is_told_apart_by_its_source(club: Club) -> None:
    alice = club.enrol()
    club.buy(alice, 3_000)
    club.happen(alice, "sign_in")
    (row,) = [one for one in club.rows("accounts") if one["unit"].endswith("growth")]
    assert (row["business"], row["activity"], row["bonus"]) == (30, 2, 0)
    club.check()


def test_growth_of_one_expiry_is_one_lot(club: Club) -> None:
    alice = club.enrol()
    for _ in range(5):
        club.buy(alice, 1_000)
    club.pass_days(1)
    club.buy(alice, 1_000)
    growth = [row for row in club.rows("lots") if row["unit"].endswith("growth")]
    assert sorted(row["earned"] for row in growth) == [10, 50]
    club.check()


@pytest.mark.row("T20")
def test_growth_expires_and_the_level_with_it_though_nobody_asks(club: Club) -> None:
    alice = club.enrol()
    club.buy(alice, 60_000)
    assert club.level(alice) == "gold"
    club.pass_days(366)
    club.sweep()
    assert club.has(alice)["growth"] == 0
    assert club.level(alice) == "member"
    assert club.sweep() == 0
    club.check()


@pytest.mark.row("T15")
def test_growth_becomes_points_and_the_level_stays(club: Club) -> None:
    alice = club.enrol()
    club.buy(alice, 20_000)
    assert club.convert(alice, 150) == 15
    assert club.has(alice) == {"points": 215, "growth": 50}
    assert club.level(alice) == "silver"
    with pytest.raises(InsufficientPoints):
        club.convert(alice, 60)
    with pytest.raises(LimitExceeded):
        club.convert(alice, 15)
    club.check()


@pytest.mark.row("T15")
def test_growth_becomes_points_and_the_level_may_fall(tmp_path: Path) -> None:
    programme = content()
    programme["conversions"]["growth-to-points"]["keeps_level"] = False
    club = Club(tmp_path, programme)
    alice = club.enrol()
    club.buy(alice, 20_000)
    club.convert(alice, 150)
    assert club.level(alice) == "member"
    club.check()


def test_points_that_live_by_being_earned_live_longer_all_together(tmp_path: Path) -> None:
    programme = content()
    programme["units"]["points"] = {"kind": "hard", "expiry": {"idle_days": 10}}
    club = Club(tmp_path, programme)
    alice = club.enrol()
    club.buy(alice, 1_000)
    club.pass_days(8)
    club.buy(alice, 500)
    club.pass_days(8)
    club.sweep()
    assert club.has(alice)["points"] == 15
    club.check()
    club.pass_days(3)
    club.sweep()
    assert club.has(alice)["points"] == 0
    club.check()


def test_a_refund_by_line_says_what_is_kept_of_each(tmp_path: Path) -> None:
    programme = content()
    programme["earn"]["spend"]["rounding"] = "line"
    club = Club(tmp_path, programme)
    alice = club.enrol()
    lines = ((150, "food", "bread"), (199, "food", "milk"))
    buy = RecordPurchase(
        purchase_id="p", account=alice, currency="EUR", minor=349, lines=lines, store="north"
    )
    assert club.ask(buy, merchant_pb2.PurchaseResult).points == 2
    with pytest.raises(Malformed):
        club.refund("p", 150)
    back = RefundPurchase(
        caller="till:front",
        id="r",
        purchase_id="p",
        currency="EUR",
        cumulative_minor=150,
        kept_lines=(0, 199),
    )
    assert club.ask(back, merchant_pb2.RefundPurchaseResponse).points == 1
    club.refund("p", 349)
    assert club.has(alice) == {"points": 0, "growth": 0}
    club.check()


def test_lines_sum_to_the_amount(club: Club) -> None:
    alice = club.enrol()
    with pytest.raises(Malformed):
        club.do(
            RecordPurchase(
                purchase_id="p", account=alice, currency="EUR", minor=10, lines=((9, "", ""),)
            )
        )


@pytest.mark.row("P5")
def test_fifty_sign_ins_at_once_earn_once(club: Club) -> None:
    alice = club.enrol()
    outcomes = club.run(
        *(RecordEvent(event_id=f"e{n}", account=alice, type="sign_in") for n in range(50))
    )
    assert all(isinstance(one, Answer) for one in outcomes)
    assert club.has(alice) == {"points": 10, "growth": 6}
    said = [
        EventDetails.FromString(row["details"]).verdicts[0].reason for row in club.rows("events")
    ]
    assert sorted(said) == ["earned"] + ["limit_times"] * 49
    club.check()


def test_erasing_a_member_empties_what_events_said_and_leaves_the_proof(club: Club) -> None:
    alice = club.enrol()
    club.happen(alice, "review", stars=5)
    club.buy(alice, 20_000)
    club.do(EraseMember(caller="manager:ann", id="e", account=alice))
    assert {row["details"] for row in club.rows("events")} == {b""}
    club.check()


def test_spending_that_is_stopped_stops_conversion(tmp_path: Path) -> None:
    club = Club(tmp_path, content(burn_frozen=True))
    alice = club.enrol()
    club.buy(alice, 20_000)
    with pytest.raises(Refused):
        club.convert(alice, 100)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["buy", "refund", "sign_in", "refused", "convert", "days", "sweep"]),
        st.integers(1, 60_000),
    ),
    max_size=25,
)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=STEPS)
def test_whatever_happens_the_log_gives_every_table_again(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    club = Club(tmp_path_factory.mktemp("club"))
    names = [club.enrol(), club.enrol("bob")]
    bought: list[tuple[str, int]] = []
    for what, size in steps:
        account = names[size % 2]
        try:
            if what == "buy":
                bought.append((club.new_id(), size))
                club.buy(account, size, purchase_id=bought[-1][0])
            elif what == "refund" and bought:
                purchase, minor = bought[size % len(bought)]
                club.refund(purchase, 1 + size % minor)
            elif what == "sign_in":
                club.happen(account, "sign_in")
            elif what == "refused":
                club.happen(account, "refused_delivery")
            elif what == "convert":
                club.convert(names[0], size // 100 * 10 + 10)
            elif what == "days":
                club.pass_days(size % 200)
            else:
                club.sweep()
        except Refused:
            pass
    club.check()
