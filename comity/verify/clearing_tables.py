"""Clearing's tables against its log and its openings: all but who asked and what others showed.

Positions, caps and numbers come from the replay; rows of single entries, and the sums which each
window keeps while it is open, from a second look at them.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, Final

from google.protobuf.message import DecodeError

from comity.errors import ComityError
from comity.ledger import entries
from comity.terms import agreements as arithmetic
from comity.terms.decision_replay import DecisionReplay
from comity.terms.positions import DRIFT, OPERATOR, effects
from comity.terms.settlement import check_settlement, digest
from comity.v1 import common_pb2, entry_pb2
from comity.verify.comparison import Comparison, Key, Values, Written
from comity.verify.settlement import read_table

ACCRUAL: Final = int(common_pb2.REDEMPTION_KIND_ACCRUAL)
COMMITTED: Final = int(entry_pb2.OUTCOME_COMMITTED)
REVERSED: Final = int(entry_pb2.OUTCOME_REVERSED)
ADJUSTED: Final = int(entry_pb2.OUTCOME_ADJUSTED)

OPEN, CLOSED, SETTLED = 1, 2, 3

Row = dict[str, Any]


@dataclass(slots=True)
class _Own:
    """The rows that clearing's entries make."""

    windows: dict[int, Row]
    participants: dict[str, Row] = field(default_factory=dict)
    agreements: dict[tuple[str, int], Row] = field(default_factory=dict)
    decisions: dict[Key, Row] = field(default_factory=dict)
    redemptions: dict[Key, Row] = field(default_factory=dict)
    totals: dict[Key, Row] = field(default_factory=dict)
    positions: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))


def check_clearing(compare: Comparison, replay: DecisionReplay) -> None:
    """Every table of clearing that follows from its log."""
    # The first window opens with the first thing that needs it.
    opened = {1: _window()} if compare.rows("windows", ("window",)) else {}
    own = _Own(windows=opened)
    for one in compare.written(*_FOLDS):
        _FOLDS[one.kind](own, one, replay)
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
    for row in own.participants.values():
        row["seq"] = replay.seqs.get(row["participant"], 0)
        row["vkey"] = replay.roster[row["origin"]]
    _check(compare, "participants", ("participant",), own.participants.values())
    _check(compare, "agreements", ("agreement_id", "version"), own.agreements.values())
    _check(compare, "decisions", ("entry_index",), own.decisions.values())
    key = ("issuer", "acceptor", "redemption_id")
    _check(compare, "redemptions", key, own.redemptions.values())
    compare.table(
        "spans",
        ("window", "participant"),
        ("first_seq", "last_seq", "decisions"),
        _spans(replay),
    )
    _check(compare, "totals", ("window", "participant", "currency"), own.totals.values())
    _check(compare, "windows", ("window",), own.windows.values())
    _check_terms(compare)
    _check_settlements(compare, replay)


def _check(compare: Comparison, name: str, keys: tuple[str, ...], rows: Any) -> None:
    """Compare a table with rows of all the columns that follow from the log."""
    found = list(rows)
    if not found:
        for row in compare.rows(name, keys):
            compare.wrong(name, f"{' '.join(map(str, row))} is not in the log.")
        return
    columns = tuple(one for one in found[0] if one not in keys)
    expected = {
        tuple(row[key] for key in keys): tuple(row[one] for one in columns) for row in found
    }
    compare.table(name, keys, columns, expected)


# --- folding --------------------------------------------------------------------------------


def _admit(own: _Own, one: Written, replay: DecisionReplay) -> None:
    """A second ADMIT changes addresses and certificate; key and standing stay."""
    body = one.body
    before = own.participants.get(body.participant)
    own.participants[body.participant] = {
        "participant": body.participant,
        "origin": body.origin,
        "tls_key_hash": body.tls_key_hash,
        "display_name": body.display_name,
        "peer_address": body.peer_address,
        "public_address": body.public_address,
        "status": before["status"] if before else int(entry_pb2.PARTICIPANT_STATUS_ACTIVE),
        "admitted_index": before["admitted_index"] if before else one.index,
    }


