"""Clearing's book: for each kind of command what is loaded for it, and who decides it.

The rules themselves stand in `claims`, `register`, `roster` and `windows`; this module only
brings commands to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clearing import claims, key_changes, record, register, roster, tables, windows
from clearing.claims import Claims
from clearing.commands import (
    Admit,
    AdmitAuditor,
    Claim,
    CloseWindow,
    EndAgreement,
    Hear,
    PutInForce,
    RecordAcknowledgement,
    ReportDelivery,
    RevokeAuditor,
    RevokeParticipant,
    RotateKey,
    SetCap,
    SetStanding,
    SettleWindow,
    WriteHeads,
)
from comity.errors import Malformed, NotFound
from comity.ledger import entries, schema
from comity.ledger.command import Batch, Command
from comity.ledger.heads import record_heads
from comity.ledger.rows import Rows
from comity.v1.common_pb2 import Citation


class ClearingBook:
    """The rules of clearing, over the rows of one batch."""

    def __init__(self, *, origin: str, network: str, skew_us: int) -> None:
        self._origin = origin
        self._network = network
        self._claims = Claims(origin=origin, network=network, skew_us=skew_us)

    def prefetch(self, rows: Rows, commands: Sequence[Command]) -> None:
        """Load every row that these commands may touch, in a few SELECTs."""
        by_kind: dict[type[Any], list[Any]] = {}
        for command in commands:
            by_kind.setdefault(type(command), []).append(command)

        def of(*kinds: type[Any]) -> list[Any]:
            return [command for kind in kinds for command in by_kind.get(kind, ())]

        seen = [head for command in of(Hear) for head in command.seen]
        rows.load(schema.heads, [(head.origin,) for head in seen])
        rows.load(schema.loose_heads, [(head.origin, head.size) for head in seen])
        opened = windows.load_open(rows)
        closings = of(CloseWindow)
        numbers = range(opened, opened + 1 + len(closings))
        agreed = of(PutInForce, EndAgreement)
        if agreed:
            register.prefetch(rows, agreed)
        claimed = [c for c in commands if isinstance(c, Claim | ReportDelivery)]
        if claimed:
            claims.prefetch(rows, claimed, numbers)
        admissions, caps = of(Admit), of(SetCap)
        standings = of(SetStanding)
        if admissions or caps or standings:
            roster.prefetch(
                rows,
                joining=[command.admit for command in admissions],
                changing=[command.participant for command in standings],
                capped=[(command.participant, command.currency) for command in caps]
                + [(c.admit.participant, code) for c in admissions for code, _ in c.caps],
            )
        key_changes.prefetch(rows, [c.participant for c in of(RotateKey, RevokeParticipant)])
        rows.load(tables.auditors, [(c.key_id,) for c in of(AdmitAuditor, RevokeAuditor)])
        if of(WriteHeads) or closings:
            roster.load_participants(rows)
        for number in numbers[: len(closings)]:
            joining = [command.admit.participant for command in admissions]
            windows.load_closing(rows, number, joining=joining)
        for command in of(SettleWindow):
            windows.load_settling(rows, command.window)
        answers = of(RecordAcknowledgement)
        rows.load(tables.windows, [(command.window,) for command in answers])
        rows.load(
            tables.acknowledgements, [(command.window, command.caller) for command in answers]
        )

    def execute(self, batch: Batch, command: Command) -> bytes:
        """Carry out one command; the answer begins with the index of the entry to show."""
        origin, network = self._origin, self._network
        match command:
            case Hear():
                record_heads(batch.rows, command.seen)
                return b""
            case ReportDelivery():
                self._claims.report(batch, command)
                return b""
            case PutInForce():
                return register.put_in_force(batch, command, origin=origin, network=network)
            case EndAgreement():
                return register.end(batch, command, origin=origin)
            case WriteHeads():
                return record.answer(windows.write_heads(batch, origin=origin))
            case CloseWindow():
                return record.answer(windows.close(batch, command, origin=origin))
            case SettleWindow():
                index = windows.settle(batch, command, origin=origin, network=network)
                return record.answer(index)
            case RecordAcknowledgement():
                _acknowledge(batch, command, origin=origin)
                return b""
            case Admit():
                index = roster.admit(batch, command, origin=origin, network=network)
                return record.answer(index) + command.certificate
            case RotateKey():
                return key_changes.rotate(batch, command, origin=origin)
            case RevokeParticipant():
                return record.answer(key_changes.revoke(batch, command, origin=origin))
            case SetStanding():
                return record.answer(roster.set_standing(batch, command, origin=origin))
            case SetCap():
                return record.answer(roster.set_cap(batch, command, origin=origin))
            case AdmitAuditor():
                roster.admit_auditor(batch, command)
                return b""
            case RevokeAuditor():
                roster.revoke_auditor(batch, command)
                return b""
        if isinstance(command, Claim):
            return self._claims.decide(batch, command)
        raise TypeError(f"clearing has no command {type(command).__name__}")


def _acknowledge(batch: Batch, command: RecordAcknowledgement, *, origin: str) -> None:
    """Take note of an ACK or PROTEST; the later entry of a brand's log stands."""
    entry = command.answer.entry
    kind = entries.kind(entry)
    body = entries.body(entry)
    window = batch.rows.get(tables.windows, (command.window,))
    if window is None or window["settlement_index"] is None:
        raise NotFound(f"Window {command.window} is not settled.")
    settlement = Citation(
        origin=origin,
        index=window["settlement_index"],
        leaf_hash=window["settlement_leaf"],
    )
    if not entries.same(body.settlement, settlement):
        raise Malformed("The entry cites another settlement.")
    before = batch.rows.get(tables.acknowledgements, (command.window, command.caller))
    shown = command.answer.citation
    if before is not None and before["entry_index"] >= shown.index:
        return
    batch.rows.put(
        tables.acknowledgements,
        {
            "window": command.window,
            "participant": command.caller,
            "kind": kind,
            "entry_index": shown.index,
            "leaf": shown.leaf_hash,
            "reason": entry.protest.reason,
            "at_us": batch.now_us,
        },
    )
