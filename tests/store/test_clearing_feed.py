"""Deliveries, reported or not, and the feed that brands follow, over clearing's own endpoint."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
from sqlalchemy import Engine

from clearing.rules import Rules
from comity.clock import HOUR
from comity.ledger import entries
from comity.log import merkle
from comity.log.checkpoint import read_checkpoint
from comity.v1 import clearing_pb2 as pb
from tests.store.clearing_world import (
    Brand,
    World,
    decision_of,
    terms,
    trading,
)


@pytest.fixture
async def world(engine: Engine) -> World:
    return await trading(engine)


# --- deliveries -----------------------------------------------------------------------------


async def test_what_is_not_delivered_in_time_is_reversed_whole(world: World) -> None:
    decided = await world.commit(points=100)
    world.clock.now_us = decision_of(decided).deliver_by_us - 1
    await world.clearing.sweep.round()
    assert world.positions()["fuel"] == 100
    world.clock.now_us += 1
    await world.clearing.sweep.round()
    assert world.positions()["fuel"] == 0
    late = await world.report(world.brands["fuel"], world.deliver(world.brands["fuel"], decided))
    assert late[0].failure.code == "ALREADY_DECIDED"


async def test_what_is_reported_stays(world: World) -> None:
    fuel = world.brands["fuel"]
    decided = await world.commit(points=100)
    (result,) = await world.report(fuel, world.deliver(fuel, decided))
    assert not result.failure.code
    world.clock.now_us += 10 * HOUR
    await world.clearing.sweep.round()
    assert world.positions()["fuel"] == 100


async def test_reports_get_time_to_arrive_after_a_start(engine: Engine) -> None:
    world = World(engine, rules=Rules(report_grace_us=HOUR))
    await world.admit("grocery")
    fuel = await world.admit("fuel")
    await world.agree(terms())
    decided = await world.commit(points=100)
    world.clock.now_us += 10 * HOUR
    world.restart()
    for brand in world.brands.values():
        await world.pulse(brand)
    await world.clearing.sweep.round()
    assert world.positions()["fuel"] == 100
    await world.report(fuel, world.deliver(fuel, decided))
    world.clock.now_us += 2 * HOUR
    await world.clearing.sweep.round()
    assert world.positions()["fuel"] == 100


async def test_the_sweep_names_the_last_numbers_once_after_each_activity(world: World) -> None:
    await world.commit("one")
    await world.clearing.sweep.round()
    size = world.clearing.ledger.head().size
    body = entries.decode(world.clearing.ledger.entry(size - 1).body).heads
    assert {one.participant: one.seq for one in body.last}["fuel"] == 1
    await world.clearing.sweep.round()
    assert world.clearing.ledger.head().size == size


# --- the feed -------------------------------------------------------------------------------


async def follow(world: World, brand: Brand, start: int, **wanted: int) -> pb.FollowResponse:
    request: dict[str, Any] = {"limit": 100} | wanted
    response: pb.FollowResponse = await world.at(brand).Follow(
        pb.FollowRequest(heads=brand.heads(), from_index=start, **request)
    )
    return response


def root_of(leaves: Iterable[bytes]) -> bytes:
    frontier = merkle.Frontier()
    for leaf in leaves:
        frontier.append(merkle.leaf_hash(leaf))
    return frontier.root()


async def test_the_feed_gives_the_whole_log_to_everyone_and_openings_to_the_parties(
    world: World,
) -> None:
    decided = await world.commit()
    index = decided.decision.index
    for name, sees in (("grocery", True), ("fuel", True), ("hotel", False)):
        page = await follow(world, world.brands[name], 0)
        head = read_checkpoint(page.heads.checkpoint)
        assert (head.size, head.root) == (len(page.entries), root_of(page.entries))
        assert (index in page.openings) is sees
    page = await follow(world, world.brands["grocery"], index)
    assert page.openings[index].issuer_position.minor == -100
    assert not page.openings[index].acceptor_position_salt


async def test_a_page_that_ends_early_is_linked_to_its_head(world: World) -> None:
    await world.commit()
    page = await follow(world, world.brands["fuel"], 0, limit=3)
    head = read_checkpoint(page.heads.checkpoint)
    assert len(page.entries) == page.link.from_size == 3
    merkle.verify_consistency(
        old_size=3,
        new_size=head.size,
        old_root=root_of(page.entries),
        new_root=head.root,
        proof=tuple(page.link.hashes),
    )


async def test_a_follower_waits_for_news_and_gets_it_at_once(world: World) -> None:
    size = world.clearing.ledger.head().size
    waiting = asyncio.create_task(follow(world, world.brands["hotel"], size, wait_ms=20_000))
    await asyncio.sleep(0)
    await world.commit()
    page = await asyncio.wait_for(waiting, 5)
    assert len(page.entries) == 1


async def test_a_follower_without_news_is_answered_after_its_time(world: World) -> None:
    size = world.clearing.ledger.head().size
    page = await follow(world, world.brands["hotel"], size, wait_ms=10)
    assert not page.entries
