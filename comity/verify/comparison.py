"""A ledger's tables as they are stored, beside what they should say: how the two are compared.

The kernel knows a service's tables by name and column only, and passes over those it has not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.message import DecodeError
from sqlalchemy import Connection, column, func, or_, select, table

from comity.ledger import schema
from comity.ledger.replay import Findings
from comity.log.merkle import leaf_hash
from comity.v1 import entry_pb2

PAGE: Final = 4_096

Reading = Callable[[str], AbstractContextManager[None]]
Key = tuple[Any, ...]
Values = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Written:
    """An entry of the ledger's own log, read once more for what only some tables need."""

    index: int
    leaf: bytes
    kind: str
    entry: entry_pb2.Entry
    opening: entry_pb2.EntryOpening

    @property
    def body(self) -> Any:
        return getattr(self.entry, self.kind)


class Comparison:
    """One ledger's tables as stored, beside what they should say."""

    def __init__(
        self,
        connection: Connection,
        ledger: str,
        reading: Reading,
        found: Findings,
        present: set[str],
    ) -> None:
        self._connection = connection
        self._ledger = ledger
        self._reading = reading
        self._found = found
        self._present = present
        self.good: dict[str, str] = {}
        self.blamed: set[str] = set()

    def rows(self, name: str, columns: Iterable[str]) -> list[Any]:
        """All rows of a table of this ledger; none if there is no such table."""
        if name not in self._present:
            return []
        names = list(columns)
        source = table(name, column("ledger"), *map(column, names))
        query = select(*(source.c[one] for one in names)).where(source.c.ledger == self._ledger)
        found: list[Any] = []
        with self._reading(name):
            found += self._connection.execute(query)
        return found

    def table(
        self,
        name: str,
        keys: tuple[str, ...],
        values: tuple[str, ...],
        expected: Mapping[Key, Values],
    ) -> None:
        """Compare a table with what the log says. A row of nothing may be there or not."""
        if name not in self._present:
            return
        self.good[name] = f"{len(expected)} rows are what the log says."
        left = dict(expected)
        for row in self.rows(name, (*keys, *values)):
            at, stored = tuple(row[: len(keys)]), _plain(row[len(keys) :])
            replayed = left.pop(at, None)
            if replayed != stored and (replayed is not None or any(stored)):
                self._differs(name, at, values, stored, replayed)
        for at, replayed in left.items():
            if any(replayed):
                self._differs(name, at, values, None, replayed)

    def sums(
        self,
        name: str,
        keys: tuple[str, ...],
        values: tuple[str, ...],
        expected: Mapping[Key, Values],
    ) -> None:
        """As `table`, for the sums of a table's rows by key."""
        if name not in self._present:
            return
        self.good[name] = "The rows sum to the balances."
        source = table(name, column("ledger"), *map(column, (*keys, *values)))
        by = [source.c[key] for key in keys]
        query = (
            select(*by, *(func.sum(source.c[value]) for value in values))
            .where(source.c.ledger == self._ledger)
            .group_by(*by)
        )
        left = dict(expected)
        with self._reading(name):
            for row in self._connection.execute(query):
                at, stored = tuple(row[: len(keys)]), tuple(int(one) for one in row[len(keys) :])
                replayed = left.pop(at, None)
                if replayed != stored and (replayed is not None or any(stored)):
                    self._differs(name, at, values, stored, replayed)
        for at, replayed in left.items():
            if any(replayed):
                self._differs(name, at, values, None, replayed)

    def written(self, *kinds: str) -> Iterator[Written]:
        """The entries of these kinds in order; none that is not an entry, which was noticed."""
        where = schema.entries.c.ledger == self._ledger, schema.entries.c.kind.in_(kinds)
        here = schema.entries.c
        columns = (here["index"], here.kind, here.body, here.opening)
        query = select(*columns).where(*where).order_by(here["index"]).limit(PAGE)
        last = -1
        while True:
            page: list[Any] = []
            with self._reading("entries"):
                page += self._connection.execute(query.where(here["index"] > last))
            for index, kind, body, opening in page:
                try:
                    entry = entry_pb2.Entry.FromString(body)
                    opened = entry_pb2.EntryOpening.FromString(opening or b"")
                except DecodeError:
                    continue
                if entry.WhichOneof("body") == kind:
                    yield Written(index, leaf_hash(body), kind, entry, opened)
            if len(page) < PAGE:
                return
            last = page[-1][0]

    def beside_entries(self, name: str, index: str, **same: str) -> None:
        """Rows that name an entry say of it what its own row says: `column="entry's column"`."""
        if name not in self._present:
            return
        own = table(name, column("ledger"), column(index), *map(column, same))
        here = schema.entries.c
        differs = [own.c[one] != here[other] for one, other in same.items()]
        joined = own.outerjoin(
            schema.entries, (here.ledger == own.c.ledger) & (here["index"] == own.c[index])
        )
        query = (
            select(own.c[index])
            .select_from(joined)
            .where(own.c.ledger == self._ledger, or_(here["index"].is_(None), *differs))
            .limit(PAGE)
        )
        with self._reading(name):
            for at in self._connection.execute(query).scalars():
                self.wrong(name, f"a row says of entry {at} what it is not.")

    def has(self, *names: str) -> bool:
        """Whether there are such tables."""
        return self._present.issuperset(names)

    def keep(self, name: str, good: str) -> None:
        """Say of a table what is good about it, unless something is wrong in it."""
        self.good.setdefault(name, good)

    def pages(self, name: str, columns: tuple[str, ...]) -> Iterator[Any]:
        """All rows of a table of this ledger in the order of the first column, page by page."""
        source = table(name, column("ledger"), *map(column, columns))
        first = source.c[columns[0]]
        query = (
            select(*(source.c[one] for one in columns))
            .where(source.c.ledger == self._ledger)
            .order_by(first)
            .limit(PAGE)
        )
        last = -1
        while True:
            rows: list[Any] = []
            with self._reading(name):
                rows += self._connection.execute(query.where(first > last))
            yield from rows
            if len(rows) < PAGE:
                return
            last = rows[-1][0]

    def wrong(self, name: str, text: str) -> None:
        """Write down what is wrong in a table."""
        self.blamed.add(name)
        self._found.add(name, f"In {name}, {text}")

    def _differs(
        self,
        name: str,
        at: Key,
        columns: tuple[str, ...],
        stored: Values | None,
        replayed: Values | None,
    ) -> None:
        place = " ".join(str(part) for part in at)
        if stored is None or replayed is None:
            what = "is missing, and the log has it" if stored is None else "is not in the log"
            self.wrong(name, f"{place} {what}.")
            return
        for column_, one, other in zip(columns, stored, replayed, strict=True):
            if one != other:
                said = f"says {column_} {_text(one)} and the log {_text(other)}"
                self.wrong(name, f"{place} {said}.")


def _plain(values: Iterable[Any]) -> Values:
    return tuple(bytes(one) if isinstance(one, memoryview) else one for one in values)


def _text(value: Any) -> str:
    return value.hex()[:16] if isinstance(value, bytes) else repr(value)
