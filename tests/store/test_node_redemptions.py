"""Redemptions between real brands and a real clearing service, and the ways they may be cheated."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from comity.v1 import member_pb2
from tests.redemption_world import Node, NodeWorld, Shopper, pair

DELIVERED = member_pb2.REDEMPTION_STATE_DELIVERED


class Scene:
    """grocery issues, fuel accepts, alice shops."""

    world: NodeWorld
    grocery: Node
    fuel: Node
    alice: Shopper
    account: str


@pytest_asyncio.fixture
async def scene() -> AsyncIterator[Scene]:
    one = Scene()
    one.world, one.grocery, one.fuel, one.alice, one.account = await pair()
    yield one
    await one.world.close()


async def test_a_reward_is_delivered_and_its_points_are_spent(scene: Scene) -> None:
    redemption = await scene.alice.buy()

    assert redemption.state == DELIVERED, redemption
    assert len(redemption.vouchers) == 1
    assert len(redemption.receipt) == 3
    await scene.world.settled()
    assert scene.grocery.balance(scene.account) == (900, 0)
    assert "post" in scene.grocery.kinds()
    assert "delivery" in scene.fuel.kinds()
    assert not scene.grocery.alarms
    assert not scene.fuel.alarms
