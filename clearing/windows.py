"""Settlement windows and the sums inside them, kept up to date by each decision's own batch.

Closing a window writes a watermark: it adds nothing up and stops nobody. The next window opens
in the same commit with every running position as its opening figure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from clearing import netting, tables
from clearing.commands import CloseWindow, SettleWindow
from clearing.netting import Net
from clearing.roster import all_participants, load_participants
from comity.errors import AlreadyDecided, NotFound, NotHeard, NotYet
from comity.ledger import entries, schema
from comity.ledger.command import Batch
from comity.ledger.rows import Rows
from comity.points import add
from comity.terms import settlement
from comity.terms.positions import DRIFT, OPERATOR, effects
from comity.v1.common_pb2 import FEE_PAYER_ISSUER, Citation
from comity.v1.entry_pb2 import (
    PARTICIPANT_STATUS_FROZEN,
    Amounts,
    Heads,
    ParticipantSeq,
    Settlement,
    SettlementTable,
    Window,
)

OPEN = 1
CLOSED = 2
SETTLED = 3
STATES: Mapping[int, str] = {OPEN: "OPEN", CLOSED: "CLOSED", SETTLED: "SETTLED"}

FIRST = 1
"""The number of the first window."""

Row = dict[str, Any]


# --- reading ahead --------------------------------------------------------------------------


def load_open(rows: Rows) -> int:
    """Load the open window; returns its number."""
    rows.load_where(tables.windows, "state", [OPEN])
    rows.load(tables.windows, [(FIRST,)])
    found = rows.find(tables.windows, "state", OPEN)
    number: int = found[0]["window"] if found else FIRST
    return number


def load_sums(
    rows: Rows, windows: Iterable[int], parties: Iterable[str], currencies: Mapping[str, set[str]]
) -> None:
    """Load what counting decisions touches. `currencies` are by participant."""
    numbers, names = list(windows), list(parties)
    rows.load(tables.spans, [(number, name) for number in numbers for name in names])
    pairs = [(name, currency) for name, held in currencies.items() for currency in held]
    rows.load(tables.positions, pairs)
    rows.load(tables.totals, [(number, *pair) for number in numbers for pair in pairs])


def load_closing(rows: Rows, window: int, *, joining: Iterable[str] = ()) -> None:
    """Load what closing `window` touches: a few rows for each brand, those joining included."""
    load_participants(rows)
    rows.load(tables.windows, [(window + 1,)])
    rows.load_where(tables.spans, "window", [window])
    rows.load_where(tables.positions, "participant", [*_accounts(rows), *joining])
    held = [(row["participant"], row["currency"]) for row in _positions(rows)]
    rows.load(tables.totals, [(window + 1, *pair) for pair in held])


def load_settling(rows: Rows, window: int) -> None:
    """Load what settling `window` touches."""
    load_participants(rows)
    rows.load(tables.windows, [(window,)])
    rows.load_where(tables.totals, "window", [window])
    rows.load_where(tables.spans, "window", [window])
    totals = rows.find(tables.totals, "window", window)
    rows.load(tables.positions, [(row["participant"], row["currency"]) for row in totals])
    origins = [row["origin"] for row in all_participants(rows)]
    rows.load_where(schema.loose_heads, "origin", origins)


def _accounts(rows: Rows) -> list[str]:
    return [*(row["participant"] for row in all_participants(rows)), OPERATOR, DRIFT]


def _positions(rows: Rows) -> list[Row]:
    return [
        row for name in _accounts(rows) for row in rows.find(tables.positions, "participant", name)
    ]


# --- counting -------------------------------------------------------------------------------


def current(batch: Batch) -> Row:
    """The open window; the first one opens with the first thing that needs it."""
    found = batch.rows.find(tables.windows, "state", OPEN)
    if found:
        return found[0]
    row = _new_window(FIRST, batch.now_us)
    batch.rows.put(tables.windows, row)
    return row


def count(batch: Batch, window: Row, *, seqs: Mapping[str, int]) -> None:
    """Count one decision in the window and in each party's span of numbers."""
    number = window["window"]
    batch.rows.put(tables.windows, window | {"decisions": window["decisions"] + 1})
    for participant, seq in seqs.items():
        span = batch.rows.get(tables.spans, (number, participant))
        if span is None:
            span = {
                "window": number,
                "participant": participant,
                "first_seq": seq,
                "last_seq": seq - 1,
                "decisions": 0,
            }
        assert seq == span["last_seq"] + 1, "a participant's numbers have no gap"
        batch.rows.put(tables.spans, span | {"last_seq": seq, "decisions": span["decisions"] + 1})


