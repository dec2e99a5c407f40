"""A sale to another brand's member is refunded: points and money go back, to whom it was agreed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy import Engine

from comity.errors import (
    Conflict,
    Forbidden,
    Malformed,
    NotFound,
    NotHeard,
    NotReversible,
    Unavailable,
)
from comity.ledger.engine import open_engine
from comity.v1 import (
    clearing_pb2,
    common_pb2,
    entry_pb2,
    member_pb2,
    merchant_pb2,
    peer_pb2,
)
from comity.verify.database import database
from node import decided as decisions
from node.commands import AdjustPoints, EraseMember
from node.pledges import SettlePledge
from tests.redemption_world import TILL, Node, NodeWorld

DELIVERED = member_pb2.REDEMPTION_STATE_DELIVERED
PENDING = member_pb2.REDEMPTION_STATE_PENDING
PARTLY = member_pb2.REDEMPTION_STATE_PARTLY_REVERSED
REVERSED = member_pb2.REDEMPTION_STATE_REVERSED
SOLD = 250

Answer = merchant_pb2.RefundPartnerPurchaseResponse


@dataclass(slots=True)
class Sale:
    """fuel sells to alice, who earns at grocery; fuel pays."""

    world: NodeWorld
    grocery: Node
    fuel: Node
    account: str

    async def sell(self, minor: int = SOLD) -> merchant_pb2.RecordPartnerPurchaseResponse:
        return await self.fuel.net.desk.record_partner_purchase(
            TILL,
            merchant_pb2.RecordPartnerPurchaseRequest(
                purchase_id="sale-1",
                issuer="grocery",
                account=self.account,
                amount=common_pb2.Money(currency="EUR", minor=minor),
            ),
        )

    async def refund(self, minor: int, request_id: str = "", currency: str = "EUR") -> Answer:
        return await self.fuel.net.desk.refund_partner_purchase(
            TILL,
            merchant_pb2.RefundPartnerPurchaseRequest(
                id=request_id or f"refund-{minor}",
                purchase_id="sale-1",
                cumulative=common_pb2.Money(currency=currency, minor=minor),
            ),
        )

    async def spend(self, points: int, name: str = "spent") -> None:
        await self.grocery.do(
            AdjustPoints(
                caller="manager:ann",
                id=name,
                account=self.account,
                points=-points,
                reason_code="spent",
            )
        )

    async def balance(self, available: int) -> None:
        await self.world.until(lambda: self.grocery.balance(self.account) == (available, 0))

    def owed(self) -> int:
        """What the member owes grocery."""
        rows = self.grocery.rows("class_totals")
        debt = int(entry_pb2.ACCOUNT_CLASS_DEBT)
        return abs(sum(int(row["points"]) for row in rows if row["account_class"] == debt))

    def paid(self) -> int:
        """What fuel pays grocery, as clearing sees it."""
        return -int(self.world.clearing_world.positions().get("fuel", 0))

    async def restart(self, node: Node) -> None:
        await node.stop()
        await node.start()

    async def verified(self) -> None:
        """Both brands' databases follow from their logs, once everything has arrived."""

        def arrived() -> bool:
            (pledge,) = self.fuel.rows("pledges")
            (notice,) = self.grocery.rows("notices")
            told = [row for row in self.fuel.rows("returns") if row["state"] == "REVERSED"]
            back = max((row["cumulative_points"] for row in told), default=0)
            return bool(pledge["recovered_points"] == notice["reversed_points"] == back)

        await self.world.until(arrived)
        await self.world.settled()
        for node in (self.grocery, self.fuel):
            report = database(str(node.engine.url))
            assert report.passed, [one for one in report.checks if not one.passed]
            assert not node.alarms, node.alarms


Make = Callable[..., Awaitable[Sale]]


@pytest_asyncio.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    engines: list[Engine] = []

    def engine() -> Engine:
        engines.append(open_engine(f"sqlite:///{tmp_path / f'{len(engines)}.db'}"))
        return engines[-1]

    world = NodeWorld(engine)

    async def made(*, clawback: str = "debt", points: int = 0, **terms: object) -> Sale:
        grocery = await world.admit("grocery", clawback=clawback)
        fuel = await world.admit("fuel")
        await world.settled()
        await world.agree(**terms)
        return Sale(world, grocery, fuel, await grocery.enrol("alice", points=points))

    yield made
    await world.close()
    for one in engines:
        one.dispose()


# --- the plain case -------------------------------------------------------------------------


async def test_a_whole_refund_is_as_if_nothing_was_sold(make: Make) -> None:
    sale = await make(points=40)
    sold = await sale.sell()
    await sale.balance(290)
    answer = await sale.refund(SOLD)
    assert answer == Answer(redemption_id=sold.redemption_id, state=REVERSED, reversed_points=SOLD)
    await sale.balance(40)
    assert sale.paid() == 0
    assert sale.grocery.kinds().count("clawback") == 1
    await sale.verified()


