"""Writing a verdict: the DECISION entry, its opening, and every row that follows from it.

One function for all verdicts, so that no kind of decision can forget a number, a sum or a
commitment. Figures stand in the entry as commitments; the opening holds them for the two
parties, and each is shown its own part only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clearing import tables, windows
from clearing.decisions import Aborted, Committed, Reversed, Verdict
from comity.ledger import entries
from comity.ledger.command import Batch
from comity.ledger.entries import SALT_BYTES
from comity.v1.common_pb2 import Citation, Money, RedemptionKind
from comity.v1.entry_pb2 import (
    OUTCOME_ABORTED,
    OUTCOME_COMMITTED,
    OUTCOME_REVERSED,
    Amounts,
    Decision,
    DecisionOpening,
    EntryOpening,
    Outcome,
)

Key = tuple[str, str, str]
"""(issuer, acceptor, redemption id)."""

Row = dict[str, Any]

_INDEX_BYTES = 8
_OPENING = b"\x01"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a decision is about, besides its verdict."""

    key: Key
    kind: RedemptionKind.ValueType
    quote_digest: bytes = b""
    mandate_digest: bytes = b""
    agreement: tuple[str, int] = ("", 0)
    cites: Citation | None = None
    original: Citation | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A DECISION as it stands in the batch."""

    index: int
    leaf: bytes
    decision: Decision
    opening: DecisionOpening | None


def write(batch: Batch, subject: Subject, verdict: Verdict, *, origin: str) -> Written:
    """Append the DECISION and change numbers, positions, sums and the book with it."""
    issuer, acceptor, redemption_id = subject.key
    window = windows.current(batch)
    decision = Decision(
        outcome=_outcome(verdict),
        kind=subject.kind,
        issuer=issuer,
        acceptor=acceptor,
        redemption_id=redemption_id,
        quote_digest=subject.quote_digest,
        cites=subject.cites,
        original=subject.original,
        window=window["window"],
        issuer_seq=_seq_after(batch, issuer),
        acceptor_seq=_seq_after(batch, acceptor),
    )
    opening = None
    if isinstance(verdict, Committed):
        decision.deliver_by_us = verdict.deliver_by_us
    else:
        decision.reason = verdict.reason
    if isinstance(verdict, Committed | Reversed):
        opening = _open(batch, window["window"], subject, verdict.points, verdict.amounts)
        _seal(decision, opening)
    data = entries.encode(decision, origin=origin, at_us=batch.now_us)
    stored = EntryOpening(decision=opening).SerializeToString() if opening is not None else None
    index = batch.append(data, kind="decision", opening=stored)
    written = Written(
        index=index,
        leaf=entries.cite(origin, index, data).leaf_hash,
        decision=decision,
        opening=opening,
    )
    put_decision(batch, window, written, claim_leaf=_claim_leaf(subject), at_us=batch.now_us)
    return written


def put_decision(
    batch: Batch, window: Row, written: Written, *, claim_leaf: bytes | None, at_us: int
) -> None:
    """Change numbers, counts and the book for a DECISION; positions are moved already."""
    decision, rows = written.decision, batch.rows
    seqs = {decision.issuer: decision.issuer_seq, decision.acceptor: decision.acceptor_seq}
    for participant, seq in seqs.items():
        row = rows.get(tables.participants, (participant,))
        assert row is not None
        rows.put(tables.participants, row | {"seq": seq})
    windows.count(batch, window, seqs=seqs)
    opening = written.opening or DecisionOpening()
    amounts = opening.amounts
    rows.insert(
        tables.decisions,
        {
            "entry_index": written.index,
            "leaf": written.leaf,
            "at_us": at_us,
            "issuer": decision.issuer,
            "acceptor": decision.acceptor,
            "redemption_id": decision.redemption_id,
            "kind": int(decision.kind),
            "outcome": int(decision.outcome),
            "claim_leaf": claim_leaf,
            "reason": decision.reason,
            "window": decision.window,
            "issuer_seq": decision.issuer_seq,
            "acceptor_seq": decision.acceptor_seq,
            "currency": amounts.amount.currency,
            "points": opening.points,
            "amount_minor": amounts.amount.minor,
            "fee_minor": amounts.fee.minor,
            "drift_minor": amounts.drift.minor,
        },
    )


def opening_for(
    participant: str, decision: Decision, opening: DecisionOpening
) -> DecisionOpening | None:
    """The part of an opening that concerns this participant: the other's position stays shut.

    None for whoever is no party.
    """
    if participant not in (decision.issuer, decision.acceptor):
        return None
    shown = DecisionOpening()
    shown.CopyFrom(opening)
    hidden = "acceptor" if participant == decision.issuer else "issuer"
    shown.ClearField(f"{hidden}_position")  # type: ignore[arg-type]
    shown.ClearField(f"{hidden}_position_salt")  # type: ignore[arg-type]
    return shown


# --- what a decided command answers ---------------------------------------------------------


def answer(index: int) -> bytes:
    """The answer of a command: the index of the entry to show."""
    return index.to_bytes(_INDEX_BYTES, "big")


def answer_new(written: Written) -> bytes:
    """The answer of a claim decided just now, with its opening, so that nobody looks it up."""
    tail = written.opening.SerializeToString() if written.opening is not None else b""
    return answer(written.index) + _OPENING + tail


def index_in(body: bytes) -> int:
    """The entry's index in an answer."""
    return int.from_bytes(body[:_INDEX_BYTES], "big")


