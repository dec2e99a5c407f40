"""What a batch sees of the database: rows loaded in bulk, changed in memory, written in bulk.

A book first says what it will touch (`load`, `load_where`, `load_query`: one SELECT each),
then reads and writes plain dicts. Reading a key that nobody loaded is a programming error and
raises KeyError, so a forgotten prefetch shows in the first test and never as a slow query.

Rows handed out are copies: nothing changes until `put`. A refused command's changes are undone
by `rollback` to the mark taken before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, select

from comity.ledger.bulk import Key, Row, Shape, bulk, shape

Mark = int


class _Cache:
    """One table's rows in memory: now, and as they were loaded."""

    __slots__ = ("indexes", "loaded", "now", "of")

    def __init__(self, of: Shape) -> None:
        self.of = of
        self.now: dict[Key, Row | None] = {}
        self.loaded: dict[Key, Row | None] = {}
        self.indexes: dict[tuple[str, ...], dict[Key, dict[Key, None]]] = {}

    def learn(self, row: Row) -> Key:
        """Take in a row from the database, unless it is known (and maybe changed) already."""
        found = self.of.key_of(row)
        if found not in self.now:
            self.set(found, row)
        return found

    def set(self, at: Key, row: Row | None) -> None:
        """Make `row` the row at this key, in every index too."""
        if self.indexes:
            before = self.now.get(at)
            for names, index in self.indexes.items():
                old = None if before is None else tuple([before[name] for name in names])
                new = None if row is None else tuple([row[name] for name in names])
                if old == new:
                    continue
                if old is not None and old in index:
                    index[old].pop(at, None)
                if new is not None and new in index:
                    index[new][at] = None
        self.now[at] = row

    def forget(self, at: Key) -> None:
        """Undo the first write to a key that was never loaded."""
        self.set(at, None)
        del self.now[at]


