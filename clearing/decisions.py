"""The decision on one claim: pure functions of what was shown and what the rows say.

Protocol, section 3 step 5, knows four answers. INVALID and RETRY write nothing and are raised;
COMMITTED and ABORTED are verdicts, final and written. What is decided here is never decided
twice: the book asks only about redemptions without a decision.
"""

from __future__ import annotations

from dataclasses import dataclass

from comity.errors import (
    AgreementInactive,
    AlreadyUsed,
    Forbidden,
    HoldExpired,
    Malformed,
    NotReversible,
    NotYet,
    QuoteExpired,
    Refused,
    Suspended,
)
from comity.terms import agreements, positions, quotes
from comity.v1 import common_pb2, entry_pb2

ACTIVE = entry_pb2.PARTICIPANT_STATUS_ACTIVE
SUSPENDED = entry_pb2.PARTICIPANT_STATUS_SUSPENDED
FROZEN = entry_pb2.PARTICIPANT_STATUS_FROZEN

ACCRUAL = common_pb2.REDEMPTION_KIND_ACCRUAL

NOT_DELIVERED = "NOT_DELIVERED"
"""Why clearing itself reverses: no DELIVERY was reported by the time agreed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """One of the two brands, as clearing sees it when it decides.

    `existed` says whether the payer's entry is older than this brand's suspension. `position`
    and `cap` are in minor units of the agreement's currency.
    """

    participant: str
    status: entry_pb2.ParticipantStatus.ValueType
    existed: bool
    position: int
    cap: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Terms in force; a later version or a TERMINATE may end them before they say so."""

    terms: common_pb2.AgreementTerms
    ends_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the rows say around one claim."""

    network: str
    now_us: int
    skew_us: int
    agreement: Agreement | None
    issuer: Party
    acceptor: Party
    quote_spent: bool = False
    mandate_spent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """The points change hands and the amounts are owed."""

    points: int
    amounts: entry_pb2.Amounts
    deliver_by_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Aborted:
    """Nothing is owed, now or later. `reason` is the code of the refusal."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reversed:
    """`points` more are reversed, and the amounts with them; `reason` says why."""

    points: int
    amounts: entry_pb2.Amounts
    reason: str


Verdict = Committed | Aborted | Reversed


# --- holds ----------------------------------------------------------------------------------


def check_hold(
    hold: entry_pb2.Hold, quote: bytes, *, network: str, issuer: str, caller: str
) -> None:
    """INVALID unless this is a hold for the caller, and the quote is the one it names.

    Raises Forbidden or Malformed; nothing is written.
    """
    if hold.acceptor != caller:
        raise Forbidden(
            f"The hold is for {hold.acceptor}; only the acceptor it names may claim it."
        )
    if hold.network != network:
        raise Malformed(f"The hold is for the network {hold.network}, not {network}.")
    if issuer == caller:
        raise Malformed("A brand redeems its own points without clearing.")
    if hold.kind not in (
        common_pb2.REDEMPTION_KIND_REWARD,
        common_pb2.REDEMPTION_KIND_EXCHANGE,
    ):
        raise Malformed("A hold is for a reward or an exchange.", field="hold.kind")
    if quotes.digest(quote) != hold.quote_digest:
        raise Malformed("The quote is not the one which the hold names.", field="quote")


def decide_hold(hold: entry_pb2.Hold, quote: bytes, facts: Facts) -> Committed | Aborted:
    """The verdict on an authentic claim by the hold's acceptor."""
    try:
        return _commit_hold(hold, quotes.read(quote), facts)
    except (Refused, Malformed) as refusal:
        return Aborted(reason=refusal.code)


