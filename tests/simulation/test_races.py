"""Many at once: what there is goes out once, and an id means one thing for ever."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from comity.errors import (
    ComityError,
    Conflict,
    Forbidden,
    InsufficientPoints,
    MandateRejected,
    OutOfStock,
)
from comity.ledger import entries
from comity.v1 import clearing_pb2, entry_pb2, member_pb2
from tests.simulation.people import Member, Wanted, euro
from tests.world import COFFEE, World, play, reward

DELIVERED = member_pb2.REDEMPTION_STATE_DELIVERED
FAILED = member_pb2.REDEMPTION_STATE_FAILED


async def _redeemed(member: Member, wanted: Wanted) -> tuple[str, int]:
    """How a redemption ended: the code of the refusal or nothing, and the points spent."""
    try:
        shown = await member.redeem(wanted)
    except ComityError as refusal:
        return refusal.code, 0
    if shown.state == DELIVERED:
        return "", shown.points
    return shown.failure.code, 0


def test_fifty_redemptions_against_a_hundred_points_spend_exactly_a_hundred() -> None:
    async def story(world: World) -> None:
        alice = await world.enrol("grocery", "alice", points=100)
        # Three points of fuel's, or five of grocery's at seven for five, rounded up.
        gum = reward("gum", price=3, stock=-1)
        await world.managers["fuel"].client.put_reward(id="gum", reward=gum)
        wanted = [await alice.want_reward("fuel", "gum") for _ in range(50)]
        ended = await asyncio.gather(*(_redeemed(alice, one) for one in wanted))
        assert sum(points for _, points in ended) == 100
        assert Counter(code for code, _ in ended) == {"": 20, InsufficientPoints.code: 30}
        await world.finish()
        balance = await alice.balance()
        assert (balance.available, balance.held) == (0, 0)

    play(story)


def test_the_last_piece_goes_to_one() -> None:
    async def story(world: World) -> None:
        manager = world.managers["fuel"].client
        await manager.put_reward(id="lamp", reward=reward("lamp", price=10, stock=1))
        members = [await world.enrol("grocery", f"member{n}", points=100) for n in range(5)]
        wanted = [await member.want_reward("fuel", "lamp") for member in members]
        ended = await asyncio.gather(
            *(_redeemed(*pair) for pair in zip(members, wanted, strict=True))
        )
        assert Counter(code for code, _ in ended) == {"": 1, OutOfStock.code: 4}
        await world.finish()

    play(story)


def test_the_same_id_at_the_same_time_is_done_once() -> None:
    async def story(world: World) -> None:
        alice = await world.enrol("grocery", "alice")
        till = world.tills["grocery"]
        sale = alice.purchase("sale", 300)
        results = await asyncio.gather(*(till.record(sale) for _ in range(20)))
        assert {(one.points, one.index) for one in results} == {(300, results[0].index)}
        wanted = await alice.want_reward("fuel", COFFEE)
        shown = await asyncio.gather(*(alice.redeem(wanted) for _ in range(10)))
        assert len({tuple(one.vouchers) for one in shown}) == 1
        assert (await alice.balance()).available == 300 - wanted.quote.points
        await world.finish()

    play(story)


def test_the_same_id_with_other_content_is_a_conflict_that_names_the_field() -> None:
    async def story(world: World) -> None:
        alice = await world.enrol("grocery", "alice")
        till = world.tills["grocery"]
        sales = [alice.purchase("sale", 100 + n) for n in range(10)]
        results = await asyncio.gather(*(till.record(sale) for sale in sales))
        refused = [one.failure for one in results if one.failure.code]
        assert len(refused) == 9
        assert {(one.code, one.field) for one in refused} == {(Conflict.code, "amount.minor")}
        wanted = await alice.want_reward("fuel", COFFEE)
        mandate = entry_pb2.Mandate.FromString(wanted.request.mandate.mandate)
        quoted = member_pb2.GetQuoteResponse(
            quote=wanted.request.quote,
            seal=wanted.request.seal,
            pickup_key=wanted.request.pickup_key,
            reward_salt=wanted.request.reward_salt,
        )
        other = alice.sign(
            quoted, reward_id=COFFEE, quantity=1, not_after_us=mandate.not_after_us + 1
        )
        await alice.redeem(wanted)
        with pytest.raises(Conflict) as caught:
            await alice.redeem(other)
        assert caught.value.field == "mandate"
        await world.finish()

    play(story)


def test_an_id_belongs_to_its_caller() -> None:
    async def story(world: World) -> None:
        alice = await world.enrol("grocery", "alice", points=100)
        manager, till = world.managers["grocery"].client, world.tills["grocery"].client
        await manager.adjust_points(
            id="one", account=alice.account, points=5, reason_code="goodwill"
        )
        await till.refund_purchase(id="one", purchase_id="sale-1", cumulative=euro(40))
        assert (await alice.balance()).available == 65
        bob = await world.enrol("grocery", "bob", points=500)
        wanted = await alice.want_reward("fuel", COFFEE)
        await alice.redeem(wanted)
        request = member_pb2.RedeemRequest()
        request.CopyFrom(wanted.request)
        mandate = entry_pb2.Mandate.FromString(request.mandate.mandate)
        mandate.key_id = f"key_{bob.key.key_id}"
        request.mandate.mandate = entries.canonical(mandate)
        with pytest.raises(Conflict):
            await bob.at("fuel").send(request)
        stranger = member_pb2.RedeemRequest()
        stranger.CopyFrom(wanted.request)
        stranger.pickup_key = bytes(16)
        with pytest.raises(Forbidden):
            await bob.at("fuel").send(stranger)
        await world.finish()

    play(story)


def test_a_late_duplicate_of_a_refused_claim_gets_the_same_decision() -> None:
    async def story(world: World) -> None:
        alice = await world.enrol("grocery", "alice", points=500)
        await world.operator.set_cap(id="cap", participant="grocery", net_debit_cap=euro(10))
        claims: list[bytes] = []
        world.network.listeners.append(
            lambda message: (
                claims.append(message.data)
                if message.path.endswith("/Claim") and not message.is_answer
                else None
            )
        )
        wanted, shown = await world.buy(alice, "fuel")
        assert (shown.state, shown.failure.code) == (FAILED, "CAP_EXCEEDED")
        await world.operator.set_cap(id="more", participant="grocery", net_debit_cap=euro(10**6))
        size = world.clearing.store.head().size
        request = clearing_pb2.ClaimRequest.FromString(claims[-1])
        again = await world.brands["fuel"].service.network.peers.clearing.Claim(request)
        (result,) = again.results
        decision = entries.decode(result.decided.decision.entry).decision
        assert decision.outcome == entry_pb2.OUTCOME_ABORTED
        assert decision.reason == "CAP_EXCEEDED"
        assert result.decided.decision.index < size
        await world.finish()
        assert (await alice.look(wanted)).state == FAILED
        assert (await alice.balance()).available == 500

    play(story)


def test_devices_of_others_sign_nothing() -> None:
    async def story(world: World) -> None:
        alice = await world.enrol("grocery", "alice", points=500)
        bob = await world.enrol("grocery", "bob", points=500)
        wanted = await alice.want_reward("fuel", COFFEE)
        request = member_pb2.RedeemRequest()
        request.CopyFrom(wanted.request)
        mandate = entry_pb2.Mandate.FromString(request.mandate.mandate)
        mandate.key_id = f"key_{bob.key.key_id}"
        request.mandate.mandate = entries.canonical(mandate)
        shown = await alice.redeem(Wanted(wanted.issuer, wanted.acceptor, request, wanted.quote))
        assert shown.state == FAILED
        assert shown.failure.code in ("BAD_STATEMENT", MandateRejected.code)
        await world.finish()
        assert (await bob.balance()).available == 500

    play(story)
