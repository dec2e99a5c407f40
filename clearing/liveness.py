"""Whom clearing has heard, and whether it may decide at all.

Clearing decides nothing for a brand it has not heard since it started: that brand may hold a
head of clearing's own log which this process does not extend. One which shows such a head stops
the process. A brand whose log is known to be longer than it has proven gets no new commits
after some patience, and a clock which most brands contradict decides nothing by expiry.
"""

from __future__ import annotations

import asyncio

from clearing.roster import Roster
from comity.clock import SECOND, Clock
from comity.errors import LedgerFault, NotHeard, Unavailable
from comity.ledger.heads import HeadKeeper
from comity.ledger.store import KnownHead
from comity.v1.common_pb2 import HeadExchange


class Liveness:
    """Hears brands and says what may be decided for them."""

    def __init__(
        self,
        *,
        heads: HeadKeeper,
        roster: Roster,
        clock: Clock,
        link_within_us: int = 5 * SECOND,
        skew_us: int = 5 * SECOND,
    ) -> None:
        self._heads = heads
        self._roster = roster
        self._clock = clock
        self._link_within_us = link_within_us
        self._skew_us = skew_us
        self._offsets: dict[str, int] = {}
        self._fault: LedgerFault | None = None
        self._stopped = asyncio.Event()
        self.started_us = clock()
        self.heard_us: dict[str, int] = {}

    def hear(self, participant: str, exchange: HeadExchange) -> tuple[KnownHead, ...]:
        """Take in what a brand says of its log and of ours; the heads learnt, to be stored.

        Raises BadStatement, Equivocation, or the LedgerFault which ends this process.
        """
        self.require_whole()
        origin = self._roster.member(participant).origin
        try:
            learnt = self._heads.hear(origin, exchange)
        except LedgerFault as fault:
            self._fault = fault
            self._stopped.set()
            raise
        now_us = self._clock()
        self.heard_us[participant] = now_us
        if exchange.now_us:
            self._offsets[participant] = exchange.now_us - now_us
        return learnt

    def require_whole(self) -> None:
        """Raises the LedgerFault, once a brand has shown a head that our log does not extend."""
        if self._fault is not None:
            raise self._fault

    def require_heard(self, *participants: str) -> None:
        """Raises NotHeard for a brand that has not exchanged heads since this process started."""
        for participant in participants:
            if not self.has_heard(participant):
                raise NotHeard(
                    f"Clearing has started and not yet heard {participant}; repeat the claim.",
                    metadata={"participant": participant},
                )

    def has_heard(self, *participants: str) -> bool:
        """Whether all of these brands have exchanged heads since this process started.

        One that was revoked is not waited for: it takes no part any more.
        """
        found = map(self._roster.member, participants)
        return all(one.revoked or self._heads.heard(one.origin) for one in found)

    def require_linked(self, participant: str) -> None:
        """Raises NotHeard once a head of this brand has waited too long for its link."""
        oldest_us = self._heads.oldest_loose_us(self._roster.member(participant).origin)
        if oldest_us is not None and self._clock() - oldest_us > self._link_within_us:
            raise NotHeard(
                f"{participant} has not proven that its log only grew; repeat the claim.",
                metadata={"participant": participant},
            )

    def require_clock(self) -> None:
        """Raises Unavailable while most of two or more brands contradict this clock."""
        wrong = sum(1 for offset in self._offsets.values() if abs(offset) > self._skew_us)
        if len(self._offsets) > 1 and 2 * wrong > len(self._offsets):
            raise Unavailable(
                "Clearing's clock differs from most brands' clocks; it decides nothing by expiry "
                "until they agree. Repeat the claim."
            )

    def require_someone(self) -> None:
        """Raises NotHeard where brands are known and none of them has been heard.

        What the operator's staff do is signed too, so it waits until somebody who mirrors this
        log could have told whether it was cut.
        """
        self.require_whole()
        known = [
            member.origin
            for member in self._roster
            if self._heads.known(member.origin) and not member.revoked
        ]
        if known and not any(map(self._heads.heard, known)):
            raise NotHeard("Clearing has started and not yet heard any brand; repeat in a moment.")

    async def watch(self) -> None:
        """Wait for a LedgerFault, and raise it: the process has to stop."""
        await self._stopped.wait()
        self.require_whole()
