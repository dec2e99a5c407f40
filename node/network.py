"""The parts of a node that face the network, put together.

`join` takes what a process owns (ledger, queue, channels, clock, randomness) and returns the
services to be served and the loops to be run. Nothing here decides anything.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from comity.clock import Clock
from comity.keys import Random
from comity.ledger.heads import HeadKeeper
from comity.ledger.queue import CommandQueue
from comity.ledger.runner import Runner
from comity.log.history import KeyHistory
from comity.log.note import VerifierKey
from comity.rpc.channel import Channel
from node import (
    agreements,
    holds,
    mirror,
    pledge_returns,
    pledges,
    redemptions,
    returns,
    settlement,
)
from node.acceptor_service import WAIT_S, RedemptionDesk
from node.agreements import InForce
from node.book import Handlers, Rules
from node.driver import OPEN_LIMIT, Driver
from node.errands import Errands
from node.feed import WAIT_MS, Feed
from node.gate import Alarm, Gate
from node.open_holds import HoldLimits, OpenHolds
from node.peer_service import PeerService
from node.peers import CLEARING, IDLE_PULSE_S, Connect, Peers, Roster
from node.quoting import Quoting
from node.recovery import Recovery

NETWORK_HANDLERS: tuple[Handlers, ...] = (
    holds.HANDLERS,
    redemptions.HANDLERS,
    returns.HANDLERS,
    pledges.HANDLERS,
    pledge_returns.HANDLERS,
    agreements.HANDLERS,
    mirror.HANDLERS,
    settlement.HANDLERS,
)
"""The rules of redemptions, for the node's book."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """One brand's place in the network."""

    gate: Gate
    roster: Roster
    heads: HeadKeeper
    peers: Peers
    feed: Feed
    driver: Driver
    errands: Errands
    in_force: InForce
    desk: RedemptionDesk
    peer_service: PeerService
    recovery: Recovery

    @property
    def loops(self) -> Mapping[str, Callable[[], Awaitable[Any]]]:
        """What runs as long as the process: a loop that fails ends it."""
        return {
            "pulse": self.peers.run,
            "feed": self.feed.run,
            "recovery": self.recovery.run,
            "gate": self.gate.watch,
        }

    async def close(self) -> None:
        """Stop what is on its way; everything is taken up at the next start."""
        await self.driver.close()
        await self.errands.close()
        await self.peers.close()


def join(
    *,
    rules: Rules,
    queue: CommandQueue,
    gate: Gate,
    own_keys: Callable[[], KeyHistory],
    clearing_key: VerifierKey,
    connect: Connect,
    clearing: Channel,
    secret: bytes,
    clock: Clock,
    random: Random,
    read: Runner,
    alarm: Alarm,
    ended: Callable[[str], None] = lambda _: None,
    open_limit: int = OPEN_LIMIT,
    hold_limits: HoldLimits | None = None,
    wait_s: float = WAIT_S,
    follow_ms: int = WAIT_MS,
    idle_pulse_s: float = IDLE_PULSE_S,
) -> Network:
    """Put the parts together. `queue` stands behind `gate`; `secret` seals quotes.

    `ended` is told the outcome of each redemption which came to its end here.
    """
    store = queue.store
    roster = Roster(store, own=own_keys, clearing=clearing_key)
    heads = HeadKeeper(store, origin=rules.origin, verifier_of=roster.verifier_of, clock=clock)
    peers = Peers(
        network=rules.network,
        participant=rules.participant,
        roster=roster,
        heads=heads,
        queue=queue,
        gate=gate,
        connect=connect,
        clearing=clearing,
        alarm=alarm,
        clock=clock,
        idle_pulse_s=idle_pulse_s,
    )
    assert peers.clearing_origin == clearing_key.name, f"clearing's log is <network>/{CLEARING}"
    driver = Driver(peers=peers, clock=clock, alarm=alarm, ended=ended, open_limit=open_limit)
    feed = Feed(
        rules=rules,
        peers=peers,
        store=store,
        read=read,
        alarm=alarm,
        reported=driver.reported,
        wait_ms=follow_ms,
        ended=ended,
    )
    errands = Errands(peers=peers, feed=feed, store=store, read=read, alarm=alarm)
    in_force = InForce(store)
    quoting = Quoting(
        network=rules.network, participant=rules.participant, secret=secret, random=random
    )
    return Network(
        gate=gate,
        roster=roster,
        heads=heads,
        peers=peers,
        feed=feed,
        driver=driver,
        errands=errands,
        in_force=in_force,
        desk=RedemptionDesk(
            rules=rules,
            store=store,
            peers=peers,
            driver=driver,
            errands=errands,
            quoting=quoting,
            in_force=in_force,
            clock=clock,
            read=read,
            wait_s=wait_s,
        ),
        peer_service=PeerService(
            rules=rules,
            store=store,
            peers=peers,
            feed=feed,
            in_force=in_force,
            open_holds=OpenHolds(store, clock, hold_limits or HoldLimits()),
            read=read,
        ),
        recovery=Recovery(
            peers=peers,
            driver=driver,
            errands=errands,
            feed=feed,
            in_force=in_force,
            store=store,
            clock=clock,
            read=read,
        ),
    )