async def test_parts_of_a_refund_come_to_the_whole(make: Make) -> None:
    price = common_pb2.Ratio(numerator=1, denominator=3)
    sale = await make(price=price, fee_basis_points=150)
    await sale.sell()
    await sale.balance(SOLD)
    for part, state in ((1, PARTLY), (100, PARTLY), (249, PARTLY), (SOLD, REVERSED)):
        answer = await sale.refund(part)
        assert (answer.state, answer.reversed_points) == (state, part)
    await sale.balance(0)
    positions = sale.world.clearing_world.positions()
    assert not any(positions.values())
    assert sale.fuel.kinds().count("returned") == 4
    await sale.verified()


@pytest.mark.parametrize(
    ("rounding", "points"),
    [(common_pb2.ROUNDING_DOWN, 0), (common_pb2.ROUNDING_UP, 1)],
    ids=["down", "up"],
)
async def test_points_of_a_part_are_rounded_as_the_agreement_says(
    make: Make, rounding: common_pb2.Rounding.ValueType, points: int
) -> None:
    conversion = common_pb2.Ratio(numerator=1, denominator=10)
    sale = await make(conversion=conversion, points_rounding=rounding, minimum_points=1)
    assert (await sale.sell(200)).points == 20
    await sale.balance(20)
    answer = await sale.refund(7)
    assert answer.reversed_points == points
    assert answer.state == (PARTLY if points else DELIVERED)
    assert (await sale.refund(200)).reversed_points == 20
    await sale.balance(0)
    await sale.verified()


# --- twice, late, too much ------------------------------------------------------------------


async def test_a_refund_repeated_takes_nothing_twice(make: Make) -> None:
    sale = await make()
    await sale.sell()
    first = await sale.refund(100)
    assert await sale.refund(100) == first
    assert await sale.refund(100, "from-another-till") == first
    with pytest.raises(Conflict):
        await sale.refund(101, "refund-100")
    await sale.balance(150)
    assert sale.fuel.kinds().count("returned") == 1
    await sale.verified()


async def test_a_smaller_total_that_comes_late_is_part_of_what_was_refunded(make: Make) -> None:
    sale = await make()
    await sale.sell()
    await sale.refund(200)
    late = await sale.refund(50)
    assert (late.state, late.reversed_points) == (PARTLY, 200)
    await sale.balance(50)
    assert sale.fuel.rows("pledges")[0]["refunded_minor"] == 200
    await sale.verified()


async def test_what_was_not_sold_so_is_not_refunded(make: Make) -> None:
    sale = await make()
    with pytest.raises(NotFound, match="partner sale"):
        await sale.refund(10, "before")
    await sale.sell()
    for minor, currency, error in (
        (SOLD + 1, "EUR", NotReversible),
        (10, "USD", Malformed),
        (0, "EUR", Malformed),
        (-5, "EUR", Malformed),
    ):
        with pytest.raises(error):
            await sale.refund(minor, f"wrong-{minor}-{currency}", currency)
    await sale.balance(SOLD)
    assert sale.fuel.rows("returns") == []
    await sale.verified()


async def test_a_sale_that_earned_nothing_has_nothing_to_refund(make: Make) -> None:
    sale = await make()
    sale.account = "acc_" + "0" * 32
    await sale.sell()
    with pytest.raises(NotReversible, match="earned no points"):
        await sale.refund(SOLD)


async def test_a_sale_recorded_by_a_release_that_kept_no_amount_is_refused(make: Make) -> None:
    sale = await make()
    await sale.sell()
    with sale.fuel.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE pledges SET amount_minor = 0, currency = ''")
    with pytest.raises(NotReversible, match="earlier release"):
        await sale.refund(SOLD)


# --- what is under way ----------------------------------------------------------------------


async def test_a_sale_not_decided_yet_is_refunded_by_the_same_request_later(make: Make) -> None:
    sale = await make()
    sale.fuel.lines["clearing"].cut = Unavailable("The network is down.")
    assert (await sale.sell()).state == PENDING
    with pytest.raises(NotHeard, match="not decided"):
        await sale.refund(100)
    sale.fuel.lines["clearing"].cut = None
    await sale.balance(SOLD)
    await sale.world.until(lambda: sale.fuel.rows("pledges")[0]["state"] == "COMMITTED")
    assert (await sale.refund(100)).reversed_points == 100
    await sale.balance(150)
    await sale.verified()


