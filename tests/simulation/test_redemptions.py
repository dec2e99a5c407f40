"""Redemptions in calm weather, and in what only a network of several machines can bring about."""

from __future__ import annotations

import asyncio

import pytest

from comity.errors import AgreementInactive
from comity.v1 import member_pb2
from tests.simulation.people import euro
from tests.world import TICKET, World, play, terms

FAILED = member_pb2.REDEMPTION_STATE_FAILED


def test_a_debt_is_paid_once_when_a_release_gives_back_several_lots() -> None:
    async def story(world: World) -> None:
        alice = await world.enrol("grocery", "alice")
        await world.purchase(alice, 70, "first")
        await world.purchase(alice, 70, "second")
        wanted = await alice.want_reward("fuel", TICKET)
        world.partition("fuel", "clearing")
        redeeming = asyncio.create_task(alice.redeem(wanted))
        await asyncio.sleep(1)
        assert (await alice.balance()).held == 98
        till = world.tills["grocery"].client
        for name in ("first", "second"):
            await till.refund_purchase(id=f"refund-{name}", purchase_id=name, cumulative=euro(70))
        assert (await alice.balance()).debt == -98
        await asyncio.sleep(30)
        world.heal()
        assert (await redeeming).state == FAILED
        await world.finish()
        balance = await alice.balance()
        assert (balance.available, balance.held, balance.debt) == (0, 0, 0)

    play(story)


@pytest.mark.parametrize("bears", [False, True], ids=["issuer", "partner"])
@pytest.mark.parametrize("dies", ["fuel", "grocery", "clearing"])
def test_refunds_of_a_partner_sale_survive_whoever_dies_on_the_way(dies: str, bears: bool) -> None:
    async def story(world: World) -> None:
        alice = await world.enrol("grocery", "alice")
        sold = await world.partner_purchase(alice, "fuel", 300, "sale")
        await world.quiet()
        had = (await alice.balance()).available
        for minor in (100, 300):
            refunding = asyncio.create_task(world.partner_refund("fuel", "sale", minor))
            await asyncio.sleep(0.005)
            world.restart(dies)
            answer = await refunding
            assert answer.unrecovered_points == 0
            assert await world.partner_refund("fuel", "sale", minor) == answer
            assert answer.reversed_points == sold.points * minor // 300
        await world.quiet()
        assert (await alice.balance()).available == had - sold.points
        await world.finish()

    play(story, terms_changes={"partner_bears_unrecoverable": bears})


def test_a_partner_sale_is_answered_alike_after_its_agreement_has_ended() -> None:
    async def story(world: World) -> None:
        alice = await world.enrol("grocery", "alice")
        first = await world.partner_purchase(alice, "fuel", 300, "sale")
        agreement_id = terms("grocery", "fuel").agreement_id
        manager = world.managers["fuel"].client
        await manager.terminate_agreement(id="end", agreement_id=agreement_id, version=1)
        await world.quiet()
        with pytest.raises(AgreementInactive):
            await world.partner_purchase(alice, "fuel", 300, "another")
        assert await world.partner_purchase(alice, "fuel", 300, "sale") == first
        await world.finish()

    play(story)
