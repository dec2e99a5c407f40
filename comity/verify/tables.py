"""The tables in which services keep what follows from their logs, against the replayed logs.

The kernel knows these tables by name and column only: a service that keeps other tables is
checked as far as it has these, and one that has none of them passes with what its log says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Final

from sqlalchemy import Connection, column, func, inspect, select, table

from comity.errors import ComityError, Malformed
from comity.ledger.replay import Findings, Replay
from comity.log.checkpoint import read_checkpoint
from comity.log.merkle import Frontier, leaf_hash
from comity.terms.decision_replay import DecisionReplay
from comity.terms.settlement import check_settlement, digest
from comity.verify.report import AnyReplay
from comity.verify.settlement import read_table

PAGE: Final = 4_096

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

    def has(self, name: str) -> bool:
        """Whether there is such a table."""
        return name in self._present

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
        self._found.add(name, f"In {name}, {text}")

    def _differs(self, name: str, at: Key, stored: Values | None, replayed: Values | None) -> None:
        place = " ".join(str(part) for part in at)
        says = "is missing" if stored is None else f"says {_text(stored)}"
        log = "knows of none" if replayed is None else f"says {_text(replayed)}"
        self.wrong(name, f"{place} {says} and the log {log}.")


def _check_brand(compare: _Comparison, replay: Replay) -> None:
    balances = {at: tuple(points) for at, points in replay.accounts.items()}
    parts = ("pending", "available", "held", "debt")
    sources, none = replay.membership.sources, (0, 0, 0)
    compare.table(
        "accounts",
        ("account", "unit"),
        (*parts, "business", "activity", "bonus"),
        {at: (*points, *sources.get(at, none)) for at, points in balances.items()},
    )
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
    _check_mirror(compare)


def _check_mirror(compare: _Comparison) -> None:
    """Clearing's log as this brand mirrors it: its leaves lead to the edge and head stored."""
    if not compare.has("mirror"):
        return
    compare.good["mirror"] = "The entries of clearing's log lead to the head kept."
    edge = Frontier()
    for index, body in compare.pages("mirror", ("index", "body")):
        if index != edge.size:
            compare.wrong("mirror", f"entry {edge.size} of clearing's log is missing.")
            return
        edge.append(leaf_hash(bytes(body)))
    states = compare.rows("mirror_state", ("origin", "size", "frontier", "note"))
    if edge.size and not states:
        compare.wrong("mirror", "there are entries of clearing's log, and no head of it.")
    for origin, size, frontier, note in states:
        if size != edge.size or b"".join(edge.hashes) != bytes(frontier):
            compare.wrong("mirror", f"the {edge.size} entries are not those that were verified.")
        try:
            head = read_checkpoint(bytes(note))
        except Malformed as error:
            compare.wrong("mirror", f"the head kept is none: {error.message}")
            continue
        if head.origin != origin or head.size < size:
            compare.wrong("mirror", f"the head kept is not one of {origin} with {size} entries.")
        elif head.size == edge.size and head.root != edge.root():
            compare.wrong("mirror", "the entries do not lead to the head kept.")


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
    compare.table(
        "spans",
        ("window", "participant"),
        ("first_seq", "last_seq", "decisions"),
        _spans(replay),
    )
    _check_totals(compare, replay)
    _check_settlements(compare, replay)


def _spans(replay: DecisionReplay) -> dict[Key, Values]:
    """Which of a participant's numbers each window holds."""
    found: dict[Key, Values] = {}
    for one in replay.decisions.values():
        for at, seq in (
            ((one.window, one.issuer), one.issuer_seq),
            ((one.window, one.acceptor), one.acceptor_seq),
        ):
            first, _, count = found.get(at, (seq, seq, 0))
            found[at] = (first, seq, count + 1)
    return found


def _check_totals(compare: _Comparison, replay: DecisionReplay) -> None:
    """What each window moved, by the sums kept while it was open, and by the log."""
    names = ("window", "participant", "currency")
    parts = ("in_minor", "out_minor", "fees_minor", "drift_minor")
    rows = compare.rows("totals", (*names, *parts))
    left = {(window, *at): net for window, nets in replay.nets.items() for at, net in nets.items()}
    if rows or left:
        compare.good.setdefault("totals", f"{len(rows)} sums move what the log moves.")
    for window, participant, currency, came, went, fees, drift in rows:
        moved = came - went - fees + drift
        replayed = left.pop((window, participant, currency), 0)
        if moved != replayed:
            compare.wrong(
                "totals",
                f"window {window} moves {moved} {currency} for {participant}, in the log "
                f"{replayed}.",
            )
    for (window, participant, currency), net in left.items():
        if net and compare.has("totals"):
            compare.wrong(
                "totals", f"window {window} has no {currency} for {participant}, the log {net}."
            )


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
