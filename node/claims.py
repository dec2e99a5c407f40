"""Purchases that members say were missed: claimed with the receipt's number, confirmed by staff.

A confirmed claim earns as the purchase would have, under the purchase's own id, so one sale earns
once whoever tells of it first. Like any purchase it earns only within the programme's
`backdate_days`, and staff state its amount from the brand's own sales.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from comity.clock import DAY
from comity.errors import AlreadyDecided, AlreadyUsed, Conflict, LimitExceeded, Malformed, NotFound
from comity.ledger.command import Batch, Content
from comity.ledger.entries import canonical
from comity.ledger.rows import Rows
from comity.ledger.steps import Step
from comity.v1 import member_pb2, office_pb2
from comity.v1.common_pb2 import Money
from node.accounts import member
from node.book import Handler, Handlers, Rules
from node.event_tables import earnings, events
from node.operation_tables import claims
from node.programme.drafts import FUTURE_SKEW_US
from node.tables import members

WAITING, CONFIRMED, REJECTED = "WAITING", "CONFIRMED", "REJECTED"
MAX_WAITING: Final = 20
"""Claims of one member that wait at once."""

_STATES: Final[Mapping[str, member_pb2.ClaimState.ValueType]] = {
    WAITING: member_pb2.CLAIM_STATE_WAITING,
    CONFIRMED: member_pb2.CLAIM_STATE_CONFIRMED,
    REJECTED: member_pb2.CLAIM_STATE_REJECTED,
}


def claim_message(row: Mapping[str, Any]) -> member_pb2.PurchaseClaim:
    """A claim's row as members and staff see it."""
    return member_pb2.PurchaseClaim(
        claim_id=row["claim_id"],
        account=row["account"],
        purchase_id=row["purchase_id"],
        amount=Money(currency=row["currency"], minor=row["amount_minor"]),
        occurred_at_us=row["occurred_at_us"],
        state=_STATES[row["state"]],
        claimed_at_us=row["claimed_at_us"],
        reason_code=row["reason_code"],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimPurchase:
    """A member says that this purchase did not earn."""

    step: ClassVar[Step] = Step.CLAIM
    caller: str
    id: str
    account: str
    purchase_id: str
    currency: str
    minor: int
    occurred_at_us: int

    def content(self) -> Mapping[str, Content]:
        return {
            "account": self.account,
            "purchase_id": self.purchase_id,
            "amount.currency": self.currency,
            "amount.minor": self.minor,
            "occurred_at_us": self.occurred_at_us,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class DecideClaim:
    """Staff end a claim: confirmed once its purchase has earned for this member, or rejected."""

    step: ClassVar[Step] = Step.CLAIM
    caller: str
    id: str
    claim_id: str
    confirmed: bool
    reason_code: str = ""

    def content(self) -> Mapping[str, Content]:
        return {
            "claim_id": self.claim_id,
            "confirmed": self.confirmed,
            "reason_code": self.reason_code,
        }


def _prefetch_claim(rules: Rules, rows: Rows, commands: Sequence[ClaimPurchase]) -> None:
    rows.load(members, [(command.account,) for command in commands])
    rows.load(events, [(command.purchase_id,) for command in commands])
    rows.load_where(claims, "account", [command.account for command in commands])


def _claim(rules: Rules, batch: Batch, command: ClaimPurchase) -> bytes:
    rows, days = batch.rows, rules.programme.backdate_days
    member(rows, command.account)
    if command.currency != rules.programme.currency or command.minor < 1:
        raise Malformed(
            f"A purchase was of an amount above zero in {rules.programme.currency}.",
            field="amount",
        )
    age_us = batch.now_us - command.occurred_at_us
    if age_us < -FUTURE_SKEW_US:
        raise LimitExceeded("The purchase lies in the future.", field="occurred_at_us")
    if age_us > days * DAY:
        raise LimitExceeded(
            f"A purchase can be claimed for {days} days; this one is older.",
            field="occurred_at_us",
        )
    if rows.get(events, (command.purchase_id,)) is not None:
        raise AlreadyUsed("This purchase has earned already.", field="purchase_id")
    mine = rows.find(claims, "account", command.account)
    waiting = [row for row in mine if row["state"] == WAITING]
    if any(row["purchase_id"] == command.purchase_id for row in waiting):
        raise Conflict("You have claimed this purchase; staff will look.", field="purchase_id")
    if len(waiting) >= MAX_WAITING:
        raise LimitExceeded(f"At most {MAX_WAITING} claims wait at once; wait for an answer.")
    row = {
        "claim_id": f"clm_{batch.random(16).hex()}",
        "account": command.account,
        "purchase_id": command.purchase_id,
        "currency": command.currency,
        "amount_minor": command.minor,
        "occurred_at_us": command.occurred_at_us,
        "state": WAITING,
        "claimed_at_us": batch.now_us,
        "decided_by": "",
        "decided_at_us": 0,
        "reason_code": "",
    }
    rows.insert(claims, row)
    return canonical(member_pb2.ClaimPurchaseResponse(claim=claim_message(row)))


def _prefetch_decide(rules: Rules, rows: Rows, commands: Sequence[DecideClaim]) -> None:
    keys = [(command.claim_id,) for command in commands]
    rows.load(claims, keys)
    found = [row for at in keys if (row := rows.get(claims, at)) is not None]
    rows.load(events, [(row["purchase_id"],) for row in found])
    rows.load_where(earnings, "event_id", [row["purchase_id"] for row in found])


def _decide(rules: Rules, batch: Batch, command: DecideClaim) -> bytes:
    rows = batch.rows
    row = rows.get(claims, (command.claim_id,))
    if row is None:
        raise NotFound(f"There is no claim {command.claim_id} here.", field="claim_id")
    if row["state"] != WAITING:
        raise AlreadyDecided(f"{command.claim_id} was {row['state'].lower()} before.")
    points = 0
    if command.confirmed:
        earned = rows.get(events, (row["purchase_id"],))
        if earned is None or earned["account"] != row["account"]:
            raise AlreadyUsed("This purchase has earned for somebody else, or not at all.")
        grants = rows.find(earnings, "event_id", row["purchase_id"])
        points = sum(one["points"] for one in grants if one["unit"] == rules.unit)
    rows.put(
        claims,
        row
        | {
            "state": CONFIRMED if command.confirmed else REJECTED,
            "decided_by": command.caller,
            "decided_at_us": batch.now_us,
            "reason_code": command.reason_code,
        },
    )
    if command.confirmed:
        return canonical(office_pb2.ConfirmClaimResponse(points=points))
    return canonical(office_pb2.RejectClaimResponse())


HANDLERS: Handlers = {
    ClaimPurchase: Handler(_prefetch_claim, _claim),
    DecideClaim: Handler(_prefetch_decide, _decide),
}