def move(
    batch: Batch, window: int, *, issuer: str, acceptor: str, amounts: Amounts
) -> dict[str, int]:
    """Book what a decision moves; returns the two parties' running positions after it.

    Positions and totals of every row, `operator` and `drift` included, change by amounts which
    sum to zero (I6).
    """
    currency = amounts.amount.currency
    change = effects(issuer=issuer, acceptor=acceptor, amounts=amounts)
    assert sum(change.values()) == 0, "positions sum to zero"
    fee_payer = issuer if amounts.fee_payer == FEE_PAYER_ISSUER else acceptor
    after: dict[str, int] = {}
    for participant, moved in change.items():
        if not moved and participant in (OPERATOR, DRIFT):
            continue
        fee = amounts.fee.minor if participant == fee_payer else 0
        drift = {acceptor: -amounts.drift.minor, DRIFT: amounts.drift.minor}.get(participant, 0)
        position = running(batch.rows, participant, currency)
        after[participant] = add(position, moved)
        batch.rows.put(
            tables.positions,
            {
                "participant": participant,
                "currency": currency,
                "running_minor": after[participant],
            },
        )
        _add_total(
            batch.rows,
            (window, participant, currency),
            opening=position,
            traded=moved + fee - drift,
            fee=fee,
            drift=drift,
        )
    return {participant: after[participant] for participant in (issuer, acceptor)}


def running(rows: Rows, participant: str, currency: str) -> int:
    """The running position: all that is owed and not yet settled."""
    row = rows.get(tables.positions, (participant, currency))
    return row["running_minor"] if row is not None else 0


def net_of(total: Mapping[str, Any]) -> int:
    """What a window moved for one participant in one currency."""
    moved: int = total["in_minor"] - total["out_minor"] - total["fees_minor"] + total["drift_minor"]
    return moved


def _add_total(
    rows: Rows, at: tuple[int, str, str], *, opening: int, traded: int, fee: int, drift: int
) -> None:
    total = rows.get(tables.totals, at)
    if total is None:
        total = _new_total(at, opening)
    total["in_minor"] += max(traded, 0)
    total["out_minor"] += max(-traded, 0)
    total["fees_minor"] += fee
    total["drift_minor"] += drift
    total["decisions"] += 1
    rows.put(tables.totals, total)


def _new_total(at: tuple[int, str, str], opening: int) -> Row:
    window, participant, currency = at
    return {
        "window": window,
        "participant": participant,
        "currency": currency,
        "opening_minor": opening,
        "in_minor": 0,
        "out_minor": 0,
        "fees_minor": 0,
        "drift_minor": 0,
        "decisions": 0,
    }


def _new_window(number: int, opened_at_us: int) -> Row:
    return {
        "window": number,
        "state": OPEN,
        "decisions": 0,
        "opened_at_us": opened_at_us,
        "closed_at_us": 0,
        "settled_at_us": 0,
        "closing_index": None,
        "closing_leaf": None,
        "settlement_index": None,
        "settlement_leaf": None,
        "settlement": None,
        "acknowledge_by_us": 0,
    }


# --- heads, closing, settling ---------------------------------------------------------------


def write_heads(batch: Batch, *, origin: str) -> int:
    """A HEADS entry with every participant's last number; returns its index."""
    body = Heads(last=_last_seqs(batch.rows))
    return batch.append(entries.encode(body, origin=origin, at_us=batch.now_us), kind="heads")


def close(batch: Batch, command: CloseWindow, *, origin: str) -> int:
    """Close the open window and open the next; returns the index of the WINDOW entry.

    Raises AlreadyDecided for a window that is closed, NotFound for one that never opened.
    """
    window = current(batch)
    number = window["window"]
    if command.window != number:
        kind = AlreadyDecided if command.window < number else NotFound
        raise kind(
            f"Window {command.window} is not open; window {number} is.",
            field="window",
            metadata={"open": str(number)},
        )
    write_heads(batch, origin=origin)
    body = Window(
        window=number,
        last=_last_seqs(batch.rows),
        opened_at_us=window["opened_at_us"],
        decisions=window["decisions"],
        operator=command.caller,
    )
    index = append_closing(batch, body, origin=origin)
    open_next(batch, window, index)
    return index


def append_closing(batch: Batch, body: Window, *, origin: str) -> int:
    """Append the WINDOW entry; returns its index."""
    return batch.append(entries.encode(body, origin=origin, at_us=batch.now_us), kind="window")


