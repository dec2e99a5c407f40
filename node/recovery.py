"""What a brand takes up at its start, and looks after while it runs.

Everything here is found in rows, so a process that died anywhere leaves nothing undone: reserved
redemptions, deliveries that clearing may not know of, returns, pledges, agreements, settlements.
Holds past their expiry are looked for now and then; only clearing's answer ends them.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from sqlalchemy import ColumnElement, Table, or_, select

from comity.clock import SECOND, Clock
from comity.ledger import schema
from comity.ledger.runner import Runner
from comity.ledger.store import LedgerStore
from node.agreements import InForce
from node.driver import Driver, Job
from node.errands import Errands
from node.feed import Feed
from node.mirror import Leaf
from node.peers import Peers
from node.redemption_tables import (
    agreements,
    holds,
    mirror_state,
    pledges,
    redemptions,
    returns,
    settlements,
)

EXPIRY_LOOK_S: Final = 5.0
EXPIRED_AT_ONCE: Final = 256
EXPIRY_MARGIN_US: Final = 2 * SECOND


class Recovery:
    """Takes up what was left, and hears from the feed what else is to be done."""

    def __init__(
        self,
        *,
        peers: Peers,
        driver: Driver,
        errands: Errands,
        feed: Feed,
        in_force: InForce,
        store: LedgerStore,
        clock: Clock,
        read: Runner,
    ) -> None:
        self._peers = peers
        self._driver = driver
        self._errands = errands
        self._in_force = in_force
        self._store = store
        self._clock = clock
        self._read = read
        self._settling: set[asyncio.Task[None]] = set()
        feed.listen(self._heard)

    async def run(self) -> None:
        """Once the gate is open: take everything up, then look after expired holds."""
        await self._peers.gate.opened()
        await self.take_up()
        while True:
            await self.end_expired()
            await asyncio.sleep(EXPIRY_LOOK_S)

    async def take_up(self) -> None:
        """Start everything that an earlier process left undone."""
        for index in await self._read(self._unreported):
            self._driver.report(index)
        self._driver.resumed()
        for row in await self._rows(redemptions, redemptions.c.state == "RESERVED"):
            self._driver.drive(Job.of(row), resumed=True)
        for row in await self._rows(returns, returns.c.state == "CLAIMED"):
            self._errands.claim_return(row)
        undone = or_(pledges.c.state == "PLEDGED", pledges.c.noticed == 0)
        for row in await self._rows(pledges, undone):
            self._errands.pledge(row)
        unanswered = pledges.c.asked_points > pledges.c.answered_points
        for row in await self._rows(pledges, unanswered):
            self._errands.refund(row)
        await self._take_up_agreements()
        waiting = settlements.c.state != "ANSWERED"
        for row in await self._rows(settlements, waiting):
            self._errands.answer_settlement(row)

    async def end_expired(self) -> None:
        """Ask clearing about holds past their expiry, the oldest first."""
        before_us = self._clock() - EXPIRY_MARGIN_US
        expired = (holds.c.state == "HELD") & (holds.c.expires_at_us < before_us)
        for row in await self._rows(holds, expired, limit=EXPIRED_AT_ONCE):
            self._errands.end_hold(row)

    async def _take_up_agreements(self) -> None:
        for row in await self._rows(agreements, agreements.c.state == "PROPOSED"):
            self._errands.offer(row)
        for row in await self._rows(agreements, agreements.c.state == "ACCEPTED"):
            if row["propose"]:
                self._errands.register(row)
        for row in await self._rows(agreements, agreements.c.state == "ACTIVE"):
            if row["terminate_index"] >= 0:
                self._errands.end_agreement(row)

    def _heard(self, leaf: Leaf) -> None:
        """The feed committed an entry that concerns us."""
        kind = leaf.entry.WhichOneof("body")
        if kind == "agreement":
            self._in_force.reload()
        elif kind == "settlement":
            window = leaf.entry.settlement.window
            task = asyncio.get_running_loop().create_task(self._settle(window))
            self._settling.add(task)
            task.add_done_callback(self._settling.discard)

    async def _settle(self, window: int) -> None:
        for row in await self._rows(settlements, settlements.c.window == window):
            if row["state"] != "ANSWERED":
                self._errands.answer_settlement(row)

    def _unreported(self) -> list[int]:
        """Indices of DELIVERY entries that clearing may not have been told of."""
        state = select(mirror_state.c.reported).where(mirror_state.c.ledger == self._store.ledger)
        table = schema.entries
        with self._store.engine.connect() as connection:
            reported = connection.execute(state).scalar_one_or_none() or 0
            query = select(table.c["index"]).where(
                table.c.ledger == self._store.ledger,
                table.c["index"] >= reported,
                table.c.kind == "delivery",
            )
            return list(connection.execute(query.order_by(table.c["index"])).scalars())

    async def _rows(
        self, table: Table, where: ColumnElement[bool], limit: int | None = None
    ) -> list[dict[str, Any]]:
        query = select(table).where(table.c.ledger == self._store.ledger, where)
        if limit is not None:
            query = query.order_by(table.c.expires_at_us).limit(limit)

        def work() -> list[dict[str, Any]]:
            with self._store.engine.connect() as connection:
                return [dict(row) for row in connection.execute(query).mappings()]

        return await self._read(work)
