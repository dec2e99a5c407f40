"""The gate in front of this ledger: closed until clearing has said what it knows of our log.

A process that was restored from an older copy must not sign: another history would begin under
the same name. So before the first write after any start, clearing is asked for the highest head
it holds of our log; a head that our log does not extend is a `LedgerFault`, which ends the
process. Reading is allowed at once, so everyone can start cold together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from structlog.typing import FilteringBoundLogger

from comity.errors import ComityError, LedgerFault, NotHeard
from comity.ledger.command import Command, Outcome
from comity.ledger.queue import CommandQueue
from comity.rpc.metrics import Metrics

Alarm = Callable[[str, ComityError], None]
"""Told of what moves nothing and needs an operator: what was being done, and what is wrong."""


class Alarms:
    """The alarms of one process: each is logged and counted."""

    def __init__(self, log: FilteringBoundLogger, metrics: Metrics) -> None:
        self._log = log
        self._metrics = metrics
        self.count = 0

    def __call__(self, doing: str, error: ComityError) -> None:
        self.count += 1
        self._metrics.alarm(error.code)
        self._log.error(
            "alarm", doing=doing, code=error.code, reason=error.message, **error.metadata
        )


class Gate:
    """Open once clearing has been heard; shut for good by a fault of our own ledger."""

    def __init__(self) -> None:
        self._opened = asyncio.Event()
        self._shut = asyncio.Event()
        self._fault: LedgerFault | None = None

    def open(self) -> None:
        """Clearing knows no head of ours that we do not extend."""
        self._opened.set()

    def shut(self, fault: LedgerFault) -> None:
        """Somebody showed a head of ours that we do not extend: nothing is written any more."""
        self._fault = self._fault or fault
        self._shut.set()
        self._opened.set()

    @property
    def is_open(self) -> bool:
        return self._opened.is_set() and self._fault is None

    def error(self) -> ComityError | None:
        """Why nothing may be written now; None while writing is allowed."""
        if self._fault is not None:
            return self._fault
        if not self._opened.is_set():
            return NotHeard(
                "This brand has started and not yet heard clearing; repeat the request in a moment."
            )
        return None

    def require(self) -> None:
        """Raises NotHeard, or the fault, while nothing may be written."""
        error = self.error()
        if error is not None:
            raise error

    def raise_fault(self) -> None:
        """Raises the fault that shut the gate, if there was one."""
        if self._fault is not None:
            raise self._fault

    async def opened(self) -> None:
        """Wait until writing is allowed; raises the fault."""
        await self._opened.wait()
        self.require()

    async def watch(self) -> None:
        """Wait for a fault, and raise it: a loop whose end stops the process."""
        await self._shut.wait()
        self.require()


class GatedQueue(CommandQueue):
    """A node's queue: while the gate is shut every command is answered with the reason."""

    gate: Gate

    async def submit_all(self, commands: Sequence[Command]) -> list[Outcome]:
        error = self.gate.error()
        if error is not None:
            return [error] * len(commands)
        return await super().submit_all(commands)


def gated(queue: GatedQueue, gate: Gate) -> GatedQueue:
    """The queue, behind this gate."""
    queue.gate = gate
    return queue