class Rows:
    """The rows of one ledger, for one batch."""

    def __init__(self, connection: Connection, ledger: str, *, now_us: int = 0) -> None:
        self.ledger = ledger
        self.now_us = now_us
        """The batch's time, for prefetching what is due."""
        self._connection = connection
        self._bulk = bulk(connection, ledger)
        self._caches: dict[Table, _Cache] = {}
        self._journal: list[tuple[_Cache, Key, Row | None, bool]] = []

    # --- reading ahead ----------------------------------------------------------------

    def load(self, table: Table, keys: Iterable[Key]) -> None:
        """Load the rows at `keys` (tuples of the primary key after `ledger`), or their absence."""
        cache = self._cache(table)
        wanted = [one for one in dict.fromkeys(keys) if one not in cache.now]
        if not wanted:
            return
        for row in self._bulk.select(cache.of, cache.of.key, wanted):
            cache.learn(row)
        for one in wanted:
            cache.now.setdefault(one, None)

    def load_where(self, table: Table, names: str | Sequence[str], values: Iterable[Any]) -> None:
        """Load every row whose columns `names` equal one of `values`, for `find`.

        With one name, `values` are plain values; with several, tuples.
        """
        cache = self._cache(table)
        columns = (names,) if isinstance(names, str) else tuple(names)
        index = self._index(cache, columns)
        keys = ((value,) for value in values) if isinstance(names, str) else map(tuple, values)
        wanted = [one for one in dict.fromkeys(keys) if one not in index]
        if not wanted:
            return
        for one in wanted:
            index[one] = {}
        for at, row in cache.now.items():
            if row is not None:
                held = index.get(tuple([row[name] for name in columns]))
                if held is not None:
                    held[at] = None
        for row in self._bulk.select(cache.of, columns, wanted):
            cache.learn(row)

    def load_query(
        self,
        table: Table,
        where: ColumnElement[bool],
        *,
        order_by: Sequence[ColumnElement[Any]] = (),
        limit: int | None = None,
    ) -> list[Row]:
        """Load the rows that `where` selects, and return them as they are in this batch.

        For work found by a condition (what expires, what is due) rather than by key; the
        condition is the database's, so it does not see what this batch has changed.
        """
        cache = self._cache(table)
        columns = [table.c[name] for name in cache.of.columns]
        query = select(*columns).where(table.c.ledger == self.ledger, where).order_by(*order_by)
        found = self._connection.execute(query.limit(limit)).all()
        keys = [cache.learn(row) for row in cache.of.rows(tuple(values) for values in found)]
        return [dict(row) for at in keys if (row := cache.now[at]) is not None]

    # --- reading ----------------------------------------------------------------------

    def get(self, table: Table, at: Key) -> Row | None:
        """A copy of the row at this key, or None where there is none.

        Raises KeyError if the key was never loaded.
        """
        row = self._caches[table].now[at]
        return None if row is None else dict(row)

    def find(self, table: Table, names: str | Sequence[str], value: Any) -> list[Row]:
        """Copies of all rows whose columns `names` equal `value`, this batch's own included.

        Raises KeyError if `load_where` never asked for this value.
        """
        columns, wanted = ((names,), (value,)) if isinstance(names, str) else (tuple(names), value)
        cache = self._caches[table]
        now = cache.now
        return [dict(row) for at in cache.indexes[columns][wanted] if (row := now[at]) is not None]

    # --- writing ----------------------------------------------------------------------

    def put(self, table: Table, row: Mapping[str, Any]) -> None:
        """Insert or replace the row at its key. Raises KeyError if the key was never loaded."""
        cache = self._caches[table]
        at = cache.of.key_of(row)
        self._write(cache, at, dict(row), cache.now[at])

    def insert(self, table: Table, row: Mapping[str, Any]) -> None:
        """Insert a row whose key is new by construction, without having loaded the key.

        The database refuses it if the key was taken after all.
        """
        cache = self._cache(table)
        at = cache.of.key_of(row)
        if cache.now.get(at) is not None:
            raise ValueError(f"{cache.of.name} has a row at {at} already")
        self._write(cache, at, dict(row), None)

    def delete(self, table: Table, at: Key) -> None:
        """Remove the row at this key, if there is one. Raises KeyError if it was never loaded."""
        cache = self._caches[table]
        self._write(cache, at, None, cache.now[at])

    def mark(self) -> Mark:
        """A point to roll back to."""
        return len(self._journal)

    def keys_since(self, mark: Mark, table: Table) -> list[Key]:
        """The keys of this table that were written since `mark`, in order, each once."""
        cache = self._caches.get(table)
        found = [at for one, at, _, _ in self._journal[mark:] if one is cache]
        return list(dict.fromkeys(found))

    def rollback(self, mark: Mark) -> None:
        """Undo every write since `mark`."""
        journal = self._journal
        while len(journal) > mark:
            cache, at, before, known = journal.pop()
            if known:
                cache.set(at, before)
            else:
                cache.forget(at)

    @property
    def changed(self) -> bool:
        """Whether anything was written since the last flush."""
        return bool(self._journal)

    def flush(self) -> None:
        """Write every change: at most one insert, one update and one delete per table."""
        for cache in self._caches.values():
            self._flush(cache)
        self._journal.clear()

    # --- inside -----------------------------------------------------------------------

    def _cache(self, table: Table) -> _Cache:
        cache = self._caches.get(table)
        if cache is None:
            cache = self._caches[table] = _Cache(shape(table))
        return cache

    def _index(self, cache: _Cache, columns: tuple[str, ...]) -> dict[Key, dict[Key, None]]:
        return cache.indexes.setdefault(columns, {})

    def _write(self, cache: _Cache, at: Key, row: Row | None, before: Row | None) -> None:
        if row is not None and len(row) != cache.of.width:
            different = set(row) ^ set(cache.of.columns)
            raise ValueError(f"a row of {cache.of.name} differs in columns: {sorted(different)}")
        now, loaded = cache.now, cache.loaded
        self._journal.append((cache, at, before, at in now))
        if at not in loaded:
            loaded[at] = before
        if cache.indexes:
            cache.set(at, row)
        else:
            now[at] = row

    def _flush(self, cache: _Cache) -> None:
        new: list[Row] = []
        changed: list[Row] = []
        gone: list[Key] = []
        same = [name for name in cache.of.columns if name not in cache.of.key]
        for at, before in cache.loaded.items():
            row = cache.now.get(at)
            if row == before:
                continue
            if before is None:
                assert row is not None
                new.append(row)
            elif row is None:
                gone.append(at)
            else:
                changed.append(row)
                for name in same:
                    if row[name] != before[name]:
                        # Few columns change at all: look on for those that have not yet.
                        same = [n for n in same if row[n] == before[n]]
                        break
        if gone:
            self._bulk.delete(cache.of, gone)
        if changed:
            kept = {*same, *cache.of.key}
            self._bulk.update(cache.of, [n for n in cache.of.columns if n not in kept], changed)
        if new:
            self._bulk.insert(cache.of, new)
        cache.loaded.clear()
