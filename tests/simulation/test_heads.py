"""Heads of a log that somebody else showed, and how soon their owner links them.

Clearing stops new commits for a brand whose head waits longer than `link_within_us`. An idle
brand learns of such a head from clearing's answer to a pulse, so it pulses even when idle.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

import pytest

from clearing.rules import Rules
from comity.clock import SECOND
from comity.errors import NotHeard
from comity.v1 import clearing_pb2, common_pb2
from node.peers import IDLE_PULSE_S
from tests.simulation.identities import CLEARING, NETWORK
from tests.world import World, play

ISSUER: Final = "grocery"
LINK_WITHIN_S: Final = Rules().link_within_us // SECOND


async def _shown_by_another(world: World) -> None:
    """The issuer has nothing to do any more; the acceptor shows an old hold under a head of the
    issuer's which clearing never saw."""
    alice = await world.enrol(ISSUER, "alice", points=500)
    claims: list[bytes] = []
    world.network.listeners.append(
        lambda message: (
            claims.append(message.data)
            if message.path.endswith("/Claim") and not message.is_answer
            else None
        )
    )
    await world.buy(alice, "fuel")
    (sent,) = claims
    request = clearing_pb2.ClaimRequest.FromString(sent)
    hold = request.claims[0].hold.hold
    # Two heads within a second: the next pulse shows the second one only.
    await world.purchase(alice, 1)
    (between,) = await world.brands[ISSUER].service.network.peers.prove([hold.index])
    await world.purchase(alice, 1)
    await world.quiet()
    hold.CopyFrom(between)
    request.heads.CopyFrom(common_pb2.HeadExchange())
    await world.brands["fuel"].service.network.peers.clearing.Claim(request)


async def _linked_after(world: World) -> float:
    """How many seconds the head waits for its link."""
    loop = asyncio.get_running_loop()
    heads, origin = world.clearing.service.heads, f"{NETWORK}/{ISSUER}"
    began = loop.time()
    assert heads.oldest_loose_us(origin) is not None
    while heads.oldest_loose_us(origin) is not None:
        await asyncio.sleep(0.05)
    return loop.time() - began


def _pulsing(world: World, idle_pulse_s: float) -> None:
    """Restart the issuer with long waits for clearing's news, which would tell it as well."""
    host = world.brands[ISSUER]
    host.limits = replace(host.limits, follow_wait_s=20.0, idle_pulse_s=idle_pulse_s)
    world.restart(ISSUER)


@pytest.mark.parametrize("seed", range(5))
def test_an_idle_brand_links_what_others_show_of_its_log_in_time(seed: int) -> None:
    async def story(world: World) -> None:
        _pulsing(world, IDLE_PULSE_S)
        await _shown_by_another(world)
        assert await _linked_after(world) < LINK_WITHIN_S / 1.5
        world.clearing.service.liveness.require_linked(ISSUER)
        await world.finish()

    play(story, seed)


def test_one_that_never_pulsed_when_idle_would_get_no_new_commits() -> None:
    async def story(world: World) -> None:
        _pulsing(world, 3_600.0)
        await _shown_by_another(world)
        await asyncio.sleep(LINK_WITHIN_S + 1)
        with pytest.raises(NotHeard):
            world.clearing.service.liveness.require_linked(ISSUER)
        await world.finish()

    play(story)


def test_an_idle_brand_asks_every_few_seconds_and_not_more() -> None:
    async def story(world: World) -> None:
        await world.quiet()
        pulses: list[str] = []
        world.network.listeners.append(
            lambda message: (
                pulses.append(message.sender)
                if message.path.endswith("/Pulse") and not message.is_answer
                else None
            )
        )
        sizes = [host.service.ledger.head().size for host in world.hosts]  # type: ignore[attr-defined]
        await asyncio.sleep(60)
        assert [host.service.ledger.head().size for host in world.hosts] == sizes  # type: ignore[attr-defined]
        for brand in world.brands:
            assert 20 <= pulses.count(brand) <= 30
        assert CLEARING not in pulses
        await world.finish()

    play(story)
