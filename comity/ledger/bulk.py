"""Reading and writing many rows of one table in one statement, in each database's own way.

Round trips and per-row work decide how fast a batch is, so this module writes SQL text itself
and hands it with plain tuples to the driver's own cursor: SQLite gets `IN (…)` and executemany,
PostgreSQL gets arrays (`= ANY`, `unnest`). Every statement is bound to one ledger. Names come
from the schema, never from a request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import Any, Protocol

from sqlalchemy import Boolean, Connection, Table
from sqlalchemy.dialects import postgresql

Key = tuple[Any, ...]
Row = dict[str, Any]
"""A row's columns by name, all but `ledger`."""

CHUNK = 512
"""Keys in one SQLite statement."""

WRITTEN = 64
"""Rows in one SQLite statement."""

SQLITE_PARAMETERS = 32_766
"""What a SQLite statement takes."""


class Shape:
    """The names by which a table's rows are read and written."""

    def __init__(self, table: Table) -> None:
        primary = [column.name for column in table.primary_key.columns]
        if primary[0] != "ledger":
            raise ValueError(f"the primary key of {table.name} must begin with ledger")
        self.table = table
        self.name = table.name
        self.columns = tuple(c.name for c in table.columns if c.name != "ledger")
        self.key = tuple(primary[1:])
        self.width = len(self.columns)
        self.booleans = tuple(c.name for c in table.columns if isinstance(c.type, Boolean))
        dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
        self._dicts = _reader(self.columns)
        self.key_of = _picker(self.key)
        """A row's primary key after `ledger`."""
        self.values_of = _picker(self.columns)
        """A row's values in the order of `columns`."""
        self.types = {c.name: c.type.compile(dialect) for c in table.columns}

    def rows(self, raw: Iterable[Sequence[Any]]) -> list[Row]:
        """Rows as dicts from the driver's tuples, in the order of `columns`."""
        found = self._dicts(raw)
        for name in self.booleans:
            for row in found:
                if row[name] is not None:
                    row[name] = bool(row[name])
        return found


def _picker(names: Sequence[str]) -> Callable[[Mapping[str, Any]], Key]:
    if len(names) > 1:
        return itemgetter(*names)
    if not names:
        return lambda row: ()
    name = names[0]
    return lambda row: (row[name],)


def _reader(names: Sequence[str]) -> Callable[[Iterable[Sequence[Any]]], list[Row]]:
    """A function from tuples to dicts, written out for these names: twice as fast as `zip`."""
    variables = [f"v{at}" for at in range(len(names))]
    pairs = ", ".join(f"{name!r}: {v}" for name, v in zip(names, variables, strict=True))
    source = f"lambda raw: [{{{pairs}}} for ({', '.join(variables)},) in raw]"
    reader: Callable[[Iterable[Sequence[Any]]], list[Row]] = eval(source)  # noqa: S307
    return reader


@lru_cache(maxsize=1_024)
def shape(table: Table) -> Shape:
    """The shape of `table`, worked out once."""
    return Shape(table)


class Bulk(Protocol):
    """The statements a unit of work needs, for one connection and one ledger."""

    def select(self, of: Shape, names: Sequence[str], values: Sequence[Key]) -> list[Row]:
        """Rows whose columns `names` equal one of `values`."""

    def insert(self, of: Shape, rows: Sequence[Row]) -> None: ...

    def update(self, of: Shape, changed: Sequence[str], rows: Sequence[Row]) -> None:
        """Give the columns `changed` of rows that exist the values in these whole rows."""

    def delete(self, of: Shape, keys: Sequence[Key]) -> None: ...

    def update_one(self, of: Shape, changes: Row, where: Row) -> int:
        """Change the row that `where` selects; returns how many there were."""

    def together(self) -> AbstractContextManager[object]:
        """Within it, writes may be sent without waiting for each; errors show at its end."""


def bulk(connection: Connection, ledger: str) -> Bulk:
    """The implementation for the connection's database, within its transaction.

    Errors are the driver's own, not wrapped by SQLAlchemy.
    """
    if not connection.in_transaction():
        connection.begin()
    if connection.dialect.name == "sqlite":
        return _Sqlite(connection, ledger)
    return _Postgres(connection, ledger)


