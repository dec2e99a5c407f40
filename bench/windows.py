"""Closing a settlement window of many redemptions, beside closing an empty one.

A hundred thousand redemptions over the wire would take minutes, so the window is filled by
clearing's own claim commands, handed to its writer in full batches; the holds in them are not
written to a brand's log. Each round closes a copy of the filled database. The closing itself is
the operator's RPC through clearing's endpoint, with a database on disk.
"""

from __future__ import annotations

import asyncio
import sqlite3
import statistics
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from bench.measure import Extent, Figure, percentiles_ms
from clearing.commands import DecideHold
from comity.errors import NotFound
from comity.ledger import entries
from comity.ledger.command import Answer
from comity.ledger.engine import open_engine
from comity.ledger.sequencer import BATCH_LIMIT
from comity.ledger.statements import Proven
from comity.log.checkpoint import read_checkpoint
from comity.serve.process import spare_collector
from comity.v1 import operator_pb2
from tests.store.clearing_world import Brand, World, terms

REDEMPTIONS = 100_000
CAP_MINOR = 10**12


class Windows:
    """Clearing with two brands and one agreement."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._file = folder / "clearing.db"
        self._world = World(open_engine(f"sqlite:///{self._file}"))
        self._window = 1
        self._made = 0

    async def begin(self) -> None:
        """Admit the brands and put their agreement in force."""
        for name in ("grocery", "fuel"):
            await self._world.admit(name, cap_minor=CAP_MINOR)
        await self._world.agree(terms())

    async def copy(self, folder: Path) -> Windows:
        """The same once more, on a copy of the database, and as warm as after a day's work."""
        same = object.__new__(Windows)
        same._file = folder / "clearing.db"
        with closing(sqlite3.connect(self._file)) as source:
            source.execute("VACUUM INTO ?", (str(same._file),))
        same._world = World(open_engine(f"sqlite:///{same._file}"), fresh=False)
        same._world.brands = self._world.brands
        same._window, same._made = self._window, self._made
        for brand in same._world.brands.values():
            await same._world.pulse(brand)
        same.fill(BATCH_LIMIT)
        with suppress(NotFound):
            # Everything but the writing, so that no statement is prepared for the first time.
            await same._world.operator.CloseWindow(
                operator_pb2.CloseWindowRequest(id="no-such-window", window=10**6)
            )
        return same

    async def close(self, *, decisions: int) -> float:
        """Close the open window, which holds so many; returns the seconds it took."""
        request = operator_pb2.CloseWindowRequest(
            id=f"close-window-{self._window}", window=self._window
        )
        began = time.perf_counter()
        closed = await self._world.operator.CloseWindow(request)
        elapsed = time.perf_counter() - began
        assert closed.decisions == decisions, closed.decisions
        self._window += 1
        return elapsed

    def fill(self, count: int) -> None:
        """Commit so many redemptions in the open window."""
        sequencer = self._world.clearing.queue.sequencer
        issuer = self._world.brands["grocery"]
        note = issuer.checkpoint()
        for first in range(0, count, BATCH_LIMIT):
            commands = list(self._claims(issuer, note, min(BATCH_LIMIT, count - first)))
            for outcome in sequencer.run_batch(commands):
                assert isinstance(outcome, Answer), outcome

    def stop(self) -> None:
        self._world.engine.dispose()

    def _claims(self, issuer: Brand, note: bytes, count: int) -> Iterator[DecideHold]:
        now_us = self._world.clock()
        head = read_checkpoint(note)
        for _ in range(count):
            self._made += 1
            made = self._world.purchase(f"{self._made}")
            data = entries.encode(made.hold, origin=issuer.origin, at_us=now_us)
            yield DecideHold(
                caller=made.quote.acceptor,
                issuer=made.quote.issuer,
                hold=Proven(
                    entry=entries.decode(data),
                    data=data,
                    citation=entries.cite(issuer.origin, self._made, data),
                    head=head,
                    note=note,
                ),
                quote=entries.canonical(made.quote),
            )


def window_close(folder: Path, extent: Extent) -> list[Figure]:
    """Closing a full window beside closing an empty one, on the same growing ledger."""
    return [asyncio.run(_window_close(folder, extent))]


async def _window_close(folder: Path, extent: Extent) -> Figure:
    filled = Windows(folder / "window_close")
    await filled.begin()
    spare_collector()
    count = extent.count(REDEMPTIONS)
    filled.fill(count - BATCH_LIMIT)
    full: list[float] = []
    empty: list[float] = []
    for number in range(extent.rounds):
        place = folder / f"window_close_{number}"
        place.mkdir()
        windows = await filled.copy(place)
        full.append(await windows.close(decisions=count))
        empty.append(statistics.median([await windows.close(decisions=0) for _ in range(3)]))
        windows.stop()
    filled.stop()
    return Figure(
        name="window_close",
        value=statistics.median(full) * 1_000,
        unit=f"ms for {count:,} redemptions",
        baseline="ms for an empty window",
        baseline_value=statistics.median(empty) * 1_000,
        floor=3,
        at_most=True,
        percentiles_ms=percentiles_ms(full),
        notes={"filled_by": "clearing's claim commands, in process"},
    )