async def test_a_refund_unanswered_at_a_crash_is_claimed_at_the_next_start(make: Make) -> None:
    sale = await make()
    await sale.sell()
    await sale.balance(SOLD)
    await sale.world.settled()
    sale.fuel.lines["clearing"].cut = Unavailable("The network is down.")
    assert (await sale.refund(100)).state == PENDING
    assert (await sale.refund(100)).state == PENDING
    with pytest.raises(NotHeard, match="earlier refund"):
        await sale.refund(200)
    await sale.fuel.stop()
    sale.fuel.lines["clearing"].cut = None
    await sale.fuel.start()
    await sale.balance(150)
    await sale.world.until(lambda: sale.fuel.rows("returns")[0]["state"] == "REVERSED")
    assert (await sale.refund(200)).reversed_points == 200
    await sale.balance(50)
    await sale.verified()


async def test_an_issuer_that_was_away_takes_the_points_back_when_it_is_there(make: Make) -> None:
    sale = await make()
    await sale.sell()
    await sale.balance(SOLD)
    await sale.grocery.stop()
    assert (await sale.refund(100)).reversed_points == 100
    assert (await sale.refund(SOLD)).state == REVERSED
    await sale.grocery.start()
    await sale.balance(0)
    await sale.verified()


async def test_a_reversal_before_the_notice_is_carried_out_with_it(make: Make) -> None:
    sale = await make()
    line = sale.fuel.line("grocery")
    line.deaf_to.add("DeliverPledges")
    assert (await sale.sell()).state == PENDING
    (row,) = sale.fuel.rows("pledges")
    peers = sale.fuel.net.peers
    (statement,) = await peers.prove([row["index"]])
    claim = clearing_pb2.PledgeClaim(pledge=statement)
    shown = await peers.claims.submit(clearing_pb2.ClaimItem(pledge=claim))
    proven = peers.see(shown.decision, peers.clearing_origin)
    decided = decisions.read(proven.entry, proven.citation, shown.opening)
    await sale.fuel.do(SettlePledge(redemption_id=row["redemption_id"], decided=decided))
    assert (await sale.refund(100)).reversed_points == 100
    reversed_ = [100]
    await sale.world.until(
        lambda: [row["reversed_points"] for row in sale.grocery.rows("notices")] == reversed_
    )
    assert sale.grocery.balance(sale.account) == (0, 0)
    line.deaf_to.clear()
    await sale.balance(150)
    assert sale.grocery.kinds().count("clawback") == 1
    await sale.verified()


async def test_hearing_of_a_reversal_again_takes_nothing_twice(make: Make) -> None:
    sale = await make(points=500)
    await sale.sell()
    await sale.balance(750)
    await sale.refund(100)
    await sale.balance(650)
    for node in (sale.grocery, sale.fuel):
        feed = node.net.feed
        await feed._carry_out(feed.leaves(0, 1_000))
        await sale.restart(node)
    await sale.balance(650)
    await sale.refund(SOLD)
    await sale.balance(500)
    assert sale.grocery.kinds().count("clawback") == 2
    await sale.verified()


# --- what the member has spent --------------------------------------------------------------


@pytest.mark.parametrize(
    ("clawback", "left", "owed"),
    [("debt", 0, 200), ("within_balance", 0, 0), ("pending_only", 50, 0)],
)
async def test_points_that_were_spent_go_as_the_issuers_programme_says(
    make: Make, clawback: str, left: int, owed: int
) -> None:
    sale = await make(clawback=clawback)
    await sale.sell()
    await sale.balance(SOLD)
    await sale.spend(200)
    answer = await sale.refund(SOLD)
    assert (answer.state, answer.reversed_points, answer.unrecovered_points) == (REVERSED, SOLD, 0)
    await sale.world.until(lambda: sale.grocery.rows("notices")[0]["reversed_points"] == SOLD)
    assert sale.grocery.balance(sale.account) == (left, 0)
    assert sale.owed() == owed
    assert sale.paid() == 0
    await sale.verified()


@pytest.mark.parametrize(
    ("clawback", "left", "owed", "recovered", "state"),
    [
        ("debt", 0, 200, SOLD, REVERSED),
        ("within_balance", 0, 0, 50, PARTLY),
        ("pending_only", 50, 0, 0, DELIVERED),
    ],
)
async def test_a_partner_that_bears_what_is_gone_pays_for_it(
    make: Make,
    clawback: str,
    left: int,
    owed: int,
    recovered: int,
    state: member_pb2.RedemptionState.ValueType,
) -> None:
    sale = await make(clawback=clawback, partner_bears_unrecoverable=True)
    await sale.sell()
    await sale.balance(SOLD)
    await sale.spend(200)
    answer = await sale.refund(SOLD)
    assert (answer.state, answer.reversed_points) == (state, recovered)
    assert answer.unrecovered_points == SOLD - recovered
    assert await sale.refund(SOLD) == answer
    assert sale.grocery.balance(sale.account) == (left, 0)
    assert sale.owed() == owed
    assert sale.paid() == SOLD - recovered
    await sale.verified()