def _names(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _whole(of: Shape, mark: str) -> str:
    """For a table with one row a ledger."""
    return f'SELECT {_names(of.columns)} FROM "{of.name}" WHERE "ledger" = {mark}'


class _Raw:
    """The driver's cursor, bound to one ledger."""

    _mark: str

    def __init__(self, connection: Connection, ledger: str) -> None:
        self._cursor: Any = connection.connection.cursor()
        self._ledger = ledger

    def _fetch(self, of: Shape, sql: str, parameters: tuple[Any, ...]) -> list[Row]:
        self._cursor.execute(sql, parameters)
        return of.rows(self._cursor.fetchall())

    def update_one(self, of: Shape, changes: Row, where: Row) -> int:
        sql = _update_one(of, tuple(changes), tuple(where), self._mark)
        self._cursor.execute(sql, (*changes.values(), *where.values(), self._ledger))
        return int(self._cursor.rowcount)

    def together(self) -> AbstractContextManager[object]:
        return nullcontext()


@lru_cache(maxsize=1_024)
def _update_one(of: Shape, changed: tuple[str, ...], where: tuple[str, ...], mark: str) -> str:
    values = ", ".join(f'"{name}" = {mark}' for name in changed)
    condition = " AND ".join(f'"{name}" = {mark}' for name in (*where, "ledger"))
    return f'UPDATE "{of.name}" SET {values} WHERE {condition}'


class _Sqlite(_Raw):
    _mark = "?"

    def select(self, of: Shape, names: Sequence[str], values: Sequence[Key]) -> list[Row]:
        if not names:
            return self._fetch(of, _whole(of, "?"), (self._ledger,))
        found: list[Row] = []
        for start in range(0, len(values), CHUNK):
            chunk = list(values[start : start + CHUNK])
            # A power of two of keys keeps the number of distinct statements small; no key
            # equals a null.
            spare = (1 << (len(chunk) - 1).bit_length()) - len(chunk)
            chunk += [(None,) * len(names)] * spare
            sql = _sqlite_select(of, tuple(names), len(chunk))
            parameters = chain.from_iterable(chunk)
            found += self._fetch(of, sql, (*parameters, self._ledger))
        return found

    def insert(self, of: Shape, rows: Sequence[Row]) -> None:
        self._write(of, None, rows)

    def update(self, of: Shape, changed: Sequence[str], rows: Sequence[Row]) -> None:
        self._write(of, tuple(changed), rows)

    def _write(self, of: Shape, changed: tuple[str, ...] | None, rows: Sequence[Row]) -> None:
        # Many rows in one statement: the driver gives up the interpreter for each step of one,
        # and would have to win it back for every row.
        values = list(map(of.values_of, rows))
        at, size = 0, min(WRITTEN, SQLITE_PARAMETERS // (of.width + 1))
        while at < len(values):
            count = min(size, 1 << ((len(values) - at).bit_length() - 1))
            chunk = chain.from_iterable(values[at : at + count])
            self._cursor.execute(_sqlite_write(of, changed, count), (self._ledger, *chunk))
            at += count

    def delete(self, of: Shape, keys: Sequence[Key]) -> None:
        where = " AND ".join(f'"{name}" = ?' for name in ("ledger", *of.key))
        self._cursor.executemany(
            f'DELETE FROM "{of.name}" WHERE {where}', [(self._ledger, *key) for key in keys]
        )


@lru_cache(maxsize=1_024)
def _sqlite_select(of: Shape, names: tuple[str, ...], count: int) -> str:
    columns = ", ".join(f't."{name}"' for name in of.columns)
    # SQLite would walk the whole ledger for `(a, b) IN (VALUES …)`; a cross join keeps the
    # order of the loops, so that each key is one search.
    row = f"({', '.join('?' * len(names))})"
    return (
        f"WITH q({_names(names)}) AS (VALUES {', '.join([row] * count)}) "
        f'SELECT {columns} FROM q CROSS JOIN "{of.name}" AS t '
        f"WHERE {_joined(names, '?')}"
    )


@lru_cache(maxsize=4_096)
def _sqlite_write(of: Shape, changed: tuple[str, ...] | None, count: int) -> str:
    """Insert so many rows; with `changed`, give rows that exist these columns' values."""
    width = of.width
    rows = ", ".join(
        f"(?1, {', '.join(f'?{2 + row * width + at}' for at in range(width))})"
        for row in range(count)
    )
    head = f'INSERT INTO "{of.name}" ({_names(("ledger", *of.columns))}) VALUES {rows}'
    if changed is None:
        return head
    values = ", ".join(f'"{name}" = excluded."{name}"' for name in changed)
    return f"{head} ON CONFLICT ({_names(('ledger', *of.key))}) DO UPDATE SET {values}"


class _Postgres(_Raw):
    _mark = "%s"

    def together(self) -> AbstractContextManager[object]:
        # One round trip for all statements, instead of one for each.
        pipeline: AbstractContextManager[object] = self._cursor.connection.pipeline()
        return pipeline

    def select(self, of: Shape, names: Sequence[str], values: Sequence[Key]) -> list[Row]:
        if not names:
            return self._fetch(of, _whole(of, "%s"), (self._ledger,))
        sql = _postgres_select(of, tuple(names))
        arrays = (list(array) for array in zip(*values, strict=True))
        if len(names) == 1:
            return self._fetch(of, sql, (self._ledger, *arrays))
        return self._fetch(of, sql, (*arrays, self._ledger))

    def insert(self, of: Shape, rows: Sequence[Row]) -> None:
        arrays = tuple([row[name] for row in rows] for name in of.columns)
        self._cursor.execute(_postgres_insert(of), (self._ledger, *arrays))

    def update(self, of: Shape, changed: Sequence[str], rows: Sequence[Row]) -> None:
        names = (*changed, *of.key)
        arrays = tuple([row[name] for row in rows] for name in names)
        self._cursor.execute(_postgres_update(of, tuple(changed)), (*arrays, self._ledger))

    def delete(self, of: Shape, keys: Sequence[Key]) -> None:
        arrays = tuple(list(array) for array in zip(*keys, strict=True))
        if not arrays:
            self._cursor.execute(f'DELETE FROM "{of.name}" WHERE "ledger" = %s', (self._ledger,))
            return
        sql = (
            f'DELETE FROM "{of.name}" AS t USING {_unnest(of, of.key)} '
            f"WHERE {_joined(of.key, '%s')}"
        )
        self._cursor.execute(sql, (*arrays, self._ledger))


def _unnest(of: Shape, names: Sequence[str]) -> str:
    arrays = ", ".join(f"%s::{of.types[name]}[]" for name in names)
    return f"unnest({arrays}) AS q({_names(names)})"


def _joined(names: Sequence[str], mark: str) -> str:
    """The condition that joins rows to keys within one ledger, whose mark comes last."""
    return " AND ".join([*(f't."{name}" = q."{name}"' for name in names), f't."ledger" = {mark}'])


@lru_cache(maxsize=1_024)
def _postgres_select(of: Shape, names: tuple[str, ...]) -> str:
    columns = ", ".join(f't."{name}"' for name in of.columns)
    head = f'SELECT {columns} FROM "{of.name}" AS t'
    if len(names) == 1:
        return f'{head} WHERE t."ledger" = %s AND t."{names[0]}" = ANY(%s::{of.types[names[0]]}[])'
    return f"{head} JOIN {_unnest(of, names)} ON {_joined(names, '%s')}"


@lru_cache(maxsize=1_024)
def _postgres_insert(of: Shape) -> str:
    arrays = ", ".join(f"%s::{of.types[name]}[]" for name in of.columns)
    return (
        f'INSERT INTO "{of.name}" ({_names(("ledger", *of.columns))}) '
        f"SELECT %s::text, q.* FROM unnest({arrays}) AS q"
    )


@lru_cache(maxsize=1_024)
def _postgres_update(of: Shape, changed: tuple[str, ...]) -> str:
    values = ", ".join(f'"{name}" = q."{name}"' for name in changed)
    return (
        f'UPDATE "{of.name}" AS t SET {values} FROM {_unnest(of, (*changed, *of.key))} '
        f"WHERE {_joined(of.key, '%s')}"
    )


def select_rows(
    connection: Connection, ledger: str, table: Table, names: Sequence[str], values: Iterable[Key]
) -> list[Row]:
    """Rows of `table` whose columns `names` equal one of `values`; for readers."""
    wanted = list(values)
    return bulk(connection, ledger).select(shape(table), names, wanted) if wanted else []
