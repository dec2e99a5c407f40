"""Settlements as a brand answers them: its own figures from its own book, then ACK or PROTEST.

Clearing names a table by its hash. A brand acknowledges only a table that settles its window
(`comity.terms.settlement`), under the hash in the log, with exactly its own net in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from sqlalchemy import func, select

from comity.errors import Malformed, NotFound
from comity.ledger import entries
from comity.ledger.command import Batch, Content
from comity.ledger.rows import Rows
from comity.ledger.steps import Step
from comity.ledger.store import LedgerStore
from comity.terms import settlement
from comity.v1 import clearing_pb2, common_pb2
from comity.v1 import entry_pb2 as pb
from node.book import Handler, Handlers, Rules
from node.redemption_tables import book, settlements


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnWindow:
    """A window in our own book."""

    window: int
    first_seq: int
    last_seq: int
    totals: tuple[Mapping[str, Any], ...]
    """By currency: in, out, fee and net in minor units, and the number of decisions."""
    openings: Mapping[str, int]
    """The running position by currency before the window: all windows not settled yet."""

    @property
    def nets(self) -> dict[str, int]:
        """The net by currency."""
        return {total["currency"]: total["net_minor"] for total in self.totals}


def own_window(store: LedgerStore, window: int) -> OwnWindow:
    """What our book says of a window: one query over its rows."""
    here = (book.c.ledger == store.ledger, book.c.window == window)
    sums = (
        select(
            book.c.currency,
            func.sum(book.c.in_minor).label("in_minor"),
            func.sum(book.c.out_minor).label("out_minor"),
            func.sum(book.c.fee_minor).label("fee_minor"),
            func.sum(book.c.net_minor).label("net_minor"),
            func.count().label("decisions"),
        )
        .where(*here, book.c.currency != "")
        .group_by(book.c.currency)
        .order_by(book.c.currency)
    )
    span = select(func.min(book.c.seq), func.max(book.c.seq)).where(*here)
    settled = select(settlements.c.window).where(settlements.c.ledger == store.ledger)
    before = (
        select(book.c.currency, func.sum(book.c.net_minor))
        .where(
            book.c.ledger == store.ledger,
            book.c.window < window,
            book.c.currency != "",
            book.c.window.not_in(settled),
        )
        .group_by(book.c.currency)
    )
    with store.engine.connect() as connection:
        totals = [
            {name: value if name == "currency" else int(value) for name, value in row.items()}
            for row in connection.execute(sums).mappings()
        ]
        first, last = connection.execute(span).one()
        openings = {currency: int(net) for currency, net in connection.execute(before)}
    return OwnWindow(
        window=window,
        first_seq=first or 0,
        last_seq=last or 0,
        totals=tuple(totals),
        openings=openings,
    )


def statement_of(own: OwnWindow, participant: str, state: str) -> clearing_pb2.WindowStatement:
    """Our figures in the form of clearing's statement."""
    return clearing_pb2.WindowStatement(
        window=own.window,
        participant=participant,
        state=state,
        first_seq=own.first_seq,
        last_seq=own.last_seq,
        totals=[
            clearing_pb2.WindowTotal(
                currency=total["currency"],
                opening_minor=own.openings.get(total["currency"], 0),
                in_minor=total["in_minor"],
                out_minor=total["out_minor"],
                fees_minor=total["fee_minor"],
                closing_minor=own.openings.get(total["currency"], 0) + total["net_minor"],
                decisions=total["decisions"],
            )
            for total in own.totals
        ],
    )


def objection(
    own: OwnWindow, table: pb.SettlementTable, *, table_hash: bytes, participant: str
) -> str:
    """Why this table is not acknowledged; empty if it is right."""
    if settlement.digest(table) != table_hash:
        return "The table shown is not the one which the settlement names."
    if table.window != own.window:
        return f"The table is of window {table.window}."
    try:
        settlement.check_settlement(table)
    except Malformed as error:
        return error.message
    nets = settlement.net_of(table, participant)
    ours = own.nets
    for currency in sorted(nets.keys() | ours.keys()):
        stated, found = nets.get(currency, 0), ours.get(currency, 0)
        if stated != found:
            return f"The table has {stated} {currency} minor units for us; our book has {found}."
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerSettlement:
    """ACK, or PROTEST with the reason. The window is answered once."""

    step: ClassVar[Step] = Step.ACK
    caller: ClassVar[str] = ""
    window: int
    clearing: str
    objection: str

    @property
    def id(self) -> str:
        return f"settlement/{self.window}"

    def content(self) -> Mapping[str, Content]:
        return {"window": self.window}


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlementAnswered:
    """Clearing has our ACK or PROTEST."""

    step: ClassVar[Step] = Step.ACK
    caller: ClassVar[str] = ""
    id: ClassVar[str] = ""
    window: int

    def content(self) -> Mapping[str, Content]:
        return {"window": self.window}


def _prefetch(
    rules: Rules, rows: Rows, commands: Sequence[AnswerSettlement | SettlementAnswered]
) -> None:
    rows.load(settlements, [(c.window,) for c in commands])


def _answer(rules: Rules, batch: Batch, command: AnswerSettlement) -> bytes:
    row = _row(batch.rows, command.window)
    citation = common_pb2.Citation(
        origin=command.clearing, index=row["index"], leaf_hash=row["leaf_hash"]
    )
    body: pb.Ack | pb.Protest = pb.Ack(settlement=citation, window=command.window)
    kind, state = "ack", "ACKNOWLEDGED"
    if command.objection:
        kind, state = "protest", "PROTESTED"
        body = pb.Protest(
            settlement=citation, window=command.window, reason=command.objection[:1_024]
        )
    data = entries.encode(body, origin=rules.origin, at_us=batch.now_us)
    index = batch.append(data, kind=kind)
    batch.rows.put(settlements, row | {"state": state, "answer_index": index})
    return b""


def _answered(rules: Rules, batch: Batch, command: SettlementAnswered) -> bytes:
    batch.rows.put(settlements, _row(batch.rows, command.window) | {"state": "ANSWERED"})
    return b""


def _row(rows: Rows, window: int) -> dict[str, Any]:
    row = rows.get(settlements, (window,))
    if row is None:
        raise NotFound(f"No settlement of window {window} was seen here.", field="window")
    return row


HANDLERS: Handlers = {
    AnswerSettlement: Handler(_prefetch, _answer),
    SettlementAnswered: Handler(_prefetch, _answered),
}
