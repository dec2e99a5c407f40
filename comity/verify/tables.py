"""The tables in which services keep what follows from their logs, against the replayed logs.

The kernel knows these tables by name and column only: a service that keeps other tables is
checked as far as it has these, and one that has none of them passes with what its log says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from sqlalchemy import Connection, column, func, inspect, select, table

from comity.errors import ComityError
from comity.ledger.replay import Findings, Replay
from comity.terms.decision_replay import DecisionReplay
from comity.terms.settlement import check_settlement, digest
from comity.verify.report import AnyReplay
from comity.verify.settlement import read_table

Reading = Callable[[str], AbstractContextManager[None]]
Key = tuple[Any, ...]
Values = tuple[Any, ...]


def check_tables(
    connection: Connection, ledger: str, replay: AnyReplay, reading: Reading, found: Findings
) -> dict[str, str]:
    """Compare whatever tables there are; returns each table's name with the good news."""
    present = set(inspect(connection).get_table_names())
    compare = _Comparison(connection, ledger, reading, found, present)
    if isinstance(replay, Replay):
        _check_brand(compare, replay)
    else:
        _check_clearing(compare, replay)
    return compare.good


class _Comparison:
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
                self._differs(name, at, stored, replayed)
        for at, replayed in left.items():
            if any(replayed):
                self._differs(name, at, None, replayed)

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
                    self._differs(name, at, stored, replayed)
        for at, replayed in left.items():
            if any(replayed):
                self._differs(name, at, None, replayed)

    def wrong(self, name: str, text: str) -> None:
        """Write down what is wrong in a table."""
        self._found.add(name, f"In {name}, {text}")

    def _differs(self, name: str, at: Key, stored: Values | None, replayed: Values | None) -> None:
        place = " ".join(str(part) for part in at)
        says = "is missing" if stored is None else f"says {_text(stored)}"
        log = "knows of none" if replayed is None else f"says {_text(replayed)}"
        self.wrong(name, f"{place} {says} and the log {log}.")


def _check_brand(compare: _Comparison, replay: Replay) -> None:
    balances = {at: tuple(points) for at, points in replay.accounts.items()}
    parts = ("pending", "available", "held", "debt")
    compare.table("accounts", ("account", "unit"), parts, balances)
    compare.table(
        "lots",
        ("lot",),
        ("account", "unit", "earned", "pending", "available", "held", "expires_at_us"),
        {
            (name,): (lot.account, lot.unit, lot.earned, *lot.points, lot.expires_at_us)
            for name, lot in replay.lots.items()
        },
    )
    compare.table(
        "class_totals",
        ("unit", "account_class"),
        ("points",),
        {at: (points,) for at, points in replay.totals.items()},
    )
    compare.sums("postings", ("account", "unit"), parts, balances)


def _check_clearing(compare: _Comparison, replay: DecisionReplay) -> None:
    compare.table(
        "positions",
        ("participant", "currency"),
        ("running_minor",),
        {at: (minor,) for at, minor in replay.positions.items()},
    )
    compare.table(
        "caps",
        ("participant", "currency"),
        ("cap_minor",),
        {at: (minor,) for at, minor in replay.caps.items()},
    )
    compare.table(
        "participants",
        ("participant",),
        ("seq", "vkey"),
        {
            (origin.partition("/")[2],): (replay.seqs.get(origin.partition("/")[2], 0), vkey)
            for origin, vkey in replay.roster.items()
        },
    )
    compare.table(
        "decisions",
        ("entry_index",),
        ("leaf", "outcome", "window", "issuer_seq", "acceptor_seq", "amount_minor", "fee_minor"),
        {
            (one.index,): (
                one.leaf,
                one.outcome,
                one.window,
                one.issuer_seq,
                one.acceptor_seq,
                one.amount or 0,
                one.fee or 0,
            )
            for one in replay.decisions.values()
        },
    )
    _check_settlements(compare, replay)


def _check_settlements(compare: _Comparison, replay: DecisionReplay) -> None:
    """The stored settlement tables: those the log names, with the nets that the log gives."""
    rows = compare.rows("windows", ("window", "settlement"))
    stored = {number: bytes(data) for number, data in rows if data is not None}
    if rows:
        compare.good["windows"] = f"{len(replay.settlements)} settlements are what the log says."
    for number in replay.settlements.keys() | stored.keys():
        try:
            found = read_table(stored.get(number, b""))
            check_settlement(found)
        except ComityError as error:
            compare.wrong("windows", f"the settlement of {number} is not good: {error.message}")
            continue
        nets = {(row.participant, row.net.currency): row.net.minor for row in found.positions}
        replayed = replay.nets.get(number, {})
        if digest(found) != replay.settlements.get(number):
            compare.wrong("windows", f"the settlement of {number} is not the one the log names.")
        elif {at: net for at, net in nets.items() if net} != {
            at: net for at, net in replayed.items() if net
        }:
            compare.wrong("windows", f"the settlement of {number} has other nets than the log.")


def _plain(values: Iterable[Any]) -> Values:
    return tuple(bytes(one) if isinstance(one, memoryview) else one for one in values)


def _text(values: Values) -> str:
    return ", ".join(one.hex()[:16] if isinstance(one, bytes) else str(one) for one in values)
