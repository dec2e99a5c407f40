"""Claims over rows: what is loaded for them, and from which rows their facts come.

The key of a redemption is (issuer, acceptor, redemption id). The first decision on it is final:
whoever repeats the same claim gets the same DECISION, whoever shows another entry under the
same key gets a Conflict.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from clearing import decisions, record, tables, windows
from clearing.commands import (
    Claim,
    DecideAbort,
    DecideHold,
    DecidePledge,
    DecideReturn,
    ReportDelivery,
    ReverseUndelivered,
)
from clearing.decisions import Aborted, Agreement, Committed, Facts, Party
from clearing.record import Key, Subject, Written
from comity.errors import AlreadyDecided, Conflict, Malformed, NotFound, NotYet
from comity.ledger import entries
from comity.ledger.command import Batch
from comity.ledger.rows import Rows
from comity.ledger.statements import Proven
from comity.terms.positions import DRIFT, OPERATOR
from comity.v1.common_pb2 import (
    REDEMPTION_KIND_ACCRUAL,
    REDEMPTION_KIND_UNSPECIFIED,
    AgreementTerms,
    Citation,
)
from comity.v1.entry_pb2 import OUTCOME_ABORTED, OUTCOME_COMMITTED, ParticipantStatus

Row = dict[str, Any]


@lru_cache(maxsize=1_024)
def read_terms(terms: bytes) -> AgreementTerms:
    """Terms from their bytes; the same object each time, not to be changed."""
    return AgreementTerms.FromString(terms)


# --- reading ahead --------------------------------------------------------------------------


def prefetch(rows: Rows, wanted: Sequence[Claim | ReportDelivery], numbers: Iterable[int]) -> None:
    """Load every row which these claims may touch, counted in any window of `numbers`."""
    keys = [command.key for command in wanted]
    parties = {name for issuer, acceptor, _ in keys for name in (issuer, acceptor)}
    rows.load(tables.redemptions, keys)
    rows.load(tables.participants, [(name,) for name in parties])
    rows.load(
        tables.standings,
        [
            (party, payer)
            for issuer, acceptor, _ in keys
            for party in (issuer, acceptor)
            for payer in (issuer, acceptor)
        ],
    )
    _load_spent(rows, [command for command in wanted if isinstance(command, DecideHold)])
    returns = [command.key for command in wanted if isinstance(command, DecideReturn)]
    rows.load_where(tables.decisions, ("issuer", "acceptor", "redemption_id"), returns)
    currencies = _load_agreements(rows, wanted)
    windows.load_sums(rows, numbers, parties, currencies)
    rows.load(
        tables.caps,
        [(name, currency) for name in parties for currency in currencies.get(name, ())],
    )


def _load_spent(rows: Rows, holds: Sequence[DecideHold]) -> None:
    """Load the redemptions in which the quotes and mandates of these holds were spent."""
    for name in ("quote_digest", "mandate_digest"):
        digests = [(c.issuer, getattr(c.hold.entry.hold, name)) for c in holds]
        rows.load_where(tables.redemptions, ("issuer", name), digests)


def _load_agreements(rows: Rows, wanted: Sequence[Claim | ReportDelivery]) -> dict[str, set[str]]:
    """Load the agreements of the claims; returns the currencies each row of positions needs."""
    named: list[tuple[Key, tuple[str, int]]] = []
    for command in wanted:
        known = rows.get(tables.redemptions, command.key)
        if known is not None:
            named.append((command.key, (known["agreement_id"], known["agreement_version"])))
        elif isinstance(command, DecideHold | DecidePledge):
            named.append((command.key, command.agreement))
    # A reversal may follow its hold within one batch: it finds the agreement already loaded.
    rows.load(tables.agreements, [at for _, at in named])
    currencies: dict[str, set[str]] = {}
    for (issuer, acceptor, _), at in named:
        agreement = rows.get(tables.agreements, at)
        if agreement is not None and agreement["terms"]:
            currency = read_terms(agreement["terms"]).currency
            for name in (issuer, acceptor, OPERATOR, DRIFT):
                currencies.setdefault(name, set()).add(currency)
    return currencies


# --- deciding -------------------------------------------------------------------------------


class Claims:
    """Decides claims over the rows of a batch."""

    def __init__(self, *, origin: str, network: str, skew_us: int) -> None:
        self._origin = origin
        self._network = network
        self._skew_us = skew_us

    def decide(self, batch: Batch, command: Claim) -> bytes:
        """Carry out one claim; returns `record.answer` of the decision, new or found."""
        _require_parties(batch.rows, command.key)
        match command:
            case DecideHold():
                return self._hold(batch, command)
            case DecidePledge():
                return self._pledge(batch, command)
            case DecideAbort():
                return self._abort(batch, command)
            case DecideReturn():
                return self._return(batch, command)
            case ReverseUndelivered():
                return self._undelivered(batch, command)

    def _hold(self, batch: Batch, command: DecideHold) -> bytes:
        hold, rows = command.hold.entry.hold, batch.rows
        decisions.check_hold(
            hold,
            command.quote,
            network=self._network,
            issuer=command.issuer,
            caller=command.caller,
        )
        decided = rows.get(tables.redemptions, command.key)
        if decided is not None:
            return _again(decided, command.hold)
        facts = self._facts(batch, command, payer=command.issuer, entry=command.hold)
        verdict = decisions.decide_hold(hold, command.quote, facts)
        subject = Subject(
            key=command.key,
            kind=hold.kind,
            quote_digest=hold.quote_digest,
            mandate_digest=hold.mandate_digest,
            agreement=command.agreement,
            cites=command.hold.citation,
        )
        written = record.write(batch, subject, verdict, origin=self._origin)
        _put_redemption(batch, subject, verdict, written)
        return record.answer_new(written)

    def _pledge(self, batch: Batch, command: DecidePledge) -> bytes:
        pledge, rows = command.pledge.entry.pledge, batch.rows
        decisions.check_pledge(pledge, network=self._network, caller=command.caller)
        decided = rows.get(tables.redemptions, command.key)
        if decided is not None:
            return _again(decided, command.pledge)
        facts = self._facts(batch, command, payer=command.caller, entry=command.pledge)
        verdict = decisions.decide_pledge(pledge, at_us=command.pledge.entry.at_us, facts=facts)
        subject = Subject(
            key=command.key,
            kind=REDEMPTION_KIND_ACCRUAL,
            agreement=command.agreement,
            cites=command.pledge.citation,
        )
        written = record.write(batch, subject, verdict, origin=self._origin)
        _put_redemption(batch, subject, verdict, written)
        return record.answer_new(written)

    def _abort(self, batch: Batch, command: DecideAbort) -> bytes:
        issuer, acceptor, redemption_id = command.key
        decided = batch.rows.get(tables.redemptions, command.key)
        if decided is not None and command.caller in (issuer, acceptor):
            return _again(decided, command.hold)
        hold = command.hold.entry.hold if command.hold is not None else None
        verdict = decisions.decide_abort(
            caller=command.caller,
            issuer=issuer,
            acceptor=acceptor,
            redemption_id=redemption_id,
            hold=hold,
            now_us=batch.now_us,
        )
        subject = Subject(
            key=command.key,
            kind=hold.kind if hold is not None else REDEMPTION_KIND_UNSPECIFIED,
            quote_digest=hold.quote_digest if hold is not None else b"",
            cites=command.hold.citation if command.hold is not None else None,
        )
        written = record.write(batch, subject, verdict, origin=self._origin)
        _put_redemption(batch, subject, verdict, written)
        return record.answer_new(written)

    def _return(self, batch: Batch, command: DecideReturn) -> bytes:
        returned, rows = command.returned.entry.returned, batch.rows
        decided = _committed(rows, command.key)
        original = _original(decided, origin=self._origin)
        if not entries.same(returned.decision, original):
            raise Malformed("The RETURN cites another decision than the one to reverse.")
        if decided["delivery_index"] not in (None, returned.delivery_index):
            raise Malformed("The RETURN takes back another DELIVERY than the one reported.")
        for earlier in rows.find(
            tables.decisions, ("issuer", "acceptor", "redemption_id"), command.key
        ):
            if earlier["claim_leaf"] == command.returned.citation.leaf_hash:
                return record.answer(earlier["entry_index"])
        return self._reverse(
            batch,
            command.key,
            decided | {"due_us": None},
            cumulative=returned.cumulative_points,
            reason=returned.reason_code,
            cites=command.returned.citation,
        )

    def _undelivered(self, batch: Batch, command: ReverseUndelivered) -> bytes:
        decided = _committed(batch.rows, command.key)
        if decided["due_us"] is None:
            raise AlreadyDecided("The delivery was reported, or the redemption is reversed.")
        if batch.now_us < decided["due_us"]:
            raise NotYet("The delivery is not overdue.")
        return self._reverse(
            batch,
            command.key,
            decided,
            cumulative=decided["points"],
            reason=decisions.NOT_DELIVERED,
            cites=None,
        )

    def _reverse(
        self,
        batch: Batch,
        key: Key,
        decided: Row,
        *,
        cumulative: int,
        reason: str,
        cites: Citation | None,
    ) -> bytes:
        rows = batch.rows
        at = (decided["agreement_id"], decided["agreement_version"])
        agreement = rows.get(tables.agreements, at)
        assert agreement is not None, "what was committed has an agreement"
        verdict = decisions.decide_reversal(
            read_terms(agreement["terms"]),
            kind=decided["kind"],
            committed=decided["points"],
            before=decided["reversed_points"],
            cumulative=cumulative,
            reason=reason,
        )
        subject = Subject(
            key=key,
            kind=decided["kind"],
            quote_digest=decided["quote_digest"] or b"",
            agreement=at,
            cites=cites,
            original=_original(decided, origin=self._origin),
        )
        written = record.write(batch, subject, verdict, origin=self._origin)
        put_reversed(rows, decided, written)
        return record.answer_new(written)

    def report(self, batch: Batch, command: ReportDelivery) -> None:
        """Take note of a DELIVERY. Raises Conflict for a second one, AlreadyDecided too late."""
        _require_parties(batch.rows, command.key)
        delivery = command.delivery.entry.delivery
        decided = _committed(batch.rows, command.key)
        if decided["kind"] == REDEMPTION_KIND_ACCRUAL:
            raise Malformed("A partner accrual has no delivery.")
        original = _original(decided, origin=self._origin)
        if not entries.same(delivery.decision, original):
            raise Malformed("The DELIVERY cites another decision.", field="delivery.decision")
        if (delivery.seq, delivery.quote_digest) != (
            decided["acceptor_seq"],
            decided["quote_digest"],
        ):
            raise Malformed("The DELIVERY repeats another number or quote than its decision.")
        shown = command.delivery.citation
        if decided["delivery_leaf"] is not None:
            known = (decided["delivery_index"], decided["delivery_leaf"])
            if known != (shown.index, shown.leaf_hash):
                raise Conflict("Another DELIVERY of this redemption was reported before.")
            return
        if decided["reversed_points"] == decided["points"]:
            raise AlreadyDecided("The redemption was reversed before its delivery was reported.")
        reported = {"delivery_index": shown.index, "delivery_leaf": shown.leaf_hash}
        batch.rows.put(tables.redemptions, decided | reported | {"due_us": None})

    def _facts(
        self, batch: Batch, command: DecideHold | DecidePledge, *, payer: str, entry: Proven
    ) -> Facts:
        rows = batch.rows
        issuer, acceptor, _ = command.key
        row = rows.get(tables.agreements, command.agreement)
        terms = read_terms(row["terms"]) if row is not None and row["terms"] else None
        currency = terms.currency if terms is not None else ""
        agreement = Agreement(terms=terms, ends_us=row["ends_us"]) if terms and row else None
        spent = {"quote_digest": False, "mandate_digest": False}
        if isinstance(command, DecideHold):
            hold = command.hold.entry.hold
            for name in spent:
                at = (issuer, getattr(hold, name))
                spent[name] = bool(rows.find(tables.redemptions, ("issuer", name), at))
        return Facts(
            network=self._network,
            now_us=batch.now_us,
            skew_us=self._skew_us,
            agreement=agreement,
            issuer=_party(rows, issuer, currency, payer=payer, index=entry.citation.index),
            acceptor=_party(rows, acceptor, currency, payer=payer, index=entry.citation.index),
            quote_spent=spent["quote_digest"],
            mandate_spent=spent["mandate_digest"],
        )


# --- rows -----------------------------------------------------------------------------------


def _require_parties(rows: Rows, key: Key) -> None:
    for name in key[:2]:
        if rows.get(tables.participants, (name,)) is None:
            raise NotFound(f"{name} is not a participant of this network.")


def _party(rows: Rows, participant: str, currency: str, *, payer: str, index: int) -> Party:
    row = rows.get(tables.participants, (participant,))
    assert row is not None
    standing = rows.get(tables.standings, (participant, payer))
    cap = rows.get(tables.caps, (participant, currency)) if currency else None
    return Party(
        participant=participant,
        status=ParticipantStatus.ValueType(row["status"]),
        existed=standing is not None and index < standing["head_size"],
        position=windows.running(rows, participant, currency) if currency else 0,
        cap=cap["cap_minor"] if cap is not None else 0,
    )


def _committed(rows: Rows, key: Key) -> Row:
    """The committed redemption; NotFound without a decision, NotReversible if it was aborted."""
    row = rows.get(tables.redemptions, key)
    if row is None:
        raise NotFound(f"Nothing was decided on redemption {key[2]} of {key[0]} at {key[1]}.")
    decisions.refuse_reversal_of(row["outcome"])
    return row


def _original(decided: Row, *, origin: str) -> Citation:
    return Citation(
        origin=origin, index=decided["decision_index"], leaf_hash=decided["decision_leaf"]
    )


def _again(decided: Row, shown: Proven | None) -> bytes:
    """The first decision once more, or the Conflict of a claim which shows another entry."""
    known = decided["claim_leaf"]
    if shown is not None and known is not None and known != shown.citation.leaf_hash:
        raise Conflict(
            f"Redemption {decided['redemption_id']} was decided on another entry than this one.",
            field="hold",
        )
    return record.answer(decided["decision_index"])


def _put_redemption(
    batch: Batch, subject: Subject, verdict: Committed | Aborted, written: Written
) -> None:
    due_us = None
    if isinstance(verdict, Committed) and subject.kind != REDEMPTION_KIND_ACCRUAL:
        due_us = verdict.deliver_by_us
    batch.rows.put(tables.redemptions, redemption_row(subject, written, due_us=due_us))


def redemption_row(subject: Subject, written: Written, *, due_us: int | None) -> Row:
    """The row of a redemption right after its first decision."""
    issuer, acceptor, redemption_id = subject.key
    opening, cites = written.opening, subject.cites
    committed = written.decision.outcome == OUTCOME_COMMITTED
    held = committed and subject.kind != REDEMPTION_KIND_ACCRUAL
    assert committed or written.decision.outcome == OUTCOME_ABORTED
    return {
        "issuer": issuer,
        "acceptor": acceptor,
        "redemption_id": redemption_id,
        "kind": int(subject.kind),
        "outcome": int(written.decision.outcome),
        "agreement_id": subject.agreement[0],
        "agreement_version": subject.agreement[1],
        "claim_leaf": cites.leaf_hash if cites is not None else None,
        "hold_index": cites.index if held and cites is not None else None,
        "quote_digest": subject.quote_digest if held else None,
        "mandate_digest": subject.mandate_digest if held else None,
        "currency": opening.amounts.amount.currency if opening else "",
        "points": opening.points if opening else 0,
        "amount_minor": opening.amounts.amount.minor if opening else 0,
        "fee_minor": opening.amounts.fee.minor if opening else 0,
        "reversed_points": 0,
        "reversed_minor": 0,
        "reversed_fee_minor": 0,
        "decision_index": written.index,
        "decision_leaf": written.leaf,
        "acceptor_seq": written.decision.acceptor_seq,
        "delivery_index": None,
        "delivery_leaf": None,
        "deliver_by_us": written.decision.deliver_by_us,
        "due_us": due_us,
    }


def put_reversed(rows: Rows, decided: Row, written: Written) -> None:
    """Change the redemption for a REVERSED decision; reversed never passes committed (I12)."""
    opening = written.opening
    assert opening is not None
    points = decided["reversed_points"] + opening.points
    minor = decided["reversed_minor"] - opening.amounts.amount.minor
    fee = decided["reversed_fee_minor"] - opening.amounts.fee.minor
    assert points <= decided["points"], "reversed points never pass the committed"
    assert abs(minor) <= abs(decided["amount_minor"]), "nor does the amount"
    assert 0 <= fee <= decided["fee_minor"], "nor does the fee"
    rows.put(
        tables.redemptions,
        decided
        | {
            "reversed_points": points,
            "reversed_minor": minor,
            "reversed_fee_minor": fee,
            "due_us": decided["due_us"] if points < decided["points"] else None,
        },
    )
