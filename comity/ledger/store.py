"""Reading a ledger: its head, entries and proofs, each from one read transaction.

In the process that writes, the sequencer publishes each committed head with its tiles and
entries, so that proving what was just written reads no database. Elsewhere everything comes
from the tables. Nothing here writes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Engine, select

from comity.errors import MissingLedger, NotFound
from comity.ledger import schema
from comity.ledger.bulk import select_rows
from comity.log.history import KeyHistory
from comity.log.tiles import TileKey, TileReader

RECENT_ENTRIES = 8_192
"""Entries of the newest batches kept in memory."""

PAGE_LIMIT = 1_000
"""Entries in one answer of `entries`."""


@dataclass(frozen=True, slots=True)
class Head:
    """A signed size and root of the log: `note` is the checkpoint as signed."""

    size: int
    root: bytes
    note: bytes
    at_us: int


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """A log entry as first written. `opening` is for the parties it concerns, never public."""

    index: int
    kind: str
    at_us: int
    body: bytes
    opening: bytes | None


@dataclass(frozen=True, slots=True)
class ProvenEntry:
    """An entry's bytes with the inclusion path from its leaf to a head's root."""

    index: int
    body: bytes
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Proven:
    """Entries proven under one head: what statements are made of."""

    head: Head
    entries: tuple[ProvenEntry, ...]


@dataclass(frozen=True, slots=True)
class KnownHead:
    """The highest verified head of a counterparty's log.

    `linked` says whether it is proven to extend the head known before it.
    """

    origin: str
    size: int
    root: bytes
    note: bytes
    linked: bool
    at_us: int


class LedgerStore:
    """The reading side of one ledger. May be used from several threads."""

    def __init__(self, engine: Engine, ledger: str) -> None:
        self.engine = engine
        self.ledger = ledger
        self._lock = threading.Lock()
        self._tiles = TileReader(self._read_tile)
        self._published: Head | None = None
        self._recent: dict[int, StoredEntry] = {}
        self._oldest = 0

    # --- heads ------------------------------------------------------------------------

    def head(self) -> Head:
        """The latest signed head. Raises MissingLedger if there is no such ledger."""
        published = self._published
        if published is not None:
            return published
        with self.engine.connect() as connection:
            return read_head(connection, self.ledger)

    def checkpoint_at_or_after(self, size: int) -> Head:
        """The smallest signed head of at least `size`. Raises NotFound if there is none yet."""
        table = schema.checkpoints
        query = (
            select(table.c.size, table.c.note, table.c.at_us)
            .where(table.c.ledger == self.ledger, table.c.size >= size)
            .order_by(table.c.size)
            .limit(1)
        )
        with self.engine.connect() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise NotFound(f"No checkpoint of {self.ledger} covers {size} entries yet.")
        with self._lock:
            root = self._tiles.root(row.size)
        return Head(size=row.size, root=root, note=bytes(row.note), at_us=row.at_us)

    def known_head(self, origin: str) -> KnownHead | None:
        """The highest verified head of a counterparty's log, if any was ever stored."""
        return self.known_heads([origin]).get(origin)

    def known_heads(self, origins: Iterable[str] | None = None) -> dict[str, KnownHead]:
        """The highest verified heads, of `origins` or of every counterparty, by origin."""
        table = schema.heads
        columns = [column for column in table.c if column.name != "ledger"]
        query = select(*columns).where(table.c.ledger == self.ledger)
        if origins is not None:
            query = query.where(table.c.origin.in_(list(origins)))
        with self.engine.connect() as connection:
            rows = connection.execute(query).all()
        return {
            row.origin: KnownHead(
                origin=row.origin,
                size=row.size,
                root=bytes(row.root),
                note=bytes(row.note),
                linked=bool(row.linked),
                at_us=row.at_us,
            )
            for row in rows
        }

    def loose_heads(self) -> list[KnownHead]:
        """Signed heads of counterparties that their owners have not linked yet."""
        table = schema.loose_heads
        columns = [column for column in table.c if column.name != "ledger"]
        query = select(*columns).where(table.c.ledger == self.ledger)
        with self.engine.connect() as connection:
            rows = connection.execute(query).all()
        return [
            KnownHead(
                origin=row.origin,
                size=row.size,
                root=bytes(row.root),
                note=bytes(row.note),
                linked=False,
                at_us=row.at_us,
            )
            for row in rows
        ]

    # --- entries ----------------------------------------------------------------------

    def entry(self, index: int) -> StoredEntry:
        """One entry. Raises NotFound beyond the log's end."""
        found = self.entries(index, 1)
        if not found:
            raise NotFound(f"Ledger {self.ledger} has no entry {index} yet.")
        return found[0]

    def entries(self, start: int, limit: int) -> list[StoredEntry]:
        """Up to `limit` (at most 1,000) entries in order, from index `start`."""
        limit = min(limit, PAGE_LIMIT)
        recent = self._recent_from(start, limit)
        if recent is not None:
            return recent
        return self._entries(schema.entries.c["index"].between(start, start + limit - 1))

    def bodies(self, indices: Iterable[int]) -> dict[int, bytes]:
        """The bytes of these entries by index. Raises NotFound if one does not exist."""
        recent = self._recent
        wanted = list(dict.fromkeys(indices))
        found = {index: one.body for index in wanted if (one := recent.get(index)) is not None}
        missing = [(index,) for index in wanted if index not in found]
        if missing:
            with self.engine.connect() as connection:
                rows = select_rows(connection, self.ledger, schema.entries, ("index",), missing)
            found.update((row["index"], row["body"]) for row in rows)
            for (index,) in missing:
                if index not in found:
                    raise NotFound(f"Ledger {self.ledger} has no entry {index} yet.")
        return found

    # --- proofs -----------------------------------------------------------------------

    def inclusion(self, index: int, size: int) -> tuple[bytes, ...]:
        """The audit path of entry `index` in the log of `size`."""
        with self._lock:
            return self._tiles.inclusion(index, size)

    def consistency(self, old_size: int, new_size: int) -> tuple[bytes, ...]:
        """The proof that the log of `old_size` is a prefix of the log of `new_size`."""
        with self._lock:
            return self._tiles.consistency(old_size, new_size)

    def root(self, size: int) -> bytes:
        """The root of the log when it had `size` entries, computed from the tiles."""
        with self._lock:
            return self._tiles.root(size)

    def prove(self, indices: Sequence[int], head: Head | None = None) -> Proven:
        """These entries with their paths under one head, the latest unless another is given.

        Raises NotFound for an index the log does not have.
        """
        under = self.head() if head is None else head
        bodies = self.bodies(indices)
        with self._lock:
            return Proven(
                head=under,
                entries=tuple(
                    ProvenEntry(
                        index=index,
                        body=bodies[index],
                        path=self._tiles.inclusion(index, under.size),
                    )
                    for index in indices
                ),
            )

    def in_memory(self, indices: Iterable[int]) -> bool:
        """Whether these are answered from memory, without blocking on the database."""
        recent = self._recent
        return self._published is not None and all(index in recent for index in indices)

    def tile(self, level: int, index: int) -> bytes:
        """The newest form of a tile, partial or full. Raises NotFound if it does not exist."""
        found = self._read_tile(level, index)
        if not found:
            raise NotFound(f"Ledger {self.ledger} has no tile {level}/{index} yet.")
        return found

    # --- for the sequencer ------------------------------------------------------------

    def publish(
        self, head: Head, *, tiles: Mapping[TileKey, bytes], entries: Mapping[int, StoredEntry]
    ) -> None:
        """Take over what was just committed. Called by the ledger's one writer only."""
        with self._lock:
            for at, tile in tiles.items():
                self._tiles.remember_tile(at, tile)
        if not self._recent:
            self._oldest = min(entries, default=head.size)
        self._recent.update(entries)
        for index in range(self._oldest, head.size - RECENT_ENTRIES):
            self._recent.pop(index, None)
            self._oldest = index + 1
        self._published = head

    def _recent_from(self, start: int, limit: int) -> list[StoredEntry] | None:
        """Entries from `start` on, if all of them are in memory."""
        head, recent = self._published, self._recent
        if head is None:
            return None
        indices = range(start, min(start + limit, head.size))
        found = [one for index in indices if (one := recent.get(index)) is not None]
        return found if len(found) == len(indices) else None

    def _entries(self, where: ColumnElement[bool]) -> list[StoredEntry]:
        table = schema.entries
        columns = [table.c["index"], table.c.kind, table.c.at_us, table.c.body, table.c.opening]
        query = select(*columns).where(table.c.ledger == self.ledger, where)
        with self.engine.connect() as connection:
            rows = connection.execute(query.order_by(table.c["index"])).all()
        return [
            StoredEntry(index=index, kind=kind, at_us=at_us, body=body, opening=opening)
            for index, kind, at_us, body, opening in rows
        ]

    def _read_tile(self, level: int, index: int) -> bytes:
        with self.engine.connect() as connection:
            return read_tile(connection, self.ledger, level, index)