def open_next(batch: Batch, window: Row, index: int) -> None:
    """Change the rows for the WINDOW entry at `index`, which is in this batch."""
    rows, number = batch.rows, window["window"]
    rows.put(
        tables.windows,
        window
        | {
            "state": CLOSED,
            "closed_at_us": batch.now_us,
            "closing_index": index,
            "closing_leaf": leaf_at(batch, index),
        },
    )
    rows.put(tables.windows, _new_window(number + 1, batch.now_us))
    for position in _positions(rows):
        if position["running_minor"]:
            at = (number + 1, position["participant"], position["currency"])
            rows.put(tables.totals, _new_total(at, position["running_minor"]))


def settle(batch: Batch, command: SettleWindow, *, origin: str, network: str) -> int:
    """Settle a closed window; returns the index of the SETTLEMENT entry.

    Its nets leave the running positions. Raises NotFound, NotYet while it is open,
    AlreadyDecided, and NotHeard while a head that its decisions rest on is not linked.
    """
    window = batch.rows.get(tables.windows, (command.window,))
    if window is None:
        raise NotFound(f"There is no window {command.window}.", field="window")
    if window["state"] == OPEN:
        raise NotYet(f"Window {command.window} is open; close it first.", field="window")
    if window["state"] == SETTLED:
        raise AlreadyDecided(f"Window {command.window} is settled.", field="window")
    _require_linked(batch.rows, window)
    table = table_of(batch.rows, window, origin=origin, network=network)
    body = Settlement(
        window=command.window,
        table=settlement.digest(table),
        model=netting.MODEL,
        acknowledge_by_us=batch.now_us + command.acknowledge_within_us,
    )
    index = batch.append(entries.encode(body, origin=origin, at_us=batch.now_us), kind="settlement")
    discharge(batch, window, table, body=body, index=index)
    return index


def table_of(rows: Rows, window: Row, *, origin: str, network: str) -> SettlementTable:
    """The settlement table of a closed window, from its sums."""
    number = window["window"]
    spans = {row["participant"]: row for row in rows.find(tables.spans, "window", number)}
    nets = []
    for total in rows.find(tables.totals, "window", number):
        span = spans.get(total["participant"])
        if not total["decisions"]:
            continue
        nets.append(
            Net(
                participant=total["participant"],
                currency=total["currency"],
                minor=net_of(total),
                first_seq=span["first_seq"] if span else 0,
                last_seq=span["last_seq"] if span else 0,
            )
        )
    closed = Citation(
        origin=origin, index=window["closing_index"], leaf_hash=window["closing_leaf"]
    )
    return netting.settle(network=network, window=number, closed=closed, nets=nets)


def discharge(
    batch: Batch, window: Row, table: SettlementTable, *, body: Settlement, index: int
) -> None:
    """Change the rows for the SETTLEMENT entry at `index`, which is in this batch."""
    rows = batch.rows
    for row in table.positions:
        if row.net.minor:
            at = (row.participant, row.net.currency)
            position = rows.get(tables.positions, at)
            assert position is not None, "what a window moved stands in a position"
            after = add(position["running_minor"], -row.net.minor)
            rows.put(tables.positions, position | {"running_minor": after})
    rows.put(
        tables.windows,
        window
        | {
            "state": SETTLED,
            "settled_at_us": batch.now_us,
            "settlement_index": index,
            "settlement_leaf": leaf_at(batch, index),
            "settlement": entries.canonical(table),
            "acknowledge_by_us": body.acknowledge_by_us,
        },
    )


def leaf_at(batch: Batch, index: int) -> bytes:
    """The leaf hash of an entry which this batch appended."""
    appended = batch.appended[index - batch.size]
    return entries.cite("", index, appended.body).leaf_hash


def _last_seqs(rows: Rows) -> list[ParticipantSeq]:
    ordered = sorted(all_participants(rows), key=lambda row: row["participant"])
    return [ParticipantSeq(participant=row["participant"], seq=row["seq"]) for row in ordered]


def _require_linked(rows: Rows, window: Row) -> None:
    """Raises NotHeard while a head that the window's decisions may rest on is not linked.

    Heads learnt after the window closed concern later windows. A frozen brand is passed over:
    refusing to link is grounds to freeze it, and then it must not keep the others waiting.
    """
    spans = {row["participant"] for row in rows.find(tables.spans, "window", window["window"])}
    for row in all_participants(rows):
        if row["participant"] not in spans or row["status"] == PARTICIPANT_STATUS_FROZEN:
            continue
        loose = rows.find(schema.loose_heads, "origin", row["origin"])
        if any(head["at_us"] <= window["closed_at_us"] for head in loose):
            raise NotHeard(
                f"{row['participant']} has not yet proven that its log only grew; "
                "settle once it has, or freeze it.",
                metadata={"participant": row["participant"]},
            )
