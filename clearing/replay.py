"""Clearing's tables rebuilt from clearing's own entries: what recovery does with a lost tail.

Every entry changes the same rows that it changed when it was written, through the same
functions; nothing is decided again. What no entry holds stays open: the terms of an agreement
(brands register them again) and which deliveries were reported, so none of these is reversed for
want of a report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from clearing import claims, key_changes, record, register, roster, tables, windows
from clearing.record import Subject, Written
from comity.errors import BadStatement, NotFound
from comity.ledger import entries
from comity.ledger.command import Batch, Command, Content
from comity.ledger.rows import Rows
from comity.ledger.steps import Step
from comity.terms import settlement
from comity.terms.positions import DRIFT, OPERATOR
from comity.v1.entry_pb2 import (
    OUTCOME_REVERSED,
    Agreement,
    Decision,
    DecisionOpening,
    Entry,
    EntryOpening,
    Settlement,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refill:
    """The entries that are missing from `start` on, with the openings which brands still hold."""

    step: ClassVar[Step] = Step.MIRROR
    start: int
    leaves: tuple[bytes, ...]
    openings: Mapping[int, DecisionOpening]
    caller: str = ""
    id: str = ""

    def content(self) -> Mapping[str, Content]:
        return {"start": self.start, "leaves": self.leaves}


class ReplayBook:
    """The book of a recovery: it knows one command, `Refill`."""

    def __init__(self, *, origin: str, network: str) -> None:
        self._origin = origin
        self._network = network

    def prefetch(self, rows: Rows, commands: Sequence[Command]) -> None:
        """Load every row which the entries changed when they were written."""
        for command in commands:
            if isinstance(command, Refill):
                _prefetch(rows, command, origin=self._origin)

    def execute(self, batch: Batch, command: Command) -> bytes:
        """Append the entries and change the rows. Raises NotFound, BadStatement."""
        if not isinstance(command, Refill):
            raise TypeError(f"a recovery has no command {type(command).__name__}")
        if batch.size != command.start:
            raise BadStatement(f"The log has {batch.size} entries, not {command.start}.")
        for leaf in command.leaves:
            entry = entries.decode(leaf, origin=self._origin)
            opening = command.openings.get(batch.size)
            stored = None
            if opening is not None:
                stored = EntryOpening(decision=opening).SerializeToString()
            index = batch.append(leaf, kind=entries.kind(entry), opening=stored, at_us=entry.at_us)
            self._apply(batch, entry, index, opening)
        return record.answer(batch.size)

    def _apply(
        self, batch: Batch, entry: Entry, index: int, opening: DecisionOpening | None
    ) -> None:
        match entries.kind(entry):
            case "admit":
                roster.put_admitted(batch.rows, entry.admit, index)
            case "rotate":
                key_changes.put_rotated(batch.rows, entry.rotate)
            case "revoke":
                key_changes.put_revoked(batch.rows, entry.revoke)
            case "standing":
                roster.put_standing(batch.rows, entry.standing)
            case "cap":
                roster.put_cap(batch.rows, entry.cap)
            case "agreement":
                _agree(batch.rows, entry.agreement, index, at_us=entry.at_us)
            case "decision":
                _decide(batch, entry.decision, index, opening, at_us=entry.at_us)
            case "window":
                windows.open_next(batch, windows.current(batch), index)
            case "settlement":
                self._settle(batch, entry.settlement, index)

    def _settle(self, batch: Batch, body: Settlement, index: int) -> None:
        window = batch.rows.get(tables.windows, (body.window,))
        if window is None or window["closing_index"] is None:
            raise BadStatement(f"Window {body.window} was settled and never closed.")
        table = windows.table_of(batch.rows, window, origin=self._origin, network=self._network)
        if settlement.digest(table) != body.table:
            raise BadStatement(f"The settlement of window {body.window} has another table.")
        windows.discharge(batch, window, table, body=body, index=index)


# --- reading ahead --------------------------------------------------------------------------


def _prefetch(rows: Rows, command: Refill, *, origin: str) -> None:
    found: dict[str, list[Any]] = {}
    for leaf in command.leaves:
        entry = entries.decode(leaf, origin=origin)
        found.setdefault(entries.kind(entry), []).append(entries.body(entry))
    decided, joining = found.get("decision", []), found.get("admit", [])
    caps = found.get("cap", [])
    roster.prefetch(
        rows,
        joining=joining,
        changing=[body.participant for body in found.get("standing", [])],
        capped=[(body.participant, body.net_debit_cap.currency) for body in caps],
    )
    keys = [(body.issuer, body.acceptor, body.redemption_id) for body in decided]
    rows.load(tables.redemptions, keys)
    agreed = found.get("agreement", [])
    rows.load_where(tables.agreements, "agreement_id", [body.agreement_id for body in agreed])
    rows.load(tables.agreements, [(body.agreement_id, body.version) for body in agreed])
    _prefetch_windows(rows, command, found, [body.participant for body in joining])


def _prefetch_windows(
    rows: Rows, command: Refill, found: Mapping[str, list[Any]], joining: Sequence[str]
) -> None:
    opened = windows.load_open(rows)
    closings = len(found.get("window", []))
    numbers = range(opened, opened + 1 + closings)
    rows.load(tables.windows, [(number,) for number in range(opened, opened + 2 + closings)])
    names = [row["participant"] for row in roster.all_participants(rows)] + list(joining)
    codes = {opening.amounts.amount.currency for opening in command.openings.values()} - {""}
    accounts = (*names, OPERATOR, DRIFT)
    windows.load_sums(rows, numbers, names, dict.fromkeys(accounts, codes))
    for number in numbers[:closings]:
        windows.load_closing(rows, number, joining=joining)
    for body in found.get("settlement", []):
        windows.load_settling(rows, body.window)


# --- entries --------------------------------------------------------------------------------


def _agree(rows: Rows, body: Agreement, index: int, *, at_us: int) -> None:
    versions = rows.find(tables.agreements, "agreement_id", body.agreement_id)
    if body.HasField("terminate"):
        register.put_ended(rows, versions, body, index)
        return
    register.supersede(rows, versions, valid_from_us=body.valid_from_us, at_us=at_us)
    rows.put(tables.agreements, register.agreement_row(body, b"", index))


def _decide(
    batch: Batch, decision: Decision, index: int, opening: DecisionOpening | None, *, at_us: int
) -> None:
    window = windows.current(batch)
    key = (decision.issuer, decision.acceptor, decision.redemption_id)
    leaf = windows.leaf_at(batch, index)
    if decision.points:
        opening = _checked(batch, window["window"], decision, index, opening)
    written = Written(index=index, leaf=leaf, decision=decision, opening=opening)
    cites = decision.cites if decision.HasField("cites") else None
    claim_leaf = cites.leaf_hash if cites is not None else None
    record.put_decision(batch, window, written, claim_leaf=claim_leaf, at_us=at_us)
    if decision.outcome == OUTCOME_REVERSED:
        decided = batch.rows.get(tables.redemptions, key)
        if decided is None:
            raise BadStatement(f"Entry {index} reverses what was never committed.")
        claims.put_reversed(batch.rows, decided, written)
        return
    subject = Subject(
        key=key,
        kind=decision.kind,
        quote_digest=decision.quote_digest,
        mandate_digest=opening.mandate_digest if opening is not None else b"",
        agreement=(opening.agreement_id, opening.agreement_version) if opening else ("", 0),
        cites=cites,
    )
    row = claims.redemption_row(subject, written, due_us=None)
    batch.rows.put(tables.redemptions, row)


def _checked(
    batch: Batch, window: int, decision: Decision, index: int, opening: DecisionOpening | None
) -> DecisionOpening:
    """Move the amounts; the opening must be the decision's, and lead where it says."""
    if opening is None or not opening.amounts_salt or not opening.points_salt:
        raise NotFound(
            f"Nobody has sent the figures of decision {index}; start the node of "
            f"{decision.issuer} or {decision.acceptor} and recover again."
        )
    entries.check_decision_opening(decision, opening)
    after = windows.move(
        batch,
        window,
        issuer=decision.issuer,
        acceptor=decision.acceptor,
        amounts=opening.amounts,
    )
    for salt, position, participant in (
        (opening.issuer_position_salt, opening.issuer_position, decision.issuer),
        (opening.acceptor_position_salt, opening.acceptor_position, decision.acceptor),
    ):
        if salt and position.minor != after[participant]:
            raise BadStatement(f"Decision {index} leads {participant} to another position.")
    return opening
