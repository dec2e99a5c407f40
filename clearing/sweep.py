"""What clearing does by itself, once a second: name the last numbers, reverse what never came.

Both are commands like any other, safe to repeat: after a crash the next round does what was
left.
"""

from __future__ import annotations

import asyncio

from clearing import record
from clearing.commands import ReverseUndelivered, WriteHeads
from clearing.desk import Desk
from clearing.liveness import Liveness
from clearing.record import Key
from clearing.store import ClearingStore
from comity.clock import MINUTE, Clock
from comity.errors import ComityError
from comity.ledger.runner import Runner
from comity.ledger.store import LedgerStore

EVERY_S = 1.0
LIMIT = 500
"""Redemptions reversed in one round."""

GRACE_US = MINUTE
"""How long after its start clearing waits for reports that could not reach it before."""


class Sweep:
    """The background work of clearing."""

    def __init__(
        self,
        *,
        desk: Desk,
        liveness: Liveness,
        store: ClearingStore,
        ledger: LedgerStore,
        clock: Clock,
        read: Runner,
        grace_us: int = GRACE_US,
    ) -> None:
        self._desk = desk
        self._liveness = liveness
        self._store = store
        self._ledger = ledger
        self._clock = clock
        self._read = read
        self._grace_us = grace_us
        self._written_at = _last_said(ledger)

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await asyncio.sleep(EVERY_S)
            await self.round()

    async def round(self) -> None:
        """One round."""
        self._liveness.require_whole()
        await self._reverse_undelivered()
        await self._write_heads()

    async def _write_heads(self) -> None:
        """A HEADS entry, if anything was written since the last one."""
        if self._ledger.head().size == self._written_at:
            return
        (outcome,) = await self._desk.submit_all([WriteHeads()])
        if not isinstance(outcome, ComityError):
            self._written_at = record.index_in(outcome.body) + 1

    async def _reverse_undelivered(self) -> None:
        now_us = self._clock()
        if now_us < self._liveness.started_us + self._grace_us:
            return
        due = await self._read(lambda: self._store.undelivered(due_us=now_us, limit=LIMIT))
        commands = [
            ReverseUndelivered(issuer=issuer, acceptor=acceptor, redemption_id=redemption_id)
            for issuer, acceptor, redemption_id in filter(self._heard, due)
        ]
        await self._desk.submit_all(commands)

    def _heard(self, key: Key) -> bool:
        """Whether both brands have been heard since the start; the others wait."""
        return self._liveness.has_heard(*key[:2])


def _last_said(ledger: LedgerStore) -> int:
    """The log's size if it ends with HEADS; otherwise 0: the process died before it wrote one."""
    size = ledger.head().size
    return size if size and ledger.entry(size - 1).kind == "heads" else 0
