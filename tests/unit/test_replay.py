"""A brand's log replayed: honest ones pass, and each broken rule names the entry that breaks it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.ledger import entries
from comity.ledger.entries import LegDraft
from comity.v1 import entry_pb2
from tests.unit.replay_log import (
    AVAILABLE,
    CLAWED_BACK,
    CLEARING,
    DEBT,
    HELD,
    ISSUED,
    PENDING,
    SPENT,
    UNIT,
    Log,
    digest,
    earn,
    end,
    failed,
    hold,
    leg,
    rdm,
    restore,
)


@pytest.fixture
def log() -> Log:
    """A log whose first entry earns a thousand points in lot 0.1."""
    made = Log("grocery")
    earn(made, 1_000)
    return made


def broken(log: Log, *, opened: bool = True, final: bool = False) -> dict[str, str]:
    return failed(log.fold(opened=opened).checks(final=final))


def test_a_redemption_and_its_reversal_leave_what_was_earned(log: Log) -> None:
    held = hold(log, 300)
    end(log, entry_pb2.Post, held, 300)
    restore(log, held, 100)
    restore(log, held, 200)
    replay = log.fold()
    assert failed(replay.checks(final=True)) == {}
    assert replay.accounts == {("acc_a", UNIT): [0, 1_000, 0, 0]}
    assert replay.lots["0.1"].points == [0, 1_000, 0]
    assert replay.totals[UNIT, int(SPENT)] == 0
    assert replay.holds[held].ended == "post"
    assert [effect.kind for effect in replay.effects] == ["post", "restore", "restore"]


def test_a_released_hold_gives_every_point_back(log: Log) -> None:
    held = hold(log, 300)
    assert log.fold().accounts["acc_a", UNIT] == [0, 700, 300, 0]
    end(log, entry_pb2.Release, held, 300)
    assert broken(log, final=True) == {}


def test_a_debt_is_an_account_of_its_own(log: Log) -> None:
    log.move(
        entry_pb2.Clawback(event=digest("refund")),
        leg(AVAILABLE, -1_000),
        leg(DEBT, -50),
        leg(CLAWED_BACK, 1_050),
    )
    assert broken(log) == {}
    assert log.fold().accounts["acc_a", UNIT] == [0, 0, 0, -50]
    log.move(entry_pb2.Adjustment(reason_code="x"), leg(ISSUED, -60), leg(DEBT, 60))
    assert "debt of acc_a to 10" in broken(log)["I2"]


def test_legs_that_do_not_sum_to_zero_are_named_even_to_a_stranger(log: Log) -> None:
    log.move(entry_pb2.Transfer(), leg(AVAILABLE, 5), leg(HELD, -4), balanced=False)
    found = broken(log, opened=False)
    assert "Entry 1 of comity.example/grocery" in found["I1"]
    assert "I3" in found


def test_a_balance_below_zero_is_named(log: Log) -> None:
    log.move(
        entry_pb2.Transfer(),
        leg(AVAILABLE, -1_001),
        leg(AVAILABLE, 1_001, account="acc_b", lot="1.1"),
    )
    found = broken(log)
    assert "available of acc_a to -1" in found["I2"]
    assert "lot 0.1 to -1" in found["I2"]
    assert "I2" not in broken(log, opened=False)  # the total of the class is still positive


def test_a_class_below_zero_is_named_to_a_stranger(log: Log) -> None:
    log.move(entry_pb2.Expiry(), leg(PENDING, -1), leg(entry_pb2.ACCOUNT_CLASS_EXPIRED, 1))
    assert "I2" in broken(log, opened=False)


def test_an_opening_of_other_points_or_accounts_is_named(log: Log) -> None:
    opening = entry_pb2.EntryOpening.FromString(log.openings[0])
    opening.legs[1].account = "acc_b"
    log.openings[0] = opening.SerializeToString()
    assert "Entry 0 of" in broken(log)["openings"]
    log.openings[0] = b""
    assert "0 openings of 2 legs" in broken(log)["openings"]


def test_a_lot_stays_with_its_account(log: Log) -> None:
    log.move(
        entry_pb2.Transfer(), leg(AVAILABLE, -5), leg(AVAILABLE, 5, account="acc_b", lot="0.1")
    )
    assert "lot 0.1" in broken(log)["I18"]


def test_points_of_no_lot_are_named(log: Log) -> None:
    draft = LegDraft(AVAILABLE, UNIT, 5, "acc_a", "")
    log.move(entry_pb2.Adjustment(reason_code="x"), leg(ISSUED, -5), draft)
    assert "no lot" in broken(log)["I18"]


def test_time_does_not_run_backwards(log: Log) -> None:
    log.at_us -= 10
    earn(log, 1, lot="1.1")
    assert "Entry 1 of" in broken(log)["time"]


def _second_end(log: Log, held: int) -> None:
    end(log, entry_pb2.Post, held, 300)
    end(log, entry_pb2.Release, held, 300)


def _part(log: Log, held: int) -> None:
    end(log, entry_pb2.Post, held, 299)


def _other_hold(log: Log, held: int) -> None:
    end(log, entry_pb2.Post, held - 1, 300)


def _other_redemption(log: Log, held: int) -> None:
    end(log, entry_pb2.Post, held, 300, name="second")


def _too_much_back(log: Log, held: int) -> None:
    end(log, entry_pb2.Post, held, 300)
    restore(log, held, 200)
    restore(log, held, 101)


def _back_to_another_lot(log: Log, held: int) -> None:
    earn(log, 10, lot="2.1")
    end(log, entry_pb2.Post, held, 300)
    restore(log, held, 300, lot="2.1")


def _back_before_posted(log: Log, held: int) -> None:
    log.move(entry_pb2.Expiry(), leg(AVAILABLE, -300), leg(SPENT, 300))
    restore(log, held, 300)


def _again(log: Log, held: int) -> None:
    hold(log, 5)


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        (_second_end, "I9"),
        (_part, "I5"),
        (_other_hold, "I4"),
        (_other_redemption, "I4"),
        (_too_much_back, "I12"),
        (_back_to_another_lot, "I12"),
        (_back_before_posted, "I12"),
        (_again, "I9"),
    ],
)
def test_each_wrong_turn_of_a_hold_breaks_its_rule(
    log: Log, wrong: Callable[[Log, int], None], rule: str
) -> None:
    held = hold(log, 300)
    wrong(log, held)
    assert f"Entry {len(log.bodies) - 1} of" in broken(log)[rule]


def test_a_hold_ends_with_the_lots_it_took(log: Log) -> None:
    earn(log, 500, lot="1.1")
    hold(log, 100, name="other", lot="1.1")
    held = hold(log, 100, lot="0.1")
    end(log, entry_pb2.Release, held, 100, lot="1.1")
    assert "other lots" in broken(log)["I18"]


def test_a_hold_that_never_ends_matters_once_nothing_is_under_way(log: Log) -> None:
    hold(log, 300)
    assert broken(log) == {}
    assert "Entry 1 of" in broken(log, final=True)["I5"]


def test_a_delivery_is_made_once_and_returned_for_its_own_redemption() -> None:
    log = Log("fuel")
    decision = entries.cite(CLEARING, 1, b"decision")

    def deliver(name: str) -> int:
        return log.append(
            entry_pb2.Delivery(
                issuer="grocery",
                redemption_id=rdm(name),
                decision=decision,
                seq=1,
                quote_digest=digest("q"),
                reward=digest("r"),
            )
        )

    first = deliver("first")
    assert failed(log.fold().checks()) == {}
    log.append(
        entry_pb2.Return(
            issuer="grocery",
            redemption_id=rdm("second"),
            delivery_index=first,
            decision=decision,
            cumulative_points=5,
            reason_code="X",
        )
    )
    deliver("first")
    assert failed(log.fold().checks()).keys() == {"I9", "I12"}


def test_many_contradictions_are_counted_and_a_few_are_told(log: Log) -> None:
    for _ in range(9):
        log.move(entry_pb2.Transfer(), leg(AVAILABLE, 5), balanced=False)
    assert "And 4 more." in broken(log, opened=False)["I1"]


Step = tuple[int, int, int]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(1, 90)), max_size=30))
def test_whatever_an_honest_brand_does_replays_without_a_finding(steps: list[Step]) -> None:
    log = Log("grocery")
    available: dict[str, int] = {}
    open_holds: list[tuple[int, int, str, str]] = []
    posted: list[tuple[int, int, str, str]] = []
    for number, (what, which, points) in enumerate(steps):
        lot = f"lot{which}"
        if what == 0 or available.get(lot, 0) < points:
            earn(log, points, lot=lot)
            available[lot] = available.get(lot, 0) + points
        elif what == 1:
            name = f"r{number}"
            open_holds.append((hold(log, points, name=name, lot=lot), points, name, lot))
            available[lot] -= points
        elif what in (2, 3) and open_holds:
            held, taken, name, of = open_holds.pop()
            kind = entry_pb2.Post if what == 2 else entry_pb2.Release
            end(log, kind, held, taken, name=name, lot=of)
            if what == 2:
                posted.append((held, taken, name, of))
            else:
                available[of] += taken
        elif posted:
            held, taken, name, of = posted.pop()
            restore(log, held, taken, name=name, lot=of)
            available[of] += taken
    replay = log.fold()
    assert failed(replay.checks()) == {}
    assert {lot: state.points[1] for lot, state in replay.lots.items()} == available
    assert failed(log.fold(opened=False).checks()) == {}