async def test_parts_are_borne_one_by_one(make: Make) -> None:
    sale = await make(clawback="within_balance", partner_bears_unrecoverable=True)
    await sale.sell()
    await sale.balance(SOLD)
    await sale.spend(200)
    first = await sale.refund(100)
    assert (first.reversed_points, first.unrecovered_points) == (50, 50)
    await sale.grocery.do(
        AdjustPoints(
            caller="manager:ann", id="g", account=sale.account, points=30, reason_code="goodwill"
        )
    )
    whole = await sale.refund(SOLD)
    assert (whole.reversed_points, whole.unrecovered_points) == (80, 170)
    assert sale.paid() == 170
    await sale.verified()


async def test_an_issuer_that_must_be_asked_first_delays_the_refund_and_loses_nothing(
    make: Make,
) -> None:
    sale = await make(clawback="within_balance", partner_bears_unrecoverable=True)
    await sale.sell()
    await sale.balance(SOLD)
    await sale.spend(200)
    line = sale.fuel.lines["grocery"]
    line.lose_answers_of.add("DeliverPledges")
    assert (await sale.refund(SOLD)).state == PENDING
    await sale.fuel.stop()
    await sale.restart(sale.grocery)
    line.lose_answers_of.clear()
    await sale.fuel.start()
    await sale.world.until(lambda: sale.paid() == 200)
    await sale.balance(0)
    answer = await sale.refund(SOLD)
    assert (answer.state, answer.unrecovered_points) == (PARTLY, 200)
    assert sale.grocery.kinds().count("clawback") == 1
    await sale.verified()


@pytest.mark.parametrize("bears", [False, True], ids=["issuer", "partner"])
async def test_points_that_ended_with_an_erased_member_are_no_loss(make: Make, bears: bool) -> None:
    sale = await make(partner_bears_unrecoverable=bears)
    await sale.sell()
    await sale.balance(SOLD)
    await sale.spend(200)
    await sale.grocery.do(EraseMember(caller="manager:ann", id="gone", account=sale.account))
    answer = await sale.refund(SOLD)
    assert answer.unrecovered_points == (200 if bears else 0)
    assert sale.paid() == answer.unrecovered_points
    assert sale.owed() == 0
    await sale.verified()


async def test_a_partner_takes_back_first_only_where_that_was_agreed(make: Make) -> None:
    sale = await make()
    await sale.sell()
    await sale.balance(SOLD)
    (row,) = sale.fuel.rows("pledges")
    (statement,) = await sale.fuel.net.peers.prove([row["index"]])
    notice = peer_pb2.PledgeNotice(
        pledge=statement, account=row["account"], salt=row["salt"], refund_points=10
    )
    with pytest.raises(Forbidden):
        await sale.fuel.net.peers.notices("grocery").submit(notice)
    assert sale.grocery.balance(sale.account) == (SOLD, 0)


async def test_nobody_asks_back_more_than_was_pledged(make: Make) -> None:
    sale = await make(partner_bears_unrecoverable=True)
    await sale.sell()
    await sale.balance(SOLD)
    (row,) = sale.fuel.rows("pledges")
    (statement,) = await sale.fuel.net.peers.prove([row["index"]])
    notice = peer_pb2.PledgeNotice(
        pledge=statement, account=row["account"], salt=row["salt"], refund_points=SOLD + 1
    )
    with pytest.raises(NotReversible):
        await sale.fuel.net.peers.notices("grocery").submit(notice)
    assert sale.grocery.balance(sale.account) == (SOLD, 0)


@pytest.mark.parametrize("told", [0, -1, SOLD + 1], ids=["less", "negative", "more"])
async def test_an_issuer_that_answers_nonsense_is_not_believed(make: Make, told: int) -> None:
    sale = await make(partner_bears_unrecoverable=True)
    await sale.sell()
    await sale.balance(SOLD)
    await sale.refund(100)
    line = sale.fuel.lines["grocery"]

    def lie(answer: peer_pb2.DeliverPledgesResponse) -> peer_pb2.DeliverPledgesResponse:
        answer.results[0].recovered_points = told
        return answer

    line.tamper["DeliverPledges"] = lie
    assert (await sale.refund(SOLD)).state == PENDING
    await sale.world.until(lambda: bool(sale.fuel.alarms))
    assert sale.fuel.rows("pledges")[0]["recovered_points"] == 100
    line.tamper.clear()
    sale.fuel.alarms.clear()
    assert (await sale.refund(SOLD)).state == REVERSED
    assert sale.paid() == 0
    await sale.verified()
