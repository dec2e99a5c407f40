"""Clearing's log replayed, and compared with the brands': each broken rule names its entry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.ledger import entries
from comity.terms import agreements
from comity.terms.cross_checks import cross_check
from comity.v1 import common_pb2, entry_pb2
from tests.unit.replay_log import (
    ABORTED,
    REVERSED,
    Clearing,
    Log,
    digest,
    earn,
    end,
    failed,
    hold,
    rdm,
    restore,
    terms,
)


@pytest.fixture
def clearing() -> Clearing:
    made = Clearing()
    made.admit("grocery")
    made.admit("fuel")
    return made


def promise(name: str = "first") -> Any:
    """A citation of some entry of grocery's log."""
    return entries.cite("comity.example/grocery", 7, name.encode())


def take_back(clearing: Clearing, committed: int, *, before: int, cumulative: int) -> int:
    """A REVERSED of part of the 100 points that `committed` took."""
    moved = agreements.reversal_amounts(
        terms(), committed=100, before=before, cumulative=cumulative
    )
    return clearing.decide(REVERSED, points=cumulative - before, amounts=moved, original=committed)


def broken(clearing: Clearing, *, opened: bool = True) -> dict[str, str]:
    return failed(clearing.log.fold(opened=opened).checks())


def test_decisions_fold_into_positions_that_sum_to_zero(clearing: Clearing) -> None:
    clearing.decide(cites=promise())
    clearing.decide(ABORTED, name="second")
    clearing.heads()
    clearing.close()
    clearing.decide(name="third", cites=promise("third"))
    replay = clearing.log.fold()
    assert failed(replay.checks()) == {}
    # 100 points at 1/2 are 50; the fee is 2 % of 50 and 3 more, fuel pays it.
    assert replay.positions["grocery", "EUR"] == -100
    assert replay.positions["fuel", "EUR"] == 92
    assert replay.positions["operator", "EUR"] == 8
    assert replay.nets[1]["grocery", "EUR"] == -50
    assert replay.seqs == {"grocery": 3, "fuel": 3}
    assert failed(clearing.log.fold(opened=False).checks()) == {}


def test_a_settled_window_leaves_the_running_positions(clearing: Clearing) -> None:
    clearing.decide(cites=promise())
    clearing.close()
    clearing.decide(name="second", cites=promise("second"))
    clearing.settle(1)
    clearing.decide(name="third", cites=promise("third"))
    replay = clearing.log.fold()
    assert failed(replay.checks()) == {}
    assert replay.positions["grocery", "EUR"] == -100


@pytest.mark.parametrize("parts", [(100,), (40, 100), (1, 2, 3, 99, 100)])
def test_wholly_reversed_in_any_parts_is_as_if_never_redeemed(
    clearing: Clearing, parts: tuple[int, ...]
) -> None:
    committed = clearing.decide(cites=promise())
    before = 0
    for cumulative in parts:
        take_back(clearing, committed, before=before, cumulative=cumulative)
        before = cumulative
    replay = clearing.log.fold()
    assert failed(replay.checks()) == {}
    assert set(replay.positions.values()) == {0}


def _twice(clearing: Clearing) -> None:
    clearing.decide(cites=promise())
    clearing.decide(ABORTED)


def _same_hold(clearing: Clearing) -> None:
    clearing.decide(cites=promise())
    clearing.decide(name="second", cites=promise())


def _same_quote(clearing: Clearing) -> None:
    clearing.decide(cites=promise())
    clearing.decide(name="second", cites=promise("second"), quote_digest=digest("quote first"))


def _no_promise(clearing: Clearing) -> None:
    clearing.decide()


def _anothers_promise(clearing: Clearing) -> None:
    clearing.decide(cites=entries.cite("comity.example/fuel", 1, b"x"))


def _gap(clearing: Clearing) -> None:
    clearing.decide(cites=promise(), issuer_seq=2)


def _false_heads(clearing: Clearing) -> None:
    clearing.decide(cites=promise())
    clearing.heads(fuel=0)


def _other_window(clearing: Clearing) -> None:
    clearing.decide(cites=promise(), window=2)


def _miscount(clearing: Clearing) -> None:
    clearing.decide(cites=promise())
    clearing.close(decisions=2)


def _skipped_window(clearing: Clearing) -> None:
    clearing.close(window=2)


def _open_settled(clearing: Clearing) -> None:
    clearing.settle(1)


