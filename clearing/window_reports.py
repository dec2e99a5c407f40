"""What a window looks like from outside: a brand's statement of it, the operator's summary."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from clearing.answers import Statements
from clearing.store import ClearingStore, Row
from clearing.windows import STATES, net_of
from comity.errors import NotFound
from comity.ledger.runner import Runner
from comity.v1 import operator_pb2 as operator
from comity.v1.clearing_pb2 import WindowStatement, WindowTotal
from comity.v1.common_pb2 import Money
from comity.v1.entry_pb2 import NetPosition, SettlementTable


async def window_statement(
    window: int, participant: str, *, store: ClearingStore, statements: Statements, read: Runner
) -> WindowStatement:
    """One participant's statement of one window; NotFound for a window that never opened."""
    row, made = await read(lambda: _statement(store, window, participant))
    if row["settlement_index"] is not None:
        made.settlement.CopyFrom(SettlementTable.FromString(row["settlement"]))
        _, proven = await statements.prove([row["settlement_index"]])
        made.settlement_entry.CopyFrom(proven[row["settlement_index"]])
    return made


def summaries(store: ClearingStore, *, before: int, limit: int) -> list[operator.WindowSummary]:
    """Windows below a number (0: all), newest first, with everybody's positions in them."""
    windows = store.windows(before=before, limit=limit)
    numbers = [row["window"] for row in windows]
    spans = {(row["window"], row["participant"]): row for row in store.spans(numbers)}
    totals = _by_window(store.totals(numbers))
    answers = _by_window(store.acknowledgements(numbers))
    return [
        operator.WindowSummary(
            window=row["window"],
            state=operator.WindowState.ValueType(row["state"]),
            decisions=row["decisions"],
            opened_at_us=row["opened_at_us"],
            closed_at_us=row["closed_at_us"],
            settled_at_us=row["settled_at_us"],
            acknowledged=_names(answers.get(row["window"], ()), "ack"),
            protested=_names(answers.get(row["window"], ()), "protest"),
            positions=[
                _position(total, spans.get((total["window"], total["participant"])))
                for total in totals.get(row["window"], ())
            ],
        )
        for row in windows
    ]


def _statement(store: ClearingStore, window: int, participant: str) -> tuple[Row, WindowStatement]:
    row = store.window(window)
    if row is None:
        raise NotFound(f"There is no window {window} yet.", field="window")
    spans = [span for span in store.spans([window]) if span["participant"] == participant]
    totals = [total for total in store.totals([window]) if total["participant"] == participant]
    return row, WindowStatement(
        window=window,
        participant=participant,
        state=STATES[row["state"]],
        totals=[_total(total) for total in totals],
        first_seq=spans[0]["first_seq"] if spans else 0,
        last_seq=spans[0]["last_seq"] if spans else 0,
    )


def _total(total: Row) -> WindowTotal:
    return WindowTotal(
        currency=total["currency"],
        opening_minor=total["opening_minor"],
        in_minor=total["in_minor"],
        out_minor=total["out_minor"],
        fees_minor=total["fees_minor"],
        drift_minor=total["drift_minor"],
        closing_minor=total["opening_minor"] + net_of(total),
        decisions=total["decisions"],
    )


def _position(total: Row, span: Row | None) -> NetPosition:
    return NetPosition(
        participant=total["participant"],
        net=Money(currency=total["currency"], minor=net_of(total)),
        decisions=span["decisions"] if span else 0,
        first_seq=span["first_seq"] if span else 0,
        last_seq=span["last_seq"] if span else 0,
    )


def _by_window(rows: Sequence[Row]) -> dict[int, list[Any]]:
    return {window: list(found) for window, found in groupby(rows, lambda row: row["window"])}


def _names(rows: Iterable[Row], kind: str) -> list[str]:
    return [row["participant"] for row in rows if row["kind"] == kind]
