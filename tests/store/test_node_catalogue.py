"""A store's catalogue as quotes follow it."""

from __future__ import annotations

import pytest

from comity.errors import NotFound
from comity.ledger.runner import inline
from comity.terms import quotes
from comity.v1 import member_pb2, merchant_pb2
from node.merchant_service import MerchantService
from node.sessions import Sessions
from node.store import NodeStore
from tests.redemption_world import MANAGER, pair


async def test_a_quote_follows_the_catalogue_from_the_moment_a_reward_is_put() -> None:
    world, _, fuel, alice, _ = await pair()
    store = NodeStore(fuel.engine, fuel.queue.store.ledger)
    service = MerchantService(
        store=store,
        queue=fuel.queue,
        read=inline,
        desk=fuel.net.desk,
        sessions=Sessions(store),
    )
    reward = member_pb2.Reward(
        reward_id="mug", title="A mug", kind=member_pb2.REWARD_KIND_VOUCHER, stock=-1, active=True
    )
    for price in (100, 200):
        reward.price_points = price
        request = merchant_pb2.PutRewardRequest(id=f"price-{price}", reward=reward)
        await service.put_reward(MANAGER, request)
        for _ in range(2):
            assert quotes.read((await alice.quote("mug")).quote).acceptor_points == price

    reward.active = False
    await service.put_reward(MANAGER, merchant_pb2.PutRewardRequest(id="off", reward=reward))
    with pytest.raises(NotFound):
        await alice.quote("mug")
    await world.close()
