"""The burn freeze between real brands: nothing new is spent, what was decided is completed."""

from __future__ import annotations

from comity.v1 import member_pb2
from node.freeze import SetBurnFreeze
from tests.redemption_world import Node, pair


async def freeze(node: Node, frozen: bool) -> None:
    await node.do(
        SetBurnFreeze(
            caller="manager:ann", id=f"freeze-{frozen}", frozen=frozen, reason_code="DRILL"
        )
    )


async def test_a_freeze_stops_spending_and_completes_what_was_decided() -> None:
    world, grocery, _, alice, account = await pair()
    try:
        bought = await alice.buy()
        assert bought.state == member_pb2.REDEMPTION_STATE_DELIVERED
        await freeze(grocery, True)
        refused = await alice.buy()
        assert refused.state == member_pb2.REDEMPTION_STATE_FAILED
        assert refused.failure.code == "SPENDING_FROZEN"
        assert "you go on earning" in refused.failure.message
        await world.settled()
        assert grocery.balance(account) == (900, 0), "the hold from before it was posted"
        assert "post" in grocery.kinds()
        await freeze(grocery, False)
        assert (await alice.buy()).state == member_pb2.REDEMPTION_STATE_DELIVERED
        await world.settled()
        assert grocery.balance(account) == (800, 0)
        assert not grocery.alarms
    finally:
        await world.close()