def tail_of(body: bytes) -> bytes:
    """What stands behind the index in an answer."""
    return body[_INDEX_BYTES:]


def opening_in(body: bytes) -> DecisionOpening | None:
    """The opening in an answer; None where it has to be looked up."""
    if body[_INDEX_BYTES : _INDEX_BYTES + 1] != _OPENING:
        return None
    return DecisionOpening.FromString(body[_INDEX_BYTES + 1 :])


# --- inside ---------------------------------------------------------------------------------


def _outcome(verdict: Verdict) -> Outcome.ValueType:
    match verdict:
        case Committed():
            return OUTCOME_COMMITTED
        case Aborted():
            return OUTCOME_ABORTED
        case Reversed():
            return OUTCOME_REVERSED


def _seq_after(batch: Batch, participant: str) -> int:
    row = batch.rows.get(tables.participants, (participant,))
    assert row is not None, "decisions are between participants"
    seq: int = row["seq"] + 1
    return seq


def _claim_leaf(subject: Subject) -> bytes | None:
    return subject.cites.leaf_hash if subject.cites is not None else None


def _open(
    batch: Batch, window: int, subject: Subject, points: int, amounts: Amounts
) -> DecisionOpening:
    """Move the amounts, and put every figure into an opening with a fresh salt."""
    issuer, acceptor, _ = subject.key
    currency = amounts.amount.currency
    after = windows.move(batch, window, issuer=issuer, acceptor=acceptor, amounts=amounts)
    salts = batch.random(4 * SALT_BYTES)
    points_salt, amounts_salt, issuer_salt, acceptor_salt = (
        salts[at : at + SALT_BYTES] for at in range(0, len(salts), SALT_BYTES)
    )
    return DecisionOpening(
        points_salt=points_salt,
        points=points,
        amounts_salt=amounts_salt,
        amounts=amounts,
        issuer_position_salt=issuer_salt,
        issuer_position=Money(currency=currency, minor=after[issuer]),
        acceptor_position_salt=acceptor_salt,
        acceptor_position=Money(currency=currency, minor=after[acceptor]),
        agreement_id=subject.agreement[0],
        agreement_version=subject.agreement[1],
        mandate_digest=subject.mandate_digest,
    )


def _seal(decision: Decision, opening: DecisionOpening) -> None:
    decision.points = entries.seal_points(opening.points, opening.points_salt)
    decision.amounts = entries.seal_amounts(opening.amounts, opening.amounts_salt)
    decision.issuer_position = entries.seal_position(
        opening.issuer_position, opening.issuer_position_salt
    )
    decision.acceptor_position = entries.seal_position(
        opening.acceptor_position, opening.acceptor_position_salt
    )
