"""Reading clearing's tables, each answer from one read transaction. Nothing here writes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Engine, Select, Table, and_, func, or_, select

from clearing import tables
from clearing.record import Key
from comity.ledger import schema
from comity.ledger.bulk import select_rows
from comity.v1.common_pb2 import Money
from comity.v1.entry_pb2 import DecisionOpening, EntryOpening, Outcome
from comity.v1.peer_pb2 import BookRow

Row = Mapping[str, Any]


class ClearingStore:
    """What clearing knows, for whoever may ask. May be used from several threads."""

    def __init__(self, engine: Engine, ledger: str) -> None:
        self._engine = engine
        self._ledger = ledger

    # --- roster -----------------------------------------------------------------------

    def participants(self) -> list[Row]:
        """The roster, by name."""
        return self._all(_from(tables.participants).order_by(tables.participants.c.participant))

    def caps(self) -> dict[str, list[Money]]:
        """Net debit caps by participant."""
        return _money(self._all(_from(tables.caps)), "cap_minor")

    def positions(self) -> dict[str, list[Money]]:
        """Running positions by participant, `operator` and `drift` among them."""
        return _money(self._all(_from(tables.positions)), "running_minor")

    def running(self) -> list[tuple[str, str, int]]:
        """Running positions as (participant, currency, minor units)."""
        rows = self._all(_from(tables.positions))
        return [(row["participant"], row["currency"], row["running_minor"]) for row in rows]

    def agreements(self) -> list[Row]:
        """Every version of every agreement, in order."""
        at = tables.agreements.c
        return self._all(_from(tables.agreements).order_by(at.agreement_id, at.version))

    def auditor(self, key_id: str) -> Row | None:
        """The auditor whose key has this id."""
        found = self._all(_from(tables.auditors).where(tables.auditors.c.key_id == key_id))
        return found[0] if found else None

    # --- decisions --------------------------------------------------------------------

    def decided_since(self, index: int) -> tuple[list[tuple[int, int, int]], int]:
        """How many decisions stand from this entry on, by outcome and kind, and which entry is
        next."""
        at = tables.decisions.c
        query = (
            select(at.outcome, at.kind, func.count(), func.max(at.entry_index))
            .where(at.ledger == self._ledger, at.entry_index >= index)
            .group_by(at.outcome, at.kind)
        )
        with self._engine.connect() as connection:
            rows = connection.execute(query).all()
        found = [(outcome, kind, count) for outcome, kind, count, _ in rows]
        return found, max((last + 1 for *_, last in rows), default=index)

    def decisions_on(self, keys: Sequence[Key]) -> dict[Key, list[Row]]:
        """All decisions on these redemptions, oldest first."""
        names = ("issuer", "acceptor", "redemption_id")
        with self._engine.connect() as connection:
            rows = select_rows(
                connection, self._ledger, tables.decisions, names, dict.fromkeys(keys)
            )
        found: dict[Key, list[Row]] = {}
        for row in sorted(rows, key=lambda row: row["entry_index"]):
            found.setdefault((row["issuer"], row["acceptor"], row["redemption_id"]), []).append(row)
        return found

    def openings(self, indices: Iterable[int]) -> dict[int, DecisionOpening]:
        """The openings of these entries, for those that have one."""
        with self._engine.connect() as connection:
            rows = select_rows(
                connection,
                self._ledger,
                schema.entries,
                ("index",),
                [(index,) for index in dict.fromkeys(indices)],
            )
        return {
            row["index"]: EntryOpening.FromString(row["opening"]).decision
            for row in rows
            if row["opening"] is not None
        }

    def decisions_from(self, index: int, limit: int) -> list[Row]:
        """Decisions in log order, from an entry's index on."""
        at = tables.decisions.c.entry_index
        return self._all(_from(tables.decisions).where(at >= index).order_by(at).limit(limit))

    def book(self, participant: str, *, first_seq: int, last_seq: int) -> list[BookRow]:
        """A participant's book between two of its numbers, both included, as clearing has it."""
        at = tables.decisions.c
        query = _from(tables.decisions).where(
            or_(
                and_(at.issuer == participant, at.issuer_seq.between(first_seq, last_seq)),
                and_(at.acceptor == participant, at.acceptor_seq.between(first_seq, last_seq)),
            )
        )
        return sorted(
            (book_row(row, participant) for row in self._all(query)), key=lambda row: row.seq
        )

    def undelivered(self, *, due_us: int, limit: int) -> list[Key]:
        """Redemptions whose delivery should have been reported by `due_us`, oldest first."""
        at = tables.redemptions.c
        query = (
            _from(tables.redemptions).where(at.due_us <= due_us).order_by(at.due_us).limit(limit)
        )
        return [(row["issuer"], row["acceptor"], row["redemption_id"]) for row in self._all(query)]

    # --- windows ----------------------------------------------------------------------

    def window(self, window: int) -> Row | None:
        """One window."""
        found = self._all(_from(tables.windows).where(tables.windows.c.window == window))
        return found[0] if found else None

    def windows(self, *, before: int, limit: int) -> list[Row]:
        """Windows below a number (0: all), newest first."""
        at = tables.windows.c.window
        query = _from(tables.windows).order_by(at.desc()).limit(limit)
        return self._all(query.where(at < before) if before else query)

    def spans(self, windows: Sequence[int]) -> list[Row]:
        """The participants' ranges of numbers in these windows."""
        return self._all(_from(tables.spans).where(tables.spans.c.window.in_(windows)))

    def totals(self, windows: Sequence[int]) -> list[Row]:
        """The sums of these windows, in order."""
        at = tables.totals.c
        query = _from(tables.totals).where(at.window.in_(windows))
        return self._all(query.order_by(at.window, at.currency, at.participant))

    def acknowledgements(self, windows: Sequence[int]) -> list[Row]:
        """Who acknowledged or protested the settlements of these windows."""
        at = tables.acknowledgements.c
        query = _from(tables.acknowledgements).where(at.window.in_(windows))
        return self._all(query.order_by(at.window, at.participant))

    def _all(self, query: Select[Any]) -> list[Row]:
        table = query.get_final_froms()[0]
        assert isinstance(table, Table)
        with self._engine.connect() as connection:
            found = connection.execute(query.where(table.c.ledger == self._ledger))
            return [dict(row) for row in found.mappings()]


def book_row(row: Row, participant: str) -> BookRow:
    """A decision as the row of one party's book (`comity.terms.books`)."""
    found = BookRow(
        seq=row["issuer_seq"] if participant == row["issuer"] else row["acceptor_seq"],
        issuer=row["issuer"],
        acceptor=row["acceptor"],
        redemption_id=row["redemption_id"],
        outcome=Outcome.ValueType(row["outcome"]),
        window=row["window"],
        points=row["points"],
        decision=bytes(row["leaf"]),
    )
    if row["currency"]:
        found.amount.CopyFrom(Money(currency=row["currency"], minor=row["amount_minor"]))
        found.fee.CopyFrom(Money(currency=row["currency"], minor=row["fee_minor"]))
    return found


def _from(table: Table) -> Select[Any]:
    return select(*(column for column in table.c if column.name != "ledger"))


def _money(rows: Iterable[Row], column: str) -> dict[str, list[Money]]:
    found: dict[str, list[Money]] = {}
    for row in sorted(rows, key=lambda row: row["currency"]):
        money = Money(currency=row["currency"], minor=row[column])
        found.setdefault(row["participant"], []).append(money)
    return found
