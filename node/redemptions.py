"""The acceptor's part of a redemption: reserved, then delivered or failed, as clearing decides.

A redemption is one row with a state, and `TRANSITIONS` is all that can happen to it. RESERVED
ends only with a decision in hand: nothing is handed out without COMMITTED, and nobody is told
"failed" without ABORTED.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Final

from comity.errors import (
    BadStatement,
    ComityError,
    MandateRejected,
    NotFound,
    NotHeard,
    QuoteExpired,
)
from comity.ledger import entries
from comity.ledger.command import Batch, Content
from comity.ledger.rows import Rows
from comity.ledger.steps import Step
from comity.terms import agreements as arithmetic
from comity.terms import quotes
from comity.v1 import clearing_pb2, common_pb2
from comity.v1 import entry_pb2 as pb
from node.accounts import BY_PARTNER, ISSUED, Movement, credit, member, prefetch_accounts
from node.book import Handler, Handlers, Rules
from node.decided import Decided, check_amounts
from node.holds import terms_from, terms_in_force
from node.programme import grant
from node.quoting import Asked
from node.redemption_tables import agreements, redemptions
from node.rewards import deliver_stock, free_stock, prefetch_rewards, reserve_stock
from node.vouchers import issue_vouchers

GUEST: Final = "guest"
"""The caller of every redemption: a member of another brand, known by the redemption id alone."""


class State(StrEnum):
    """Where a redemption stands here."""

    RESERVED = "RESERVED"
    DELIVERED = "DELIVERED"
    FAILED = "FAILED"
    REVERSED = "REVERSED"
    """COMMITTED, then taken back whole before anything was handed out."""


COMMITTED: Final = pb.OUTCOME_COMMITTED
ABORTED: Final = pb.OUTCOME_ABORTED
REVERSED: Final = pb.OUTCOME_REVERSED

TRANSITIONS: Final[Mapping[tuple[State, int], State]] = {
    (State.RESERVED, COMMITTED): State.DELIVERED,
    (State.RESERVED, ABORTED): State.FAILED,
    (State.RESERVED, REVERSED): State.REVERSED,
    # What is decided stays decided; hearing it again changes nothing.
    (State.DELIVERED, COMMITTED): State.DELIVERED,
    (State.FAILED, ABORTED): State.FAILED,
    (State.REVERSED, COMMITTED): State.REVERSED,
    (State.REVERSED, REVERSED): State.REVERSED,
    # A reversal of what was handed out is counted in points, see node.returns.
    (State.DELIVERED, REVERSED): State.DELIVERED,
}
"""State and outcome to the state after it. What is missing cannot happen, and is refused."""


def following(state: State, decided: Decided) -> State:
    """The state after a decision. Raises BadStatement for one that cannot be."""
    after = TRANSITIONS.get((state, decided.decision.outcome))
    if after is None:
        name = pb.Outcome.Name(decided.decision.outcome).removeprefix("OUTCOME_")
        raise BadStatement(
            f"Clearing decided {name} on {decided.decision.redemption_id}, which is {state} here "
            "by another decision. Ask the operator to look at it.",
            metadata={"redemption_id": decided.decision.redemption_id},
        )
    return after


# --- reserving ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserve:
    """A member asks for a reward; from here on this brand finds out what was decided."""

    step: ClassVar[Step] = Step.RESERVE
    caller: ClassVar[str] = GUEST
    asked: Asked

    @property
    def id(self) -> str:
        return self.asked.redemption_id

    def content(self) -> Mapping[str, Content]:
        asked = self.asked
        return {
            "quote": asked.quote_bytes,
            "mandate": asked.signed.mandate,
            "reward_id": asked.reward_id,
            "quantity": asked.quantity,
            "destination_account": asked.destination,
        }


def _prefetch_reserve(rules: Rules, rows: Rows, commands: Sequence[Reserve]) -> None:
    asked = [c.asked for c in commands]
    quoted = {(a.quote.agreement_id, a.quote.agreement_version) for a in asked}
    rows.load(agreements, sorted(quoted))
    prefetch_rewards(rows, [a.reward_id for a in asked if a.reward_id])
    prefetch_accounts(rules, rows, [a.destination for a in asked if a.destination])


def _reserve(rules: Rules, batch: Batch, command: Reserve) -> bytes:
    asked, quote, rows = command.asked, command.asked.quote, batch.rows
    if batch.now_us >= quote.expires_at_us:
        raise QuoteExpired("The quote has expired; ask for a new one.")
    if batch.now_us >= asked.mandate_ends_us:
        raise MandateRejected("The mandate has expired; sign a new one.", field="not_after_us")
    terms = terms_in_force(rows, quote.agreement_id, quote.agreement_version, quote.issued_at_us)
    quotes.check_figures(quote, terms, network=rules.network)
    if asked.destination:
        member(rows, asked.destination)
    if asked.reward_id:
        reserve_stock(rows, asked.reward_id, asked.quantity)
    rows.insert(
        redemptions,
        {
            "redemption_id": quote.redemption_id,
            "issuer": quote.issuer,
            "state": State.RESERVED.value,
            "kind": quote.kind,
            "quote": asked.quote_bytes,
            "mandate": entries.canonical(asked.signed),
            "reward_id": asked.reward_id,
            "quantity": asked.quantity,
            "destination": asked.destination,
            "points": quote.points,
            "acceptor_points": quote.acceptor_points,
            "reserved_at_us": batch.now_us,
            "hold": b"",
            "decision": b"",
            "delivery_index": -1,
            "vouchers": "",
            "voucher_salt": b"",
            "lot": "",
            "failure": b"",
            "reversed_points": 0,
        },
    )
    return b""


# --- ending ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _End:
    """A decision is in hand. The row says whether it was carried out, so there is no id.

    `proof` is the statement of the decision with its opening as it came, kept for the receipt.
    """

    caller: ClassVar[str] = ""
    id: ClassVar[str] = ""
    decided: Decided
    proof: clearing_pb2.Decided

    def content(self) -> Mapping[str, Content]:
        return {"decision": self.decided.hash}

    @property
    def redemption_id(self) -> str:
        return self.decided.decision.redemption_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliver(_End):
    """COMMITTED: the DELIVERY and what is handed out, in one commit."""

    step: ClassVar[Step] = Step.DELIVER
    hold: common_pb2.Statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange(Deliver):
    """COMMITTED: the DELIVERY is an accrual of this brand's points."""

    step: ClassVar[Step] = Step.EXCHANGE


