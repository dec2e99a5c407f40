"""Machines that come back with an older copy, or with nothing: none of them signs another history.

A database restored alone is caught by the head file before anything is served. Where everything
was restored, the neighbours know better: whoever starts asks them before its first signature.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from comity.errors import LedgerFault, MissingLedger, NotFound, ShorterLedger, Unavailable
from comity.v1 import member_pb2
from tests.simulation.hosts import Host, driver, take_engine
from tests.simulation.identities import CLEARING
from tests.simulation.people import Member
from tests.world import COFFEE, TICKET, World, play

DELIVERED = member_pb2.REDEMPTION_STATE_DELIVERED
FAILED = member_pb2.REDEMPTION_STATE_FAILED


async def _ended_by(host: Host, fault: type[LedgerFault]) -> None:
    """The process stops by itself, for this fault, and has written nothing."""
    size = host.store.head().size
    async with asyncio.timeout(30):
        while host.alive:
            await asyncio.sleep(0.1)
    assert isinstance(host.ended, fault), host.ended
    assert host.store.head().size == size


def _expect_end(world: World, name: str) -> None:
    """That this process ended by itself is no failure of the world."""
    assert world.failures
    assert all(one.startswith(f"{name}: the loop") for one in world.failures), world.failures
    world.failures.clear()


def _count(world: World, kind: str) -> int:
    """Entries of a kind in all logs."""
    found = 0
    for host in world.hosts:
        with driver(host.engine) as connection:
            query = "SELECT count(*) FROM entries WHERE kind = ?"
            found += connection.execute(query, (kind,)).fetchone()[0]
    return found


# --- a brand --------------------------------------------------------------------------------


async def _trade(world: World) -> Member:
    alice = await world.enrol("grocery", "alice", points=1_000)
    await world.buy(alice, "fuel", COFFEE)
    await asyncio.sleep(5)
    return alice


def test_a_node_with_an_older_database_does_not_start(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        old = world.back_up("grocery")
        await _trade(world)
        newest = world.back_up("grocery")
        world.restore("grocery", old, head_file=False)
        with pytest.raises(ShorterLedger):
            world.brands["grocery"].start()
        world.restore("grocery", newest)
        await world.finish()

    play(story, folder=tmp_path)


def test_a_node_restored_as_a_whole_hears_from_clearing_and_stops(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        old = world.back_up("grocery")
        await _trade(world)
        newest = world.back_up("grocery")
        world.restore("grocery", old)
        world.brands["grocery"].start()
        await _ended_by(world.brands["grocery"], ShorterLedger)
        _expect_end(world, "grocery")
        world.restore("grocery", newest)
        await world.finish()

    play(story, folder=tmp_path)


def test_a_restored_node_that_does_not_hear_clearing_writes_nothing(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        old = world.back_up("grocery")
        alice = await _trade(world)
        newest = world.back_up("grocery")
        world.restore("grocery", old)
        world.partition("grocery", CLEARING)
        grocery = world.brands["grocery"]
        grocery.start()
        size = grocery.store.head().size
        await asyncio.sleep(20)
        result = await world.tills["grocery"].record(alice.purchase("late", 100))
        assert result.failure.code == "NOT_HEARD"
        with pytest.raises(Unavailable):
            await world.managers["grocery"].client.adjust_points(
                id="late", account=alice.account, points=5, reason_code="goodwill"
            )
        assert grocery.alive
        assert grocery.store.head().size == size
        world.restore("grocery", newest)
        await world.finish()

    play(story, folder=tmp_path)


def test_an_empty_database_under_an_old_key_is_refused(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await _trade(world)
        for host in world.hosts:
            newest = world.back_up(host.name)
            host.kill()
            engine, host.engine = host.engine, take_engine(host.metadata)
            with pytest.raises(MissingLedger):
                host.start()
            with pytest.raises(ShorterLedger):
                host.create()
            host.engine = engine
            world.restore(host.name, newest)
            host.start()
        await world.finish()

    play(story, folder=tmp_path)


def test_a_ledger_begun_anew_under_an_old_key_stops_when_clearing_is_heard(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await _trade(world)
        grocery = world.brands["grocery"]
        newest = world.back_up("grocery")
        grocery.kill()
        assert grocery.head_path is not None
        grocery.head_path.unlink()
        grocery.engine = take_engine(grocery.metadata)
        grocery.create()
        world.watch.forget(grocery)
        grocery.start()
        await _ended_by(grocery, ShorterLedger)
        _expect_end(world, "grocery")
        world.restore("grocery", newest)
        await world.finish()

    play(story, folder=tmp_path)


# --- clearing -------------------------------------------------------------------------------


def test_clearing_with_an_older_database_does_not_start(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        old = world.back_up(CLEARING)
        await _trade(world)
        world.restore(CLEARING, old, head_file=False)
        with pytest.raises(ShorterLedger):
            world.clearing.start()
        recovered = await world.recover()
        assert recovered.size > recovered.size_before
        world.clearing.start()
        await world.finish()

    play(story, folder=tmp_path)


def test_clearing_restored_from_before_decisions_stops_recovers_and_releases_nothing(
    tmp_path: Path,
) -> None:
    async def story(world: World) -> None:
        alice = await world.enrol("grocery", "alice", points=1_000)
        bob = await world.enrol("fuel", "bob", points=1_000)
        await world.quiet()
        old = world.back_up(CLEARING)
        ended = [await world.buy(member, "cinema", TICKET) for member in (alice, bob, alice)]
        assert [shown.state for _, shown in ended] == [DELIVERED] * 3
        await world.quiet()
        roots = world.watch.roots()
        # One hold is under way while clearing is away.
        world.crash(CLEARING)
        wanted = await alice.want_reward("fuel", TICKET)
        redeeming = asyncio.create_task(alice.redeem(wanted))
        await asyncio.sleep(3)
        assert (await alice.balance()).held == wanted.quote.points
        # The older copy serves nobody for long, and decides nothing.
        world.restore(CLEARING, old)
        world.clearing.start()
        await _ended_by(world.clearing, ShorterLedger)
        _expect_end(world, CLEARING)
        await asyncio.sleep(60)
        assert (await alice.balance()).held == wanted.quote.points
        assert _count(world, "release") == 0
        # The mirrors lead to the very same log.
        await world.recover()
        assert world.watch.roots()[CLEARING] == roots[CLEARING]
        world.clearing.start()
        assert (await redeeming).state == FAILED
        await world.finish()
        assert _count(world, "release") == 1
        for wanted, shown in ended:
            again = await alice.look(wanted)
            assert (again.state, again.vouchers) == (DELIVERED, shown.vouchers)

    play(story, folder=tmp_path)


def test_recovery_writes_nothing_while_no_mirror_can_be_read(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        old = world.back_up(CLEARING)
        await _trade(world)
        world.restore(CLEARING, old)
        for name in world.brands:
            world.crash(name)
        size = world.clearing.store.head().size
        with pytest.raises(NotFound):
            await world.recover()
        assert world.clearing.store.head().size == size
        for host in world.brands.values():
            host.start()
        await world.recover()
        world.clearing.start()
        await world.finish()

    play(story, folder=tmp_path)
