"""What happens by itself: points mature and expire, levels end, tags come and go.

Rules let what is due on an account happen before they look at it, and reads show an account as
of now; so the sweep only brings the log and the totals up to date for accounts nobody touches.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from comity.errors import Unavailable
from comity.ledger.command import Batch
from comity.ledger.queue import CommandQueue
from comity.ledger.rows import Rows
from node.accounts import prefetch_accounts, prefetch_totals, settle_lots
from node.book import Handler, Handlers, Rules
from node.commands import DeclareProgramme, Sweep
from node.event_tables import ranks
from node.gate import Gate
from node.lots import Lot
from node.standing import review
from node.tables import accounts, lots

SWEEP_LIMIT = 2_000
RETRY_S = 1.0


def _due(rows: Rows, limit: int) -> list[Lot]:
    due = lots.c.due_at_us.between(1, rows.now_us)
    found = rows.load_query(lots, due, order_by=(lots.c.due_at_us, lots.c.lot), limit=limit)
    return [Lot.of(row) for row in found]


def _looks(rows: Rows, limit: int) -> list[str]:
    """The members at whom time alone asks to look again."""
    due = ranks.c.due_at_us.between(1, rows.now_us)
    found = rows.load_query(ranks, due, order_by=(ranks.c.due_at_us, ranks.c.account), limit=limit)
    return [row["account"] for row in found if 0 < row["due_at_us"] <= rows.now_us]


def _prefetch(rules: Rules, rows: Rows, commands: Sequence[Sweep]) -> None:
    prefetch_totals(rules, rows)
    for command in commands:
        some = _due(rows, command.limit)
        rows.load(accounts, [(lot.account, lot.unit) for lot in some])
        if rules.reviewed:
            names = dict.fromkeys(lot.account for lot in some)
            prefetch_accounts(rules, rows, [*names, *_looks(rows, command.limit)])


def _sweep(rules: Rules, batch: Batch, command: Sweep) -> bytes:
    """Answers how many lots and members were due, as decimal digits."""
    found = _due(batch.rows, command.limit)
    still = [lot for lot in found if 0 < lot.due_at_us <= batch.now_us]
    settle_lots(rules, batch, still)
    looks = _looks(batch.rows, command.limit) if rules.reviewed else []
    names = [lot.account for lot in still] if rules.reviewed else []
    for account in dict.fromkeys([*names, *looks]):
        review(rules, batch, account)
    return b"%d" % (len(still) + len(looks))


HANDLERS: Handlers = {Sweep: Handler(_prefetch, _sweep, reviews=True)}


class Upkeep:
    """What a node does for itself: it declares its programme, then sweeps from time to time."""

    def __init__(
        self,
        queue: CommandQueue,
        gate: Gate,
        declare: DeclareProgramme,
        *,
        every_seconds: float,
        limit: int = SWEEP_LIMIT,
    ) -> None:
        self._queue = queue
        self._gate = gate
        self._declare = declare
        self._every_seconds = every_seconds
        self._limit = limit

    async def sweep(self) -> int:
        """Settle everything that is due now; returns how many lots were."""
        count = 0
        while True:
            answer = await self._queue.submit(Sweep(limit=self._limit))
            some = int(answer.body)
            count += some
            if some < self._limit:
                return count

    async def declare(self) -> None:
        """Write the programme into the log, if it is a new one. Raises Conflict if its version
        stands there with other content: such a node must not go on."""
        while True:
            with contextlib.suppress(Unavailable):
                await self._queue.submit(self._declare)
                return
            await asyncio.sleep(RETRY_S)

    async def run(self) -> None:
        """Declare as soon as writing is allowed, then sweep until cancelled."""
        await self._gate.opened()
        await self.declare()
        while True:
            with contextlib.suppress(Unavailable):  # the next round finds the same lots
                await self.sweep()
            await asyncio.sleep(self._every_seconds)