def _revoke(own: _Own, one: Written, replay: DecisionReplay) -> None:
    row = own.participants.get(one.body.participant)
    if row is not None:
        row["status"] = int(entry_pb2.PARTICIPANT_STATUS_FROZEN)


def _standing(own: _Own, one: Written, replay: DecisionReplay) -> None:
    row = own.participants.get(one.body.participant)
    if row is not None:
        row["status"] = int(one.body.status)


def _agree(own: _Own, one: Written, replay: DecisionReplay) -> None:
    body, known = one.body, own.agreements
    earlier = [row for at, row in known.items() if at[0] == body.agreement_id]
    ends_us = body.valid_until_us
    if not body.HasField("terminate"):
        ends_us = max(body.valid_from_us, one.entry.at_us)
    for row in earlier:
        row["ends_us"] = min(row["ends_us"], ends_us)
    if body.HasField("terminate"):
        if (body.agreement_id, body.version) in known:
            ended = known[body.agreement_id, body.version]
            ended |= {"terminate_leaf": body.terminate.leaf_hash, "terminate_index": one.index}
        return
    known[body.agreement_id, body.version] = {
        "agreement_id": body.agreement_id,
        "version": body.version,
        "issuer": body.issuer,
        "acceptor": body.acceptor,
        "digest": body.terms_digest,
        "valid_from_us": body.valid_from_us,
        "ends_us": body.valid_until_us,
        "propose": entries.canonical(body.propose),
        "entry_index": one.index,
        "terminate_leaf": None,
        "terminate_index": None,
    }


def _decide(own: _Own, one: Written, replay: DecisionReplay) -> None:
    body, opening = one.body, one.opening.decision
    cites = body.cites if body.HasField("cites") else None
    amounts = opening.amounts
    figures = {
        "currency": amounts.amount.currency,
        "points": opening.points,
        "amount_minor": amounts.amount.minor,
        "fee_minor": amounts.fee.minor,
    }
    about = {
        "issuer": body.issuer,
        "acceptor": body.acceptor,
        "redemption_id": body.redemption_id,
        "kind": int(body.kind),
        "outcome": int(body.outcome),
        "claim_leaf": cites.leaf_hash if cites is not None else None,
        "acceptor_seq": body.acceptor_seq,
    }
    own.decisions[(one.index,)] = {
        "entry_index": one.index,
        "leaf": one.leaf,
        "at_us": one.entry.at_us,
        **about,
        "reason": body.reason,
        "window": body.window,
        "issuer_seq": body.issuer_seq,
        **figures,
        "drift_minor": amounts.drift.minor,
    }
    window = own.windows.setdefault(body.window, _window(body.window))
    window["decisions"] += 1
    if opening.amounts_salt:
        _move(own, body, amounts)
    key = (body.issuer, body.acceptor, body.redemption_id)
    if int(body.outcome) in (REVERSED, ADJUSTED):
        row = own.redemptions.get(key)
        if row is not None:
            row["reversed_points"] += opening.points
            row["reversed_minor"] -= amounts.amount.minor
            row["reversed_fee_minor"] -= amounts.fee.minor
        return
    held = int(body.outcome) == COMMITTED and int(body.kind) != ACCRUAL
    own.redemptions[key] = {
        **about,
        "hold_index": cites.index if held and cites is not None else None,
        "quote_digest": body.quote_digest if held else None,
        "mandate_digest": opening.mandate_digest if held else None,
        **figures,
        "reversed_points": 0,
        "reversed_minor": 0,
        "reversed_fee_minor": 0,
        "decision_index": one.index,
        "decision_leaf": one.leaf,
        "deliver_by_us": body.deliver_by_us,
    }


