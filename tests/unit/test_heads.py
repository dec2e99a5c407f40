"""Heads of other logs: learnt, linked, kept, and contradicted only by a liar."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from comity.errors import BadStatement, Equivocation, ForkedLedger, NotFound, ShorterLedger
from comity.ledger import heads
from comity.ledger.engine import writer
from comity.ledger.heads import HeadKeeper
from comity.ledger.rows import Rows
from comity.ledger.store import KnownHead, LedgerStore
from comity.log.note import VerifierKey
from comity.v1.common_pb2 import HeadExchange, Link
from tests.brand import LEDGER, ORIGIN, Brand, programme
from tests.unit.replay_log import Log, earn

FUEL = Log("fuel")
for _number in range(40):
    earn(FUEL, 10, lot=f"{_number}.1")


def fuel(size: int) -> Log:
    """Fuel's log when it had so many entries."""
    return Log("fuel", FUEL.bodies[:size], FUEL.openings[:size])


def forked(size: int) -> Log:
    """Fuel's log with another last entry."""
    return Log("fuel", [*FUEL.bodies[: size - 1], FUEL.bodies[0]], FUEL.openings[:size])


def exchange(log: Log, *linked: int) -> HeadExchange:
    """What the owner of a log sends, with links from these sizes."""
    tree = log.tree()
    return HeadExchange(
        checkpoint=log.note(),
        links=[Link(from_size=size, hashes=tree.consistency(size)) for size in linked],
    )


@dataclass
class Grocery:
    """Our side: a real ledger of ten entries, and its keeper."""

    brand: Brand

    def __post_init__(self) -> None:
        account = self.brand.enrol()
        for minor in range(10):
            self.brand.buy(account, 100 + minor)
        self.store = LedgerStore(self.brand.engine, LEDGER)
        self.keeper = self.start()

    def start(self) -> HeadKeeper:
        return HeadKeeper(
            self.store,
            origin=ORIGIN,
            verifier_of=self.verifier_of,
            clock=lambda: self.brand.now_us,
        )

    def verifier_of(self, origin: str) -> VerifierKey:
        if origin == ORIGIN:
            return VerifierKey.parse(str(self.brand.rows("ledgers")[0]["vkey"]))
        if origin == FUEL.origin:
            return FUEL.verifier
        raise NotFound(f"{origin} is unknown.")

    def record(self, seen: tuple[KnownHead, ...]) -> None:
        with writer(self.brand.engine).begin() as connection:
            rows = Rows(connection, LEDGER)
            heads.record_heads(rows, seen)
            rows.flush()


@pytest.fixture
def ours() -> Grocery:
    return Grocery(Brand(programme()))


def test_the_first_head_is_taken_and_later_ones_by_their_link(ours: Grocery) -> None:
    keeper = ours.keeper
    assert not keeper.heard(FUEL.origin)
    (first,) = keeper.hear(FUEL.origin, exchange(fuel(5)))
    assert (first.size, first.linked) == (5, True)
    assert keeper.heard(FUEL.origin)
    (second,) = keeper.hear(FUEL.origin, exchange(fuel(9), 5))
    assert (second.size, second.linked) == (9, True)
    assert keeper.known(FUEL.origin) == second


def test_a_head_without_its_link_stays_loose_until_its_owner_links_it(ours: Grocery) -> None:
    keeper = ours.keeper
    keeper.hear(FUEL.origin, exchange(fuel(5)))
    (loose,) = keeper.hear(FUEL.origin, exchange(fuel(9)))
    assert not loose.linked
    assert keeper.highest(FUEL.origin) == 9
    assert keeper.oldest_loose_us(FUEL.origin) == ours.brand.now_us
    assert list(keeper.mine(FUEL.origin).unlinked_sizes) == [9]
    learnt = keeper.hear(FUEL.origin, exchange(fuel(12), 5, 9))
    assert {(head.size, head.linked) for head in learnt} == {(12, True), (9, True)}
    assert keeper.oldest_loose_us(FUEL.origin) is None