@dataclass(frozen=True, slots=True, kw_only=True)
class Fail(_End):
    """ABORTED, or COMMITTED and REVERSED again: nothing is handed out, what waited is free.

    `because` is the refusal of the issuer, where it was one.
    """

    step: ClassVar[Step] = Step.FAIL
    because: ComityError | None = None


def _prefetch_end(rules: Rules, rows: Rows, commands: Sequence[_End]) -> None:
    keys = [(c.redemption_id,) for c in commands]
    rows.load(redemptions, keys)
    found = [row for at in dict.fromkeys(keys) if (row := rows.get(redemptions, at)) is not None]
    prefetch_rewards(rows, [row["reward_id"] for row in found if row["reward_id"]])
    prefetch_accounts(rules, rows, [row["destination"] for row in found if row["destination"]])
    quoted = [quotes.read(row["quote"]) for row in found]
    rows.load(agreements, [(quote.agreement_id, quote.agreement_version) for quote in quoted])


def _deliver(rules: Rules, batch: Batch, command: Deliver) -> bytes:
    rows, decided = batch.rows, command.decided
    row = _row(rows, command.redemption_id)
    if following(State(row["state"]), decided) is not State.DELIVERED:
        return b""
    if row["state"] == State.DELIVERED:
        return b""
    if row["reversed_points"]:
        # Whoever asked for this heard COMMITTED alone, and asks clearing again.
        raise NotHeard("Clearing has reversed this redemption since; nothing is handed out.")
    quote = quotes.read(row["quote"])
    found = rows.get(agreements, (quote.agreement_id, quote.agreement_version))
    assert found is not None, "a redemption was reserved under this agreement"
    terms = terms_from(found["terms"])
    check_amounts(decided, arithmetic.amounts(terms, quote.points, quote.kind))
    if decided.decision.quote_digest != quotes.digest(row["quote"]):
        raise BadStatement("Clearing committed another quote than the one reserved here.")
    delivery = pb.Delivery(
        issuer=row["issuer"],
        redemption_id=row["redemption_id"],
        decision=decided.citation,
        seq=decided.seq(rules.participant),
        quote_digest=decided.decision.quote_digest,
        reward=quote.reward,
    )
    if row["destination"]:
        _credit(rules, batch, row, delivery)
    else:
        _hand_out(rules, batch, row, delivery)
    row |= {
        "state": State.DELIVERED.value,
        "hold": command.hold.SerializeToString(),
        "decision": command.proof.SerializeToString(),
        "delivery_index": batch.size - 1,
    }
    rows.put(redemptions, row)
    # The voucher codes, for whoever waits; anybody else finds them in the row.
    return str(row["vouchers"]).encode()