def _move(own: _Own, body: entry_pb2.Decision, amounts: entry_pb2.Amounts) -> None:
    """The sums of the window, as they are kept decision by decision."""
    issuer, acceptor, currency = body.issuer, body.acceptor, amounts.amount.currency
    change = effects(issuer=issuer, acceptor=acceptor, amounts=amounts)
    by_issuer = amounts.fee_payer == common_pb2.FEE_PAYER_ISSUER
    fees = {issuer if by_issuer else acceptor: amounts.fee.minor}
    drifts = {acceptor: -amounts.drift.minor, DRIFT: amounts.drift.minor}
    for participant, moved in change.items():
        if not moved and participant in (OPERATOR, DRIFT):
            continue
        at = (participant, currency)
        fee, drift = fees.get(participant, 0), drifts.get(participant, 0)
        total = own.totals.get((body.window, *at))
        if total is None:
            total = own.totals[body.window, *at] = _total(body.window, *at, own.positions[at])
        traded = moved + fee - drift
        total["in_minor"] += max(traded, 0)
        total["out_minor"] += max(-traded, 0)
        total["fees_minor"] += fee
        total["drift_minor"] += drift
        total["decisions"] += 1
        own.positions[at] += moved


def _close(own: _Own, one: Written, replay: DecisionReplay) -> None:
    number = one.body.window
    closed = own.windows.setdefault(number, _window(number))
    closed |= {
        "state": CLOSED,
        "closed_at_us": one.entry.at_us,
        "closing_index": one.index,
        "closing_leaf": one.leaf,
    }
    own.windows[number + 1] = _window(number + 1)
    for at, running in own.positions.items():
        if running:
            own.totals[number + 1, *at] = _total(number + 1, *at, running)


def _settle(own: _Own, one: Written, replay: DecisionReplay) -> None:
    number = one.body.window
    settled = own.windows.setdefault(number, _window(number))
    settled |= {
        "state": SETTLED,
        "settled_at_us": one.entry.at_us,
        "settlement_index": one.index,
        "settlement_leaf": one.leaf,
        "acknowledge_by_us": one.body.acknowledge_by_us,
    }
    for at, net in replay.nets[number].items():
        own.positions[at] -= net


def _window(number: int = 1) -> Row:
    return {
        "window": number,
        "state": OPEN,
        "decisions": 0,
        "closed_at_us": 0,
        "settled_at_us": 0,
        "closing_index": None,
        "closing_leaf": None,
        "settlement_index": None,
        "settlement_leaf": None,
        "acknowledge_by_us": 0,
    }


def _total(window: int, participant: str, currency: str, opening: int) -> Row:
    sums = ("in_minor", "out_minor", "fees_minor", "drift_minor", "decisions")
    return {
        "window": window,
        "participant": participant,
        "currency": currency,
        "opening_minor": opening,
        **dict.fromkeys(sums, 0),
    }


_FOLDS: Final[dict[str, Any]] = {
    "admit": _admit,
    "revoke": _revoke,
    "standing": _standing,
    "agreement": _agree,
    "decision": _decide,
    "window": _close,
    "settlement": _settle,
}


# --- what is not one entry's ----------------------------------------------------------------


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


def _check_terms(compare: Comparison) -> None:
    """The terms kept are those whose digest stands in the log."""
    columns = ("agreement_id", "version", "terms", "digest")
    for name, version, terms, stated in compare.rows("agreements", columns):
        if terms and not _stands_for(bytes(terms), bytes(stated)):
            compare.wrong("agreements", f"{name} version {version} has other terms than agreed.")


def _stands_for(data: bytes, stated: bytes) -> bool:
    try:
        terms = common_pb2.AgreementTerms.FromString(data)
    except DecodeError:
        return False
    return entries.canonical(terms) == data and arithmetic.digest(terms) == stated


def _check_settlements(compare: Comparison, replay: DecisionReplay) -> None:
    """The stored settlement tables: those the log names, with the nets that the log gives."""
    rows = compare.rows("windows", ("window", "settlement"))
    stored = {number: bytes(data) for number, data in rows if data is not None}
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