def _settled_twice(clearing: Clearing) -> None:
    clearing.close()
    clearing.settle(1)
    clearing.settle(1)


def _of_nothing(clearing: Clearing) -> None:
    committed = clearing.decide(ABORTED)
    take_back(clearing, committed, before=0, cumulative=50)


def _too_much(clearing: Clearing) -> None:
    committed = clearing.decide(cites=promise())
    take_back(clearing, committed, before=0, cumulative=60)
    take_back(clearing, committed, before=0, cumulative=60)


def _keeps_the_fee(clearing: Clearing) -> None:
    committed = clearing.decide(cites=promise())
    moved = agreements.reversal_amounts(terms(), committed=100, before=0, cumulative=100)
    moved.fee.minor = 0
    clearing.decide(REVERSED, points=100, amounts=moved, original=committed)


def _beyond_the_cap(clearing: Clearing) -> None:
    money = common_pb2.Money(currency="EUR", minor=49)
    clearing.log.append(entry_pb2.Cap(participant="grocery", net_debit_cap=money))
    clearing.decide(cites=promise())


def _other_position(clearing: Clearing) -> None:
    clearing.positions["grocery"] = 1
    clearing.decide(cites=promise())


def _other_points(clearing: Clearing) -> None:
    clearing.decide(cites=promise(), points=100)
    opening = entry_pb2.EntryOpening.FromString(clearing.log.openings[-1])
    opening.decision.points = 101
    clearing.log.openings[-1] = entries.canonical(opening)


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        (_twice, "I13"),
        (_same_hold, "I13"),
        (_same_quote, "I13"),
        (_no_promise, "I13"),
        (_anothers_promise, "I13"),
        (_gap, "I14"),
        (_false_heads, "I14"),
        (_other_window, "I16"),
        (_miscount, "I16"),
        (_skipped_window, "I16"),
        (_open_settled, "I16"),
        (_settled_twice, "I16"),
        (_of_nothing, "I12"),
        (_too_much, "I12"),
        (_keeps_the_fee, "I12"),
        (_beyond_the_cap, "I15"),
        (_other_position, "I6"),
        (_other_points, "openings"),
    ],
)
def test_each_wrong_decision_breaks_its_rule(
    clearing: Clearing, wrong: Callable[[Clearing], None], rule: str
) -> None:
    wrong(clearing)
    index = len(clearing.log.bodies) - 1
    assert f"Entry {index} of comity.example/clearing" in broken(clearing)[rule]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(10, 5_000)), max_size=25))
def test_whatever_clearing_decides_replays_without_a_finding(steps: list[tuple[int, int]]) -> None:
    made = Clearing()
    made.admit("grocery", cap=10**9)
    made.admit("fuel", cap=10**9)
    for number, (what, points) in enumerate(steps):
        name = f"r{number}"
        if what == 0:
            made.decide(ABORTED, name=name)
        elif what == 1:
            made.close()
            made.settle(made.window - 1)
        elif what == 2:
            made.heads()
        else:
            made.decide(name=name, points=points, cites=promise(name))
    replay = made.log.fold()
    assert failed(replay.checks()) == {}
    assert sum(replay.positions.values()) == 0


# --- between logs -----------------------------------------------------------------------------


class Three:
    """Grocery, fuel and clearing after one redemption, one abort and one reversal in part."""

    def __init__(self) -> None:
        self.grocery, self.fuel, self.clearing = Log("grocery"), Log("fuel"), Clearing()
        self.clearing.admit("grocery")
        self.clearing.admit("fuel")
        earn(self.grocery, 1_000)
        self.held = hold(self.grocery, 100, amount=50)
        self.committed = self.clearing.decide(cites=self.grocery.cite(self.held))
        self.decision = self.clearing.log.cite(self.committed)

    def post(self, **changed: Any) -> None:
        values: dict[str, Any] = {"decision": self.decision, "seq": 1, **changed}
        end(self.grocery, entry_pb2.Post, self.held, 100, **values)

    def deliver(self, **changed: Any) -> int:
        values: dict[str, Any] = {
            "issuer": "grocery",
            "redemption_id": rdm("first"),
            "decision": self.decision,
            "seq": 1,
            "quote_digest": digest("quote first"),
            "reward": digest("reward"),
        }
        return self.fuel.append(entry_pb2.Delivery(**(values | changed)))

    def reverse(self, points: int, *, cumulative: int | None = None) -> None:
        returned = self.fuel.append(
            entry_pb2.Return(
                issuer="grocery",
                redemption_id=rdm("first"),
                delivery_index=0,
                decision=self.decision,
                cumulative_points=cumulative or points,
                reason_code="RETURNED",
            )
        )
        moved = agreements.reversal_amounts(terms(), committed=100, before=0, cumulative=points)
        index = self.clearing.decide(
            REVERSED,
            points=points,
            amounts=moved,
            original=self.committed,
            cites=self.fuel.cite(returned),
        )
        restore(self.grocery, self.held, points, decision=self.clearing.log.cite(index))

    def broken(self, *, final: bool = True) -> dict[str, str]:
        brands = {"grocery": self.grocery.fold(), "fuel": self.fuel.fold()}
        for one in (*brands.values(), self.clearing.log.fold()):
            assert failed(one.checks()) == {}
        return failed(cross_check(self.clearing.log.fold(), brands, final=final))