def read_head(connection: Connection, ledger: str) -> Head:
    """The latest signed head, as the ledger's own row states it."""
    table = schema.ledgers
    query = select(table.c.size, table.c.root, table.c.note, table.c.last_at_us)
    row = connection.execute(query.where(table.c.ledger == ledger)).one_or_none()
    if row is None:
        raise MissingLedger(f"There is no ledger {ledger} in this database; create it with init.")
    size, root, note, at_us = row
    return Head(size=size, root=root, note=note, at_us=at_us)


def read_keys(connection: Connection, ledger: str) -> KeyHistory:
    """The keys of the log, as the ledger's own row states them."""
    table = schema.ledgers
    found = connection.execute(select(table.c.vkey).where(table.c.ledger == ledger))
    vkey = found.scalar_one_or_none()
    if vkey is None:
        raise MissingLedger(f"There is no ledger {ledger} in this database; create it with init.")
    return KeyHistory.parse(vkey)


def read_tile(connection: Connection, ledger: str, level: int, index: int) -> bytes:
    """A tile as stored; empty if there is none."""
    table = schema.tiles
    query = select(table.c.hashes).where(
        table.c.ledger == ledger, table.c.level == level, table.c["index"] == index
    )
    found: bytes | None = connection.execute(query).scalar_one_or_none()
    return found or b""
