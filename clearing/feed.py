"""Clearing's log as brands follow it: entries in order, and the openings which concern the reader.

A reader who is up to date waits until something is committed; whoever commits announces it. It
then waits a moment more, so that under load one answer carries many batches: no member waits for
the feed. A feed holds nothing back: entries which concern others are hashed by everyone, opened
by nobody else.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

from clearing.record import opening_for
from comity.ledger.runner import Runner
from comity.ledger.store import Head, LedgerStore
from comity.v1.entry_pb2 import DecisionOpening, Entry, EntryOpening

PAGE_BYTES = 2 * 1024 * 1024
"""Entries of one answer, in bytes; openings come on top."""

LINGER_S = 0.05


@dataclass(frozen=True, slots=True)
class Page:
    """Entries from one index on, under a head at or above their end."""

    head: Head
    entries: tuple[bytes, ...]
    openings: dict[int, DecisionOpening]
    link: tuple[bytes, ...]


class Feed:
    """Reads pages of the log, and waits for more."""

    def __init__(self, store: LedgerStore, *, read: Runner, linger_s: float = LINGER_S) -> None:
        self._store = store
        self._read = read
        self._linger_s = linger_s
        self._news = asyncio.Event()
        self._closed = False

    def close(self) -> None:
        """Answer whoever waits, and let nobody wait any more: the process is about to end."""
        self._closed = True
        self.announce()

    def announce(self) -> None:
        """Something was committed: wake whoever waits."""
        self._news.set()
        self._news = asyncio.Event()

    async def page(self, participant: str, *, start: int, limit: int, wait_s: float) -> Page:
        """Up to `limit` entries from `start` on; waits for the first at most `wait_s` seconds."""
        news = self._news
        if self._store.head().size <= start and wait_s > 0 and not self._closed:
            with contextlib.suppress(TimeoutError):
                # Not `wait_for`: it may swallow a cancellation that comes together with news.
                async with asyncio.timeout(wait_s):
                    await news.wait()
                    await asyncio.sleep(self._linger_s)
        end = min(start + limit, self._store.head().size)
        if self._store.in_memory(range(start, end)):
            return self._page(participant, start, limit)
        return await self._read(lambda: self._page(participant, start, limit))

    def _page(self, participant: str, start: int, limit: int) -> Page:
        head = self._store.head()
        found: list[bytes] = []
        openings: dict[int, DecisionOpening] = {}
        size = 0
        for stored in self._store.entries(start, limit):
            size += len(stored.body)
            if stored.index >= head.size or (found and size > PAGE_BYTES):
                break
            found.append(stored.body)
            if stored.opening is not None:
                decision = Entry.FromString(stored.body).decision
                whole = EntryOpening.FromString(stored.opening).decision
                shown = opening_for(participant, decision, whole)
                if shown is not None:
                    openings[stored.index] = shown
        end = start + len(found)
        link = self._store.consistency(end, head.size) if 0 < end < head.size else ()
        return Page(head=head, entries=tuple(found), openings=openings, link=link)