def test_a_redemption_that_ended_everywhere_agrees() -> None:
    three = Three()
    three.post()
    three.deliver()
    three.reverse(40)
    other = hold(three.grocery, 10, name="other", amount=5)
    aborted = three.clearing.decide(ABORTED, name="other", cites=three.grocery.cite(other))
    cites = three.clearing.log.cite(aborted)
    end(three.grocery, entry_pb2.Release, other, 10, name="other", decision=cites, seq=3)
    assert three.broken() == {}


def test_what_has_yet_to_happen_is_no_fault_until_it_is_final() -> None:
    three = Three()
    assert three.broken(final=False) == {}
    found = three.broken()
    assert "grocery has no post" in found["I4"]
    assert "fuel has neither delivered nor reversed" in found["I4"]


def test_a_post_without_a_decision_is_named() -> None:
    three = Three()
    three.post(decision=entries.cite("comity.example/clearing", 99, b"invented"))
    assert "Entry 2 of comity.example/grocery (post)" in three.broken(final=False)["I4"]


def test_a_decision_with_other_bytes_is_not_the_decision() -> None:
    three = Three()
    three.post(decision=entries.cite("comity.example/clearing", three.committed, b"other"))
    assert "not in clearing's log" in three.broken(final=False)["I4"]


def test_points_freed_on_a_commit_are_named() -> None:
    three = Three()
    end(three.grocery, entry_pb2.Release, three.held, 100, decision=three.decision)
    assert "not ABORTED" in three.broken(final=False)["I4"]


def test_delivering_on_an_abort_is_named() -> None:
    three = Three()
    index = three.clearing.decide(ABORTED, name="second")
    cites = three.clearing.log.cite(index)
    three.deliver(redemption_id=rdm("second"), decision=cites, seq=2, quote_digest=digest("q"))
    assert "(delivery)" in three.broken(final=False)["I4"]


def test_a_commit_on_a_hold_that_was_never_written_is_named() -> None:
    three = Three()
    three.clearing.decide(name="minted", cites=promise())
    assert "not in the payer's log" in three.broken(final=False)["I13"]


def test_a_commit_over_other_points_than_were_held_is_named() -> None:
    three = Three()
    other = hold(three.grocery, 10, name="other", amount=5)
    cites = three.grocery.cite(other)
    three.clearing.decide(name="other", points=100, cites=cites)
    assert "its HOLD 10" in three.broken(final=False)["I7"]


def test_another_number_than_the_decisions_is_named() -> None:
    three = Three()
    three.post(seq=2)
    assert "has number 2" in three.broken(final=False)["I7"]


def test_a_reversal_beyond_what_was_returned_is_named() -> None:
    three = Three()
    three.post()
    three.deliver()
    three.reverse(40, cumulative=30)
    assert three.broken(final=False).keys() == {"I12"}


def test_a_mandate_is_committed_once() -> None:
    three = Three()
    body = entry_pb2.Hold.FromString(
        entries.body(entries.decode(three.grocery.bodies[three.held])).SerializeToString()
    )
    body.redemption_id = rdm("second")
    body.quote_digest = digest("quote second")
    again = three.grocery.append(
        body, entry_pb2.EntryOpening.FromString(three.grocery.openings[three.held])
    )
    three.clearing.decide(name="second", cites=three.grocery.cite(again))
    assert "a mandate of another COMMITTED" in three.broken(final=False)["I13"]
