"""Reversals, exchanges, partner accruals, agreements and settlements between real brands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from comity.clock import DAY, MINUTE
from comity.errors import (
    AgreementInactive,
    Conflict,
    Forbidden,
    MandateRejected,
    NotReversible,
    Unavailable,
)
from comity.v1 import clearing_pb2, common_pb2, member_pb2, merchant_pb2, operator_pb2
from node.commands import AdjustPoints, UseVoucher
from tests.redemption_world import GUEST, MANAGER, TILL, Node, NodeWorld, Shopper, pair
from tests.store.clearing_world import terms

DELIVERED = member_pb2.REDEMPTION_STATE_DELIVERED
PENDING = member_pb2.REDEMPTION_STATE_PENDING
REVERSED = member_pb2.REDEMPTION_STATE_REVERSED
PARTLY = member_pb2.REDEMPTION_STATE_PARTLY_REVERSED
FAILED = member_pb2.REDEMPTION_STATE_FAILED


class Scene:
    """grocery issues, fuel accepts, alice shops."""

    world: NodeWorld
    grocery: Node
    fuel: Node
    alice: Shopper
    account: str

    async def give_back(
        self, redemption_id: str, cumulative: int = 0, request_id: str = "back-1"
    ) -> merchant_pb2.ReverseRedemptionResponse:
        return await self.fuel.net.desk.reverse_redemption(
            TILL,
            merchant_pb2.ReverseRedemptionRequest(
                id=request_id,
                redemption_id=redemption_id,
                cumulative_points=cumulative,
                reason_code="returned",
            ),
        )

    async def until_balance(self, available: int) -> None:
        await self.world.until(lambda: self.grocery.balance(self.account) == (available, 0))


@pytest_asyncio.fixture
async def scene() -> AsyncIterator[Scene]:
    one = Scene()
    one.world, one.grocery, one.fuel, one.alice, one.account = await pair()
    yield one
    await one.world.close()


# --- reversal -------------------------------------------------------------------------------


async def test_what_is_taken_back_whole_gives_the_points_back(scene: Scene) -> None:
    redemption = await scene.alice.buy()
    answer = await scene.give_back(redemption.redemption_id)
    assert (answer.state, answer.reversed_points) == (REVERSED, 100)
    await scene.until_balance(1_000)
    assert [row["state"] for row in scene.fuel.rows("vouchers")] == ["VOID"]
    assert scene.world.clearing_world.positions().get("grocery", 0) == 0


async def test_parts_taken_back_come_to_the_whole(scene: Scene) -> None:
    redemption = await scene.alice.buy()
    first = await scene.give_back(redemption.redemption_id, 30, "part-1")
    assert (first.state, first.reversed_points) == (PARTLY, 30)
    again = await scene.give_back(redemption.redemption_id, 30, "part-1")
    assert again == first
    second = await scene.give_back(redemption.redemption_id, 100, "part-2")
    assert (second.state, second.reversed_points) == (REVERSED, 100)
    await scene.until_balance(1_000)
    assert scene.grocery.kinds().count("restore") == 2
    assert scene.world.clearing_world.positions().get("fuel", 0) == 0
    with pytest.raises(NotReversible):
        await scene.give_back(redemption.redemption_id, 100, "part-3")


async def test_restored_points_keep_the_expiry_of_their_lots() -> None:
    world = NodeWorld()
    grocery = await world.admit("grocery", expiry={"days": 30})
    fuel = await world.admit("fuel")
    await world.settled()
    await world.agree(deliver_within_us=20 * DAY)
    account = await grocery.enrol("alice", points=60)
    before = grocery.rows("lots")
    world.clock.now_us += 3 * DAY
    await grocery.do(
        AdjustPoints(
            caller="manager:ann", id="a1", account=account, points=50, reason_code="goodwill"
        )
    )
    await fuel.put_reward()
    redemption = await Shopper("alice", "grocery", fuel).buy()
    assert redemption.state == DELIVERED
    await world.until(lambda: grocery.balance(account) == (10, 0))
    world.clock.now_us += 3 * DAY
    scene = Scene()
    scene.world, scene.grocery, scene.fuel, scene.account = world, grocery, fuel, account
    await scene.give_back(redemption.redemption_id, 70)
    await scene.until_balance(80)
    lots = {row["lot"]: row for row in grocery.rows("lots")}
    first = lots[before[0]["lot"]]
    assert first["expires_at_us"] == before[0]["expires_at_us"]
    assert first["available"] == 30, "the lot which gave first gets back last"
    await world.close()


async def test_goods_of_a_used_voucher_can_come_back(scene: Scene) -> None:
    redemption = await scene.alice.buy()
    await scene.fuel.do(UseVoucher(caller="till:front", id="use-1", code=redemption.vouchers[0]))
    answer = await scene.give_back(redemption.redemption_id)
    assert answer.state == REVERSED
    assert [row["state"] for row in scene.fuel.rows("vouchers")] == ["USED"]


async def test_only_what_was_delivered_is_taken_back(scene: Scene) -> None:
    with pytest.raises(NotReversible):
        await scene.give_back("rdm_" + "0" * 32)


async def test_a_return_unanswered_at_a_crash_is_claimed_at_the_next_start(scene: Scene) -> None:
    redemption = await scene.alice.buy()
    await scene.world.settled()
    line = scene.fuel.lines["clearing"]
    line.cut = Unavailable("The network is down.")
    answer = await scene.give_back(redemption.redemption_id)
    assert answer.state == PENDING
    await scene.fuel.stop()
    line.cut = None
    await scene.fuel.start()
    await scene.until_balance(1_000)


async def test_an_undelivered_redemption_is_reversed_whole(scene: Scene) -> None:
    line = scene.fuel.lines["clearing"]
    line.lose_answers_of.add("Claim")
    redemption = await scene.alice.buy()
    assert redemption.state == PENDING
    await scene.until_balance(900)
    await scene.fuel.stop()
    scene.world.clock.now_us += 70 * MINUTE
    await scene.world.clearing_world.clearing.sweep.round()
    await scene.until_balance(1_000)

    line.lose_answers_of.clear()
    await scene.fuel.start()

    def state() -> str:
        (row,) = scene.fuel.rows("redemptions")
        return str(row["state"])

    await scene.world.until(lambda: state() == "REVERSED")
    assert scene.fuel.rows("vouchers") == []
    assert scene.fuel.rows("rewards")[0]["reserved"] == 0


# --- exchange -------------------------------------------------------------------------------


async def exchange(scene: Scene, points: int = 200) -> tuple[str, member_pb2.Redemption]:
    destination = await scene.fuel.enrol("alice-at-fuel")
    quoted = await scene.fuel.net.desk.get_quote(
        GUEST, member_pb2.GetQuoteRequest(issuer="grocery", acceptor_points=points)
    )
    request = scene.alice.request(quoted, reward_id="", destination=destination)
    return destination, await scene.alice.redeem(request)


async def test_points_of_one_brand_become_points_of_another(scene: Scene) -> None:
    destination, redemption = await exchange(scene)
    assert redemption.state == DELIVERED, redemption
    assert not redemption.vouchers
    assert scene.fuel.balance(destination) == (200, 0)
    await scene.until_balance(800)
    assert any(
        row["account_class"] == 8 and row["points"] == 200
        for row in scene.grocery.rows("class_totals")
    )


async def test_an_exchange_to_another_account_than_the_mandates_is_refused(scene: Scene) -> None:
    destination = await scene.fuel.enrol("alice-at-fuel")
    thief = await scene.fuel.enrol("mallory-at-fuel")
    quoted = await scene.fuel.net.desk.get_quote(
        GUEST, member_pb2.GetQuoteRequest(issuer="grocery", acceptor_points=200)
    )
    request = scene.alice.request(quoted, reward_id="", destination=destination)
    request.destination_account = thief
    with pytest.raises(MandateRejected):
        await scene.alice.redeem(request)


async def test_an_exchange_is_taken_back_from_the_points_it_gave(scene: Scene) -> None:
    destination, redemption = await exchange(scene)
    answer = await scene.give_back(redemption.redemption_id)
    assert answer.state == REVERSED
    assert scene.fuel.balance(destination) == (0, 0)
    await scene.until_balance(1_000)


async def test_an_exchange_whose_points_are_gone_is_not_taken_back(scene: Scene) -> None:
    destination, redemption = await exchange(scene)
    await scene.fuel.do(
        AdjustPoints(
            caller="manager:ann", id="a1", account=destination, points=-150, reason_code="spent"
        )
    )
    with pytest.raises(NotReversible):
        await scene.give_back(redemption.redemption_id)
    assert scene.fuel.balance(destination) == (50, 0)


# --- partner accrual ------------------------------------------------------------------------


async def partner_purchase(
    scene: Scene, purchase_id: str = "sale-1", account: str = ""
) -> merchant_pb2.RecordPartnerPurchaseResponse:
    return await scene.fuel.net.desk.record_partner_purchase(
        TILL,
        merchant_pb2.RecordPartnerPurchaseRequest(
            purchase_id=purchase_id,
            issuer="grocery",
            account=account or scene.account,
            amount=common_pb2.Money(currency="EUR", minor=250),
        ),
    )


async def test_a_partners_purchase_earns_points_that_the_partner_pays(scene: Scene) -> None:
    answer = await partner_purchase(scene)
    assert (answer.state, answer.points) == (DELIVERED, 250)
    await scene.until_balance(1_250)
    again = await partner_purchase(scene)
    assert again == answer
    positions = scene.world.clearing_world.positions()
    assert (positions["grocery"], positions["fuel"]) == (250, -250)
    assert scene.grocery.kinds().count("accrual") == 2


async def test_a_pledge_for_nobody_is_aborted_and_costs_nothing(scene: Scene) -> None:
    answer = await partner_purchase(scene, account="acc_" + "0" * 32)
    assert answer.state == FAILED
    assert scene.world.clearing_world.positions().get("fuel", 0) == 0


async def test_a_decision_before_the_notice_waits_for_it(scene: Scene) -> None:
    line = scene.fuel.lines.setdefault("grocery", scene.fuel.line("grocery"))
    line.lose_answers_of.add("DeliverPledges")
    answer = await partner_purchase(scene)
    assert answer.state == PENDING
    line.lose_answers_of.clear()
    await scene.until_balance(1_250)


# --- agreements -----------------------------------------------------------------------------


async def test_terms_nobody_accepted_price_nothing(scene: Scene) -> None:
    await scene.fuel.net.desk.propose_agreement(
        MANAGER,
        merchant_pb2.ProposeAgreementRequest(
            id="p1",
            terms=terms(agreement_id="agr_fuel-grocery", issuer="fuel", acceptor="grocery"),
        ),
    )
    await scene.grocery.put_reward("bread", price=5)
    with pytest.raises(AgreementInactive):
        await Shopper("bob", "fuel", scene.grocery).quote("bread")
    listed = await scene.grocery.net.desk.list_brand_agreements(
        MANAGER, merchant_pb2.ListBrandAgreementsRequest()
    )
    states = {one.terms.agreement_id: one.state for one in listed.agreements}
    assert states == {"agr_grocery-fuel": "ACTIVE", "agr_fuel-grocery": "OFFERED"}


async def test_a_brand_proposes_only_its_own_agreements(scene: Scene) -> None:
    with pytest.raises(Forbidden):
        await scene.fuel.net.desk.propose_agreement(
            MANAGER,
            merchant_pb2.ProposeAgreementRequest(
                id="p1", terms=terms(agreement_id="agr_x", issuer="books", acceptor="grocery")
            ),
        )


async def test_a_new_version_takes_over_and_old_quotes_are_still_honoured(scene: Scene) -> None:
    old = await scene.alice.quote()
    scene.world.clock.now_us += MINUTE
    await scene.world.agree(
        version=2, price=common_pb2.Ratio(numerator=2, denominator=1), valid_from_us=0
    )
    new = await scene.alice.quote()
    assert (old.amount.minor, new.amount.minor) == (100, 200)
    assert (await scene.alice.redeem(scene.alice.request(old))).state == DELIVERED
    assert (await scene.alice.redeem(scene.alice.request(new))).state == DELIVERED
    assert not scene.grocery.alarms


async def test_a_terminated_agreement_prices_nothing_any_more(scene: Scene) -> None:
    scene.world.clock.now_us += MINUTE
    await scene.fuel.net.desk.terminate_agreement(
        MANAGER,
        merchant_pb2.TerminateAgreementRequest(id="t1", agreement_id="agr_grocery-fuel", version=1),
    )
    await scene.world.settled()
    scene.world.clock.now_us += MINUTE
    with pytest.raises(AgreementInactive):
        await scene.alice.quote()
    with pytest.raises(Conflict):
        await scene.fuel.net.desk.accept_agreement(
            MANAGER,
            merchant_pb2.AcceptAgreementRequest(
                id="a9", agreement_id="agr_grocery-fuel", version=1
            ),
        )


# --- settlement -----------------------------------------------------------------------------


async def close_and_settle(scene: Scene) -> None:
    operator = scene.world.clearing_world.operator
    for node in (scene.grocery, scene.fuel):
        await node.net.peers.pulse()
    await operator.CloseWindow(operator_pb2.CloseWindowRequest(id="close-1", window=1))
    await operator.SettleWindow(operator_pb2.SettleWindowRequest(id="settle-1", window=1))


def settlement(node: Node) -> str:
    return ",".join(str(row["state"]) for row in node.rows("settlements"))


async def test_brands_acknowledge_a_settlement_that_agrees_with_their_books(scene: Scene) -> None:
    redemption = await scene.alice.buy()
    await scene.alice.buy()
    await partner_purchase(scene)
    await scene.give_back(redemption.redemption_id, 30)
    await scene.world.settled()
    await close_and_settle(scene)
    await scene.world.until(lambda: settlement(scene.grocery) == "ANSWERED")
    await scene.world.until(lambda: settlement(scene.fuel) == "ANSWERED")
    assert "ack" in scene.grocery.kinds()
    assert "protest" not in scene.grocery.kinds() + scene.fuel.kinds()
    found = await scene.grocery.net.desk.get_window_statement(
        MANAGER, merchant_pb2.GetWindowStatementRequest(window=1)
    )
    (own,), (theirs,) = found.own.totals, found.clearing.totals
    assert own == theirs


async def test_a_brand_protests_a_table_that_is_not_its_book(scene: Scene) -> None:
    await scene.alice.buy()
    await scene.world.settled()

    def cheat(answer: clearing_pb2.ReadWindowResponse) -> clearing_pb2.ReadWindowResponse:
        answer.statement.settlement.positions[0].net.minor += 1
        return answer

    scene.fuel.lines["clearing"].tamper["ReadWindow"] = cheat
    await close_and_settle(scene)
    await scene.world.until(lambda: settlement(scene.fuel) == "ANSWERED")
    assert "protest" in scene.fuel.kinds()
    assert scene.fuel.alarms


# --- many at once ---------------------------------------------------------------------------


async def test_many_redemptions_at_once_share_batches(scene: Scene) -> None:
    quotes: list[Any] = [await scene.alice.quote("coffee") for _ in range(10)]
    line = scene.fuel.line("grocery")
    before = line.calls.count("PlaceHolds")
    results = await asyncio.gather(
        *(scene.alice.redeem(scene.alice.request(one)) for one in quotes)
    )
    assert {one.state for one in results} == {DELIVERED}
    assert line.calls.count("PlaceHolds") - before < 10
    await scene.until_balance(0)
