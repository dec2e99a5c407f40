"""Every version of the brand's programme, and which one was in force when.

Versions stand in the log and in a table, published or declared by a start. The writer learns new
ones from the table before the next batch, so a version counts from the batch after its own.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from comity.ledger.rows import Rows
from node.programme import Programme, read_programme
from node.tables import programmes


@dataclass(frozen=True, slots=True)
class _Known:
    """Versions in the order of their effect; `newest` is the last one's index in the log."""

    newest: int = -1
    times: tuple[tuple[int, int], ...] = ()
    programmes: tuple[Programme, ...] = ()


class Versions:
    """The versions there are. Whoever only asks needs no lock."""

    def __init__(self, first: Programme) -> None:
        """`first`, the file this process runs by, is in force until the table names a version."""
        self._first = first
        self._lock = threading.Lock()
        self._known = _Known()

    def at(self, at_us: int) -> Programme:
        """The version in force at a time; before the first one, the first.

        Of two that take effect at the same time, the one published later.
        """
        known = self._known
        place = bisect_right(known.times, (at_us, known.newest))
        if place:
            return known.programmes[place - 1]
        if self._first in known.programmes:
            return known.programmes[0]
        return self._first

    @property
    def newest(self) -> int:
        """The index of the newest version known; -1 for none."""
        return self._known.newest

    def refresh(self, rows: Rows) -> None:
        """Learn what was published since, from a batch's rows."""
        index = programmes.c["index"]
        self.learn(rows.load_query(programmes, index > self.newest, order_by=(index,)))

    def learn(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add these rows of the table, in the order of the log; known ones again change nothing.

        A row without its file, of a release that kept none, is passed over.
        """
        with self._lock:
            known = self._known
            newest = known.newest
            found = dict(zip(known.times, known.programmes, strict=True))
            for row in rows:
                if row["index"] > newest:
                    newest = row["index"]
                    if row["file"]:
                        at = (row["effective_at_us"], newest)
                        found[at] = self._same(read_programme(row["file"]).programme)
            times = tuple(sorted(found))
            self._known = _Known(newest, times, tuple(found[at] for at in times))

    def _same(self, programme: Programme) -> Programme:
        return self._first if programme == self._first else programme
