"""A delivery that clearing hears of too late is reversed; its acceptor takes back what it can."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy import Engine

from comity.clock import MINUTE
from comity.errors import AlreadyUsed, NotHeard, NotReversible, Unavailable
from comity.ledger.engine import open_engine
from comity.v1 import entry_pb2, member_pb2, merchant_pb2, peer_pb2
from comity.verify.database import database
from node.commands import AdjustPoints, UseVoucher
from node.driver import Job
from node.redemptions import Deliver, Exchange
from tests.redemption_world import GUEST, TILL, Node, NodeWorld, Shopper

DELIVERED = member_pb2.REDEMPTION_STATE_DELIVERED
PENDING = member_pb2.REDEMPTION_STATE_PENDING
CLAWBACK_POLICIES = ("debt", "within_balance")


@dataclass(slots=True)
class Late:
    """grocery issues, fuel accepts and is not heard by clearing when it reports."""

    world: NodeWorld
    grocery: Node
    fuel: Node
    account: str
    ended: list[str] = field(default_factory=list)

    @classmethod
    async def at(cls, world: NodeWorld, *, clawback: str = "debt") -> Late:
        grocery = await world.admit("grocery")
        fuel = await world.admit("fuel", clawback=clawback)
        await world.settled()
        await world.agree()
        await fuel.put_reward()
        one = cls(world, grocery, fuel, await grocery.enrol("alice", points=1_000))
        one.restarted()
        return one

    def restarted(self) -> None:
        self.fuel.lines["clearing"].deaf_to.add("Report")
        self.fuel.net.feed._ended = self.ended.append

    @property
    def alice(self) -> Shopper:
        return Shopper("alice", "grocery", self.fuel)

    async def overdue(self) -> None:
        """Clearing has waited long enough; everybody has its decision."""
        self.world.clock.now_us += 70 * MINUTE
        await self.world.clearing_world.clearing.sweep.round()
        await self.world.until(lambda: self.grocery.balance(self.account) == (1_000, 0))
        await self.world.until(lambda: self.row()["reversed_points"] == self.row()["points"])

    def row(self) -> dict[str, object]:
        (found,) = self.fuel.rows("redemptions")
        return found

    def stock(self) -> tuple[int, int]:
        (found,) = self.fuel.rows("rewards")
        return found["reserved"], found["delivered"]

    async def exchange(self, points: int) -> str:
        """Points of grocery's for points of fuel's; answers the account at fuel."""
        destination = await self.fuel.enrol("alice-at-fuel")
        quoted = await self.fuel.net.desk.get_quote(
            GUEST, member_pb2.GetQuoteRequest(issuer="grocery", acceptor_points=points)
        )
        request = self.alice.request(quoted, reward_id="", destination=destination)
        assert (await self.alice.redeem(request)).state == DELIVERED
        return destination

    def verified(self) -> None:
        for node in (self.grocery, self.fuel):
            report = database(str(node.engine.url))
            assert report.passed, [one for one in report.checks if not one.passed]


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[NodeWorld]:
    engines: list[Engine] = []

    def engine() -> Engine:
        engines.append(open_engine(f"sqlite:///{tmp_path / f'{len(engines)}.db'}"))
        return engines[-1]

    made = NodeWorld(engine)
    yield made
    await made.close()
    for one in engines:
        one.dispose()


async def test_an_unused_voucher_is_void_and_its_piece_is_in_stock_again(world: NodeWorld) -> None:
    late = await Late.at(world)
    redemption = await late.alice.buy()
    assert late.stock() == (0, 1)
    await late.overdue()
    assert [row["state"] for row in late.fuel.rows("vouchers")] == ["VOID"]
    assert late.stock() == (0, 0)
    assert late.ended == []
    with pytest.raises(AlreadyUsed, match="taken back"):
        await late.fuel.do(UseVoucher(caller="till:front", id="use-1", code=redemption.vouchers[0]))
    with pytest.raises(NotReversible):
        await late.fuel.net.desk.reverse_redemption(
            TILL,
            merchant_pb2.ReverseRedemptionRequest(
                id="back", redemption_id=redemption.redemption_id, reason_code="returned"
            ),
        )
    late.verified()


async def test_a_used_voucher_stays_used_and_is_counted_as_lost(world: NodeWorld) -> None:
    late = await Late.at(world)
    redemption = await late.alice.buy()
    await late.fuel.do(UseVoucher(caller="till:front", id="use-1", code=redemption.vouchers[0]))
    await late.overdue()
    assert [row["state"] for row in late.fuel.rows("vouchers")] == ["USED"]
    assert late.stock() == (0, 1)
    assert late.ended == ["LOST"]
    late.verified()


@pytest.mark.parametrize("clawback", CLAWBACK_POLICIES)
async def test_points_of_an_exchange_are_clawed_back(world: NodeWorld, clawback: str) -> None:
    late = await Late.at(world, clawback=clawback)
    destination = await late.exchange(200)
    await late.overdue()
    assert late.fuel.balance(destination) == (0, 0)
    assert late.fuel.kinds().count("clawback") == 1
    assert late.ended == []
    late.verified()


@pytest.mark.parametrize("clawback", CLAWBACK_POLICIES)
async def test_points_that_were_spent_are_owed_or_lost_as_the_programme_says(
    world: NodeWorld, clawback: str
) -> None:
    late = await Late.at(world, clawback=clawback)
    destination = await late.exchange(200)
    await late.fuel.do(
        AdjustPoints(
            caller="manager:ann", id="a1", account=destination, points=-150, reason_code="spent"
        )
    )
    await late.overdue()
    assert late.fuel.balance(destination) == (0, 0)
    owed = {
        row["account_class"]: row["points"]
        for row in late.fuel.rows("class_totals")
        if row["points"]
    }.get(entry_pb2.ACCOUNT_CLASS_DEBT, 0)
    assert abs(owed) == (150 if clawback == "debt" else 0)
    assert late.ended == ([] if clawback == "debt" else ["LOST"])
    late.verified()


@pytest.mark.parametrize("points", [0, 200], ids=["voucher", "exchange"])
async def test_what_was_reversed_before_its_delivery_is_not_delivered(
    world: NodeWorld, points: int
) -> None:
    late = await Late.at(world)
    line = late.fuel.lines["clearing"]
    line.lose_answers_of.add("Claim")
    destination = await late.fuel.enrol("alice-at-fuel")
    if points:
        quoted = await late.fuel.net.desk.get_quote(
            GUEST, member_pb2.GetQuoteRequest(issuer="grocery", acceptor_points=points)
        )
        redeem = late.alice.redeem(
            late.alice.request(quoted, reward_id="", destination=destination)
        )
    else:
        redeem = late.alice.buy()
    redemption = await redeem
    assert redemption.state == PENDING
    driver = late.fuel.net.desk._driver
    job = Job.of(late.row())
    (committed,) = await driver._resolve(job)
    request = peer_pb2.HoldRequest(quote=job.quote_bytes, mandate=job.signed)
    hold = await late.fuel.net.peers.holds("grocery").submit(request)
    line.cut = Unavailable("Only the feed is heard.")
    await asyncio.sleep(0)
    world.clock.now_us += 70 * MINUTE
    await world.clearing_world.clearing.sweep.round()
    line.cut = None
    line.deaf_to.update(("Claim", "Resolve"))
    await world.until(lambda: late.row()["reversed_points"] == late.row()["points"])
    assert late.row()["state"] == "RESERVED"

    deliver = Exchange if points else Deliver
    decided = driver._read_decision(job, committed)
    with pytest.raises(NotHeard, match="reversed"):
        await late.fuel.do(deliver(decided=decided, proof=committed, hold=hold))
    assert late.fuel.balance(destination) == (0, 0)
    assert late.fuel.rows("vouchers") == []

    line.deaf_to.clear()
    line.lose_answers_of.clear()
    await world.until(lambda: late.row()["state"] == "REVERSED")
    assert late.stock() == (0, 0)
    assert "delivery" not in late.fuel.kinds()
    late.verified()


async def test_hearing_of_it_again_takes_nothing_twice(world: NodeWorld) -> None:
    late = await Late.at(world, clawback="within_balance")
    destination = await late.exchange(200)
    await late.overdue()
    await late.fuel.do(
        AdjustPoints(
            caller="manager:ann", id="a1", account=destination, points=70, reason_code="goodwill"
        )
    )
    feed = late.fuel.net.feed
    await feed._carry_out(feed.leaves(0, 1_000))
    await late.fuel.stop()
    await late.fuel.start()
    await world.settled()
    assert late.fuel.balance(destination) == (70, 0)
    assert late.fuel.kinds().count("clawback") == 1
    late.verified()