def test_a_statement_teaches_its_head_whoever_brings_it(ours: Grocery) -> None:
    keeper = ours.keeper
    keeper.hear(FUEL.origin, exchange(fuel(5)))
    proven, (head,) = keeper.see(fuel(8).statement(7), FUEL.origin)
    assert proven.data == FUEL.bodies[7]
    assert (head.size, head.linked) == (8, False)
    assert not keeper.see(fuel(8).statement(2), FUEL.origin)[1]


def test_a_smaller_head_is_no_error_and_is_kept_apart(ours: Grocery) -> None:
    keeper = ours.keeper
    keeper.hear(FUEL.origin, exchange(fuel(9)))
    (older,) = keeper.hear(FUEL.origin, exchange(fuel(4)))
    assert not older.linked
    known = keeper.known(FUEL.origin)
    assert known is not None
    assert known.size == 9


def test_two_roots_of_one_size_are_equivocation_with_both_as_evidence(ours: Grocery) -> None:
    ours.keeper.hear(FUEL.origin, exchange(fuel(9)))
    with pytest.raises(Equivocation) as caught:
        ours.keeper.hear(FUEL.origin, exchange(forked(9)))
    evidence = caught.value.metadata
    assert {evidence["first"], evidence["second"]} == {
        fuel(9).note().decode(),
        forked(9).note().decode(),
    }


def test_a_link_that_proves_nothing_is_refused(ours: Grocery) -> None:
    ours.keeper.hear(FUEL.origin, exchange(forked(5)))
    with pytest.raises(BadStatement, match="not proven to extend"):
        ours.keeper.hear(FUEL.origin, exchange(fuel(9), 5))


def test_a_head_of_another_key_or_origin_is_refused(ours: Grocery) -> None:
    other = Log("cinema", FUEL.bodies[:3])
    for origin in (FUEL.origin, ORIGIN):
        with pytest.raises(BadStatement):
            ours.keeper.hear(origin, exchange(other))
    with pytest.raises(NotFound):
        ours.keeper.hear(other.origin, exchange(other))


def test_our_head_is_told_with_links_from_what_the_other_knows(ours: Grocery) -> None:
    earlier = ours.store.checkpoint_at_or_after(4)
    ours.keeper.hear(FUEL.origin, HeadExchange(known=earlier.note, unlinked_sizes=[7]))
    told = ours.keeper.mine(FUEL.origin)
    assert told.checkpoint == ours.store.head().note
    assert {link.from_size for link in told.links} == {4, 7}
    assert tuple(told.links[0].hashes) == ours.store.consistency(4, 10)


def test_what_is_recorded_is_known_after_a_restart(ours: Grocery) -> None:
    ours.record(ours.keeper.hear(FUEL.origin, exchange(fuel(5))))
    ours.record(ours.keeper.hear(FUEL.origin, exchange(fuel(9))))
    again = ours.start()
    known = again.known(FUEL.origin)
    assert known is not None
    assert known.size == 5
    assert again.highest(FUEL.origin) == 9
    assert not again.heard(FUEL.origin)
    ours.record(again.hear(FUEL.origin, exchange(fuel(12), 5, 9)))
    linked = ours.start().known(FUEL.origin)
    assert linked is not None
    assert linked.size == 12
    assert ours.store.loose_heads() == []


def test_a_head_of_ours_that_we_do_not_have_stops_us(ours: Grocery) -> None:
    longer = Grocery(Brand(programme()))
    longer.brand.buy(longer.brand.enrol("bob"), 5)
    note = longer.store.head().note
    with pytest.raises(ShorterLedger) as caught:
        ours.keeper.hear(FUEL.origin, HeadExchange(known=note))
    assert caught.value.metadata == {"theirs": "11", "ours": "10"}


def test_a_head_of_ours_with_another_root_stops_us(ours: Grocery) -> None:
    other = Grocery(Brand(programme(), seed=8))
    assert other.store.head().root != ours.store.head().root
    with pytest.raises(ForkedLedger):
        ours.keeper.hear(FUEL.origin, HeadExchange(known=other.store.head().note))
