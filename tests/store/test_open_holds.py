"""How many holds may be open at an issuer, for one member and for one acceptor."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from comity.clock import MINUTE, SECOND
from comity.errors import LimitExceeded
from comity.v1 import common_pb2, peer_pb2
from node.open_holds import HoldLimits
from tests.redemption_world import Node, NodeWorld, Shopper, pair

World = tuple[NodeWorld, Node, Node, Shopper, str]


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    made = await pair()
    yield made
    await made[0].close()


async def limited(node: Node, limits: HoldLimits) -> None:
    """Start a node again, with these limits."""
    await node.stop()
    node.hold_limits = limits
    await node.start()


async def asked(shopper: Shopper) -> peer_pb2.HoldRequest:
    request = shopper.request(await shopper.quote())
    return peer_pb2.HoldRequest(quote=request.quote, mandate=request.mandate)


async def place(acceptor: Node, request: peer_pb2.HoldRequest) -> common_pb2.Statement:
    """A hold which the acceptor takes, and brings before nobody."""
    return await acceptor.net.peers.holds("grocery").submit(request)


async def test_a_member_has_so_many_open_holds_and_a_hold_that_ends_makes_room(
    world: World,
) -> None:
    made, grocery, fuel, alice, account = world
    await limited(grocery, HoldLimits(per_member=2))
    await grocery.enrol("bob", points=500)
    first = await asked(alice)
    held = await place(fuel, first)
    await place(fuel, await asked(alice))
    third = await asked(alice)
    with pytest.raises(LimitExceeded, match="2 redemptions of this member are undecided"):
        await place(fuel, third)
    assert grocery.balance(account) == (800, 200)
    # Another member's points are another matter, and what was placed is answered again.
    await place(fuel, await asked(Shopper("bob", "grocery", fuel)))
    assert (await place(fuel, first)).entry == held.entry
    # A refusal is final for its redemption; a new one finds room once the holds have ended.
    made.clock.now_us += 30 * MINUTE
    await grocery.net.recovery.end_expired()
    await made.until(lambda: grocery.balance(account) == (1_000, 0))
    assert (await alice.buy()).vouchers


async def test_an_acceptor_has_so_many_open_holds_also_after_a_restart(world: World) -> None:
    _made, grocery, fuel, alice, account = world
    await place(fuel, await asked(alice))
    await limited(grocery, HoldLimits(per_acceptor=2))
    await place(fuel, await asked(alice))
    with pytest.raises(LimitExceeded, match="2 redemptions at fuel are undecided"):
        await place(fuel, await asked(alice))
    assert grocery.balance(account) == (800, 200)


async def test_holds_that_ended_do_not_count(world: World) -> None:
    made, grocery, _fuel, alice, account = world
    await limited(grocery, HoldLimits(per_member=2, per_acceptor=2))
    for _ in range(5):
        assert (await alice.buy()).vouchers
        await made.settled()
        made.clock.now_us += 2 * SECOND
        await asyncio.sleep(0)
    assert grocery.balance(account) == (500, 0)