def _hand_out(rules: Rules, batch: Batch, row: dict[str, Any], delivery: pb.Delivery) -> None:
    """Stock leaves, vouchers are made, and DELIVERY commits to their codes."""
    deliver_stock(batch.rows, row["reward_id"], row["quantity"])
    codes = issue_vouchers(
        batch,
        reward_id=row["reward_id"],
        redemption_id=row["redemption_id"],
        quantity=row["quantity"],
    )
    salt = batch.random(entries.SALT_BYTES)
    delivery.voucher = entries.seal_vouchers(codes, salt)
    row |= {"vouchers": " ".join(codes), "voucher_salt": salt}
    data = entries.encode(delivery, origin=rules.origin, at_us=batch.now_us)
    batch.append(data, kind="delivery")


def _credit(rules: Rules, batch: Batch, row: dict[str, Any], delivery: pb.Delivery) -> None:
    """Points of this brand for points of the issuer."""
    movement = Movement(rules, batch, reference=row["redemption_id"])
    points = row["acceptor_points"]
    movement.own(ISSUED, -points)
    draft = grant(rules.programme, points_=points, now_us=batch.now_us)
    row["lot"] = credit(rules, batch, movement, row["destination"], draft, given=BY_PARTNER)
    movement.append(delivery)


def _fail(rules: Rules, batch: Batch, command: Fail) -> bytes:
    rows, decided = batch.rows, command.decided
    row = _row(rows, command.redemption_id)
    after = following(State(row["state"]), decided)
    if row["state"] != State.RESERVED:
        return b""
    if row["reward_id"]:
        free_stock(rows, row["reward_id"], row["quantity"])
    row |= {
        "state": after.value,
        "decision": command.proof.SerializeToString(),
        "failure": failure_of(decided, command.because).SerializeToString(),
    }
    if after is State.REVERSED:
        row["reversed_points"] = row["points"]
    rows.put(redemptions, row)
    return b""


def failure_of(decided: Decided, because: ComityError | None) -> common_pb2.Failure:
    """Why a redemption failed: the issuer's own refusal, else clearing's reason."""
    if because is not None:
        return common_pb2.Failure(
            code=because.code,
            message=because.message[:1_024],
            field=because.field,
            metadata=because.metadata,
        )
    if decided.decision.outcome == REVERSED:
        return common_pb2.Failure(
            code="NOT_DELIVERED",
            message="The reward was not handed out in time; the points were given back.",
        )
    reason = decided.decision.reason or "ABORTED"
    return common_pb2.Failure(
        code=reason, message=f"Clearing refused this redemption: {reason}. No points were spent."
    )


def _row(rows: Rows, redemption_id: str) -> dict[str, Any]:
    row = rows.get(redemptions, (redemption_id,))
    if row is None:
        raise NotFound(f"There is no redemption {redemption_id} here.", field="redemption_id")
    return row


def end_of(
    decisions: Iterable[tuple[Decided, clearing_pb2.Decided]],
) -> tuple[Decided, clearing_pb2.Decided]:
    """The decision to carry out: the last of a redemption's, if it takes back the first whole.

    `decisions` is what clearing answered for one redemption, oldest first, and not empty.
    """
    some = list(decisions)
    first = some[0]
    for one in some[1:]:
        if one[0].decision.outcome == REVERSED and one[0].points == first[0].points:
            return one
    return first


HANDLERS: Handlers = {
    Reserve: Handler(_prefetch_reserve, _reserve),
    Deliver: Handler(_prefetch_end, _deliver),
    Exchange: Handler(_prefetch_end, _deliver),
    Fail: Handler(_prefetch_end, _fail),
}