def _commit_hold(hold: entry_pb2.Hold, quote: entry_pb2.Quote, facts: Facts) -> Committed:
    """Committed, or the first rule which the claim breaks, raised.

    1. the hold says what the quote says
    2. an agreement was in force when the quote was issued, and gives the quote's figures
    3. the quote lives now, and not longer than the agreement allows
    4. the hold lives on until the claim's grace is over
    5. neither brand is suspended or frozen, or the hold is older than a suspension
    6. quote and mandate are spent in no other redemption
    7. nobody passes its net debit cap
    """
    # 1. The same thing.
    for name, held, quoted in (
        ("issuer", facts.issuer.participant, quote.issuer),
        ("acceptor", hold.acceptor, quote.acceptor),
        ("redemption id", hold.redemption_id, quote.redemption_id),
        ("kind", hold.kind, quote.kind),
        ("agreement", hold.agreement_id, quote.agreement_id),
        ("agreement version", hold.agreement_version, quote.agreement_version),
        ("points", hold.points, quote.points),
        ("amount", hold.amount, quote.amount),
    ):
        if held != quoted:
            raise Malformed(f"The hold and its quote differ in {name}.")
    # 2. The agreement.
    terms = _in_force(facts, at_us=quote.issued_at_us)
    quotes.check_figures(quote, terms, network=facts.network)
    # 3. Time, on clearing's clock.
    quotes.check_time(quote, terms, now_us=facts.now_us, skew_us=facts.skew_us)
    # 4. The hold outlives the quote.
    if hold.expires_at_us < quote.expires_at_us + terms.claim_grace_us:
        raise HoldExpired("The hold ends before the claim's grace is over.")
    # 5. Standing.
    _check_standing(facts)
    # 6. Once only.
    if facts.quote_spent:
        raise AlreadyUsed("The quote is spent in another redemption.")
    if facts.mandate_spent:
        raise AlreadyUsed("The mandate is spent in another redemption.")
    # 7. The caps.
    moved = agreements.amounts(terms, hold.points, hold.kind)
    _check_caps(facts, moved)
    return Committed(
        points=hold.points,
        amounts=moved,
        deliver_by_us=facts.now_us + terms.deliver_within_us,
    )


# --- pledges --------------------------------------------------------------------------------


def check_pledge(pledge: entry_pb2.Pledge, *, network: str, caller: str) -> None:
    """INVALID unless the pledge is for this network and another brand; Malformed."""
    if pledge.network != network:
        raise Malformed(f"The pledge is for the network {pledge.network}, not {network}.")
    if pledge.issuer == caller:
        raise Malformed("A brand needs no pledge for its own points.")


def decide_pledge(pledge: entry_pb2.Pledge, *, at_us: int, facts: Facts) -> Committed | Aborted:
    """The verdict on a partner's promise to pay, written in its log at `at_us`."""
    try:
        return _commit_pledge(pledge, at_us, facts)
    except (Refused, Malformed) as refusal:
        return Aborted(reason=refusal.code)


def _commit_pledge(pledge: entry_pb2.Pledge, at_us: int, facts: Facts) -> Committed:
    """Committed, or the first rule which the pledge breaks, raised.

    1. an agreement which covers accruals was in force when the pledge was written
    2. points and amount are as the agreement says
    3. the pledge lives now, and no longer than the agreement gives for a delivery, so that a
       version which is long over cannot be named by writing an old date
    4. neither brand is suspended or frozen, or the pledge is older than a suspension
    5. the partner, who pays, does not pass its net debit cap
    """
    # 1. The agreement.
    terms = _in_force(facts, at_us=at_us)
    agreements.check_kind(terms, ACCRUAL)
    # 2. The figures. A pledge names what is paid; Amounts count it from issuer to acceptor.
    agreements.check_points(terms, pledge.points)
    moved = agreements.amounts(terms, pledge.points, ACCRUAL)
    promised = (pledge.amount.currency, pledge.amount.minor)
    if promised != (moved.amount.currency, -moved.amount.minor):
        raise Malformed("The pledge's amount is not the agreement's.")
    # 3. Time.
    if at_us > facts.now_us + facts.skew_us:
        raise Malformed("The pledge was written in the future.")
    if pledge.expires_at_us > at_us + terms.deliver_within_us:
        raise Malformed("The pledge lives longer than the agreement allows.")
    if facts.now_us >= pledge.expires_at_us:
        raise QuoteExpired("The pledge has expired.")
    # 4. Standing.
    _check_standing(facts)
    # 5. The cap.
    _check_caps(facts, moved)
    return Committed(points=pledge.points, amounts=moved, deliver_by_us=0)


