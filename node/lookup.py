"""Rows by their key, for many callers at once: whatever is asked for meanwhile is one SELECT."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Table

from comity.ledger.bulk import Row, select_rows
from comity.ledger.runner import Runner
from comity.ledger.store import LedgerStore
from comity.rpc.bounded import BoundedCache
from comity.rpc.courier import Courier

REMEMBERED: Final = 4_096


class Lookup:
    """The rows of one table by `name`, the one column of its key after `ledger`."""

    def __init__(self, store: LedgerStore, table: Table, name: str, *, read: Runner) -> None:
        self._store = store
        self._table = table
        self._name = name
        self._read = read
        self._asked: Courier[str, Row | None] = Courier(self._find)

    async def get(self, value: str) -> Row | None:
        """The row as committed when this was called, or later; None where there is none."""
        return await self._asked.submit(value)

    async def _find(self, values: Sequence[str]) -> list[Row | None]:
        rows = await self._read(lambda: self._select([(one,) for one in dict.fromkeys(values)]))
        found = {row[self._name]: row for row in rows}
        return [None if (row := found.get(one)) is None else dict(row) for one in values]

    def _select(self, keys: Sequence[tuple[Any, ...]]) -> list[Row]:
        store = self._store
        with store.engine.connect() as connection:
            return select_rows(connection, store.ledger, self._table, (self._name,), keys)


class Remembered:
    """A lookup in rows that seldom change: what was found is remembered until `changed`."""

    def __init__(self, lookup: Lookup, *, remembered: int = REMEMBERED) -> None:
        self._lookup = lookup
        self._remembered = remembered
        self._rows: BoundedCache[str, Row] = BoundedCache(remembered)

    async def get(self, value: str) -> Row | None:
        """The row as it was when this was called, or later; not to be changed."""
        rows = self._rows
        row = rows.get(value)
        if row is None:
            row = await self._lookup.get(value)
            if row is not None:
                # If something changed meanwhile, these are rows that nobody asks any more.
                rows.put(value, row)
        return row

    def changed(self) -> None:
        """Forget everything: a row was changed. To be called before the change is answered."""
        self._rows = BoundedCache(self._remembered)
