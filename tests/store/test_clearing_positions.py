"""Whatever brands do, positions sum to zero, numbers have no gap, and nobody passes its cap."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from clearing.window_reports import summaries
from comity.clock import HOUR, MINUTE
from comity.ledger import entries
from comity.ledger.engine import open_engine
from comity.terms import positions, settlement
from comity.v1 import clearing_pb2 as pb
from comity.v1 import common_pb2, entry_pb2
from tests.store.clearing_world import ORIGIN, World, decision_of, outcome, redemption_id, terms

CAP = 400
PAIRS = (("grocery", "fuel"), ("fuel", "hotel"), ("hotel", "grocery"))
STANDINGS = (
    entry_pb2.PARTICIPANT_STATUS_ACTIVE,
    entry_pb2.PARTICIPANT_STATUS_SUSPENDED,
    entry_pb2.PARTICIPANT_STATUS_FROZEN,
)

steps = st.lists(
    st.one_of(
        st.tuples(st.just("hold"), st.integers(0, 2), st.integers(1, 300)),
        st.tuples(st.just("pledge"), st.integers(0, 2), st.integers(1, 300)),
        st.tuples(st.just("again"), st.integers(0, 9), st.just(0)),
        st.tuples(st.just("return"), st.integers(0, 9), st.integers(1, 300)),
        st.tuples(st.just("abort"), st.integers(0, 2), st.integers(0, 9)),
        st.tuples(st.just("standing"), st.integers(0, 2), st.integers(0, 2)),
        st.tuples(st.just("close"), st.just(0), st.just(0)),
        st.tuples(st.just("settle"), st.just(0), st.just(0)),
        st.tuples(st.just("wait"), st.integers(1, 90), st.just(0)),
    ),
    min_size=5,
    max_size=25,
)


def agreed(place: int) -> common_pb2.AgreementTerms:
    """An agreement of each pair, with a fee and a price that both need rounding."""
    issuer, acceptor = PAIRS[place]
    return terms(
        agreement_id=f"agr_{place}",
        issuer=issuer,
        acceptor=acceptor,
        price=common_pb2.Ratio(numerator=2, denominator=3),
        fee_basis_points=250,
        fee_fixed_minor=place,
        fee_payer=common_pb2.FEE_PAYER_ISSUER if place else common_pb2.FEE_PAYER_ACCEPTOR,
    )


class Story:
    """Plays steps, and knows what was claimed."""

    def __init__(self) -> None:
        self.world = World(open_engine("sqlite://"))
        self.claims: list[tuple[str, pb.ClaimItem]] = []
        self.committed: list[pb.Decided] = []
        self.window = 1
        self.settled = 1
        self.count = 0

    async def begin(self) -> None:
        for name in ("grocery", "fuel", "hotel"):
            await self.world.admit(name, cap_minor=CAP)
        for place in range(len(PAIRS)):
            await self.world.agree(agreed(place))

    async def claim(self, acceptor: str, item: pb.ClaimItem) -> None:
        result = await self.world.one(self.world.brands[acceptor], item)
        self.claims.append((acceptor, item))
        if outcome(result) == "COMMITTED":
            self.committed.append(result.decided)
        await self.link()

    async def link(self) -> None:
        """Every brand proves that its log only grew."""
        for brand in self.world.brands.values():
            await self.world.pulse(brand)

    async def play(self, kind: str, one: int, two: int) -> None:
        world, self.count = self.world, self.count + 1
        name = f"step {self.count}"
        match kind:
            case "hold":
                made = world.purchase(name, points=two, under=agreed(one))
                issuer, acceptor = PAIRS[one]
                item = world.hold_claim(made, issuer=world.brands[issuer])
                await self.claim(acceptor, item)
            case "pledge":
                await self.pledge(name, one, two)
            case "again" if self.claims:
                acceptor, item = self.claims[one % len(self.claims)]
                before = world.positions()
                await world.one(world.brands[acceptor], item)
                assert world.positions() == before
            case "return" if self.committed:
                decided = self.committed[one % len(self.committed)]
                acceptor = decision_of(decided).acceptor
                item = world.giving_back(world.brands[acceptor], decided, cumulative=two)
                await self.claim(acceptor, item)
            case "abort":
                issuer, acceptor = PAIRS[one]
                abort = pb.AbortClaim(
                    issuer=issuer,
                    acceptor=acceptor,
                    redemption_id=redemption_id(f"step {two}"),
                )
                await world.one(world.brands[acceptor], pb.ClaimItem(abort=abort))
            case "standing":
                await world.stand(PAIRS[one][0], STANDINGS[two])
            case "close":
                await world.close(self.window)
                self.window += 1
            case "settle" if self.settled < self.window:
                await self.link()
                settlement.check_settlement((await world.settle(self.settled)).table)
                self.settled += 1
            case "wait":
                world.clock.now_us += one * MINUTE
                await world.clearing.sweep.round()

    async def pledge(self, name: str, place: int, points: int) -> None:
        world, (issuer, acceptor) = self.world, PAIRS[place]
        pledge = entry_pb2.Pledge(
            network="comity.example",
            issuer=issuer,
            redemption_id=redemption_id(name),
            agreement_id=f"agr_{place}",
            agreement_version=1,
            points=points,
            amount=common_pb2.Money(currency="EUR", minor=(4 * points + 3) // 6),
            destination=bytes(32),
            event=bytes(32),
            expires_at_us=world.clock() + HOUR,
        )
        shown = world.brands[acceptor].state(pledge)
        await self.claim(acceptor, pb.ClaimItem(pledge=pb.PledgeClaim(pledge=shown)))


def check(world: World) -> None:
    """The invariants, from the log and its openings alone; then that the tables say the same."""
    running: dict[str, int] = {}
    windows: dict[int, dict[str, int]] = defaultdict(dict)
    seqs: dict[str, int] = defaultdict(int)
    holds: set[bytes] = set()
    for stored in world.clearing.ledger.entries(0, 1_000):
        entry = entries.decode(stored.body, origin=ORIGIN)
        kind = entries.kind(entry)
        if kind == "settlement":
            for name, moved in windows[entry.settlement.window].items():
                running[name] -= moved
        if kind == "heads":
            assert all(seqs[one.participant] == one.seq for one in entry.heads.last)
        if kind != "decision":
            continue
        decision = entry.decision
        for name, seq in (
            (decision.issuer, decision.issuer_seq),
            (decision.acceptor, decision.acceptor_seq),
        ):
            seqs[name] += 1
            assert seq == seqs[name], "numbers have no gap"
        if stored.opening is None:
            continue
        opening = entry_pb2.EntryOpening.FromString(stored.opening).decision
        entries.check_decision_opening(decision, opening)
        change = positions.effects(
            issuer=decision.issuer, acceptor=decision.acceptor, amounts=opening.amounts
        )
        running = positions.fold(running, change)
        windows[decision.window] = positions.fold(windows[decision.window], change)
        assert sum(running.values()) == 0, "positions sum to zero"
        assert opening.issuer_position.minor == running[decision.issuer]
        assert opening.acceptor_position.minor == running[decision.acceptor]
        if decision.outcome == entry_pb2.OUTCOME_COMMITTED:
            payer = decision.acceptor if decision.kind == 3 else decision.issuer
            assert running[payer] >= -CAP, "the payer stays within its cap"
            assert decision.cites.leaf_hash not in holds, "one hold, one commit"
            holds.add(decision.cites.leaf_hash)
    kept = world.positions()
    assert {name: minor for name, minor in running.items() if minor} == {
        name: minor for name, minor in kept.items() if minor
    }
    _check_totals(world, windows)


def _check_totals(world: World, windows: dict[int, dict[str, int]]) -> None:
    found: dict[int, dict[str, int]] = defaultdict(dict)
    for summary in _windows(world):
        assert sum(row.net.minor for row in summary.positions) == 0, "every window sums to zero"
        for row in summary.positions:
            if row.net.minor:
                found[summary.window][row.participant] = row.net.minor
    assert found == {
        number: moved
        for number, row in windows.items()
        if (moved := {name: minor for name, minor in row.items() if minor})
    }


def _windows(world: World) -> list[Any]:
    return summaries(world.clearing.store, before=0, limit=100)


@settings(max_examples=25)
@given(steps)
def test_positions_sum_to_zero_whatever_brands_do(story: list[tuple[str, int, int]]) -> None:
    async def play() -> None:
        played = Story()
        await played.begin()
        for step in story:
            await played.play(*step)
        check(played.world)

    asyncio.run(play())