# --- aborts and reversals -------------------------------------------------------------------


def decide_abort(
    *,
    caller: str,
    issuer: str,
    acceptor: str,
    redemption_id: str,
    hold: entry_pb2.Hold | None,
    now_us: int,
) -> Aborted:
    """ABORTED for whoever may ask (protocol, section 3 step 5); INVALID for everybody else.

    The acceptor at any time before the decision, with or without a hold; the issuer with its
    HOLD once clearing's clock has passed the hold's expiry. Raises Forbidden, Malformed, NotYet.
    """
    if caller not in (issuer, acceptor):
        raise Forbidden("Only the two brands of a redemption may ask for its abort.")
    if issuer == acceptor:
        raise Malformed("Issuer and acceptor are two brands.")
    if hold is not None and (hold.acceptor, hold.redemption_id) != (acceptor, redemption_id):
        raise Malformed("The hold is of another redemption.", field="hold")
    if caller == acceptor:
        return Aborted(reason=Refused.code)
    if hold is None:
        raise Forbidden("The issuer must show its HOLD to ask for an abort.", field="hold")
    if now_us < hold.expires_at_us:
        raise NotYet(
            "The hold has not expired; its acceptor may still claim it. Ask again afterwards.",
            metadata={"not_before_us": str(hold.expires_at_us)},
        )
    return Aborted(reason=HoldExpired.code)


def decide_reversal(
    terms: common_pb2.AgreementTerms,
    *,
    kind: common_pb2.RedemptionKind.ValueType,
    committed: int,
    before: int,
    cumulative: int,
    reason: str,
) -> Reversed:
    """REVERSED up to a cumulative number of points; raises NotReversible beyond what is left.

    No cap, suspension or freeze stands against it: it only takes back.
    """
    moved = agreements.reversal_amounts(
        terms, committed=committed, before=before, cumulative=cumulative, kind=kind
    )
    return Reversed(points=cumulative - before, amounts=moved, reason=reason)


def refuse_reversal_of(outcome: entry_pb2.Outcome.ValueType) -> None:
    """Raises NotReversible for a redemption that never was committed."""
    if outcome != entry_pb2.OUTCOME_COMMITTED:
        raise NotReversible("The redemption was aborted; there is nothing to reverse.")


# --- rules which holds and pledges share ----------------------------------------------------


def _in_force(facts: Facts, *, at_us: int) -> common_pb2.AgreementTerms:
    """The terms, if they were in force at `at_us` between exactly these two brands."""
    found = facts.agreement
    if found is None:
        raise AgreementInactive("No such agreement version is in force.")
    terms = found.terms
    if (terms.issuer, terms.acceptor) != (facts.issuer.participant, facts.acceptor.participant):
        raise AgreementInactive("The agreement is between other brands.")
    agreements.check_active(terms, at_us)
    if at_us >= found.ends_us:
        raise AgreementInactive("The agreement version was ended or superseded before.")
    return terms


def _check_standing(facts: Facts) -> None:
    for party in (facts.issuer, facts.acceptor):
        if party.status == FROZEN:
            raise Suspended(f"{party.participant} is frozen.")
        if party.status == SUSPENDED and not party.existed:
            raise Suspended(f"{party.participant} is suspended.")


def _check_caps(facts: Facts, moved: entry_pb2.Amounts) -> None:
    """Whoever this puts further into debt stays within its cap: the payer, and a fee's payer."""
    change = positions.effects(
        issuer=facts.issuer.participant, acceptor=facts.acceptor.participant, amounts=moved
    )
    for party in (facts.issuer, facts.acceptor):
        positions.check_cap(
            participant=party.participant,
            position=party.position,
            change=change[party.participant],
            cap=party.cap,
        )
