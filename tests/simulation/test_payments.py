"""Tills let points pay at the same time: a balance is spent once."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from comity.errors import ComityError, InsufficientPoints, LimitExceeded
from tests.simulation.people import euro
from tests.world import World, play

PAYMENT = {"grocery": {"payment": {"value": {"minor": 1, "points": 1}, "multiple": 5}}}


@pytest.mark.row("P9")
@pytest.mark.row("P11")
def test_fifty_payments_with_a_hundred_points_spend_exactly_a_hundred() -> None:
    async def story(world: World) -> None:
        alice = await world.enrol("grocery", "alice", points=100)
        till = world.tills["grocery"].client

        async def pay(number: int) -> tuple[str, int]:
            try:
                paid = await till.pay_with_points(
                    id=f"pay-{number}",
                    account=alice.account,
                    order_id=f"order-{number}",
                    amount=euro(20),
                    points=5,
                )
            except ComityError as refusal:
                return refusal.code, 0
            return "", paid.points

        ended = await asyncio.gather(*(pay(n % 50) for n in range(100)))
        assert sum(points for _, points in ended[:50]) == 100
        assert sorted(ended[:50]) == sorted(ended[50:]), "each was asked twice, and paid once"
        codes = Counter(code for code, _ in ended[:50])
        assert codes == {"": 20, InsufficientPoints.code: 30}
        paid = [n for n in range(50) if not ended[n][0]]
        back = [till.refund_payment(id=f"back-{n}", order_id=f"order-{n}") for n in paid]
        again = [till.refund_payment(id=f"again-{n}", order_id=f"order-{n}") for n in paid]
        answers = await asyncio.gather(*back, *again)
        assert sum(one.points for one in answers) == 100
        assert (await alice.balance()).available == 100
        with pytest.raises(LimitExceeded):
            await till.pay_with_points(
                id="odd", account=alice.account, order_id="odd", amount=euro(20), points=7
            )
        await world.finish()

    play(story, programmes=PAYMENT)
