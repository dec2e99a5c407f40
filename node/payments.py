"""Points pay a part of an order at their own brand, and come back with it.

A payment is one SPEND entry, which takes the points that expire first. A refund names all that
was given back so far, so any parts, repeated and in any order, end where one refund of the same
total ends. Those taken last come back first, each to its lot with the expiry this has: what comes
back to an expired lot is gone at once, unless the unit has a grace.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from comity.errors import Conflict, LimitExceeded, Malformed, NotFound, NotReversible
from comity.ledger.command import Batch, Content
from comity.ledger.entries import canonical
from comity.ledger.rows import Rows
from comity.ledger.steps import Step
from comity.v1 import common_pb2, entry_pb2, merchant_pb2
from node.accounts import (
    SPENT,
    Movement,
    expire,
    give_back,
    lot,
    member,
    open_lots,
    prefetch_accounts,
    settle,
    settle_lots,
)
from node.book import Handler, Handlers, Rules
from node.event_tables import payments
from node.freeze import prefetch_freeze, require_burning
from node.lots import Lot, spendable, take
from node.members import require_unlocked
from node.programme.spending import check_payment, fewest, most
from node.tables import lots, members


@dataclass(frozen=True, slots=True, kw_only=True)
class PayWithPoints:
    """Points pay a part of an order; with 0 as many as there are and may pay."""

    step: ClassVar[Step] = Step.SPEND
    caller: str
    id: str
    account: str
    order_id: str
    currency: str
    amount_minor: int
    points: int = 0
    virtual: bool = False

    def content(self) -> Mapping[str, Content]:
        return {
            "account": self.account,
            "order_id": self.order_id,
            "amount.currency": self.currency,
            "amount.minor": self.amount_minor,
            "points": self.points,
            "virtual": self.virtual,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundPayment:
    """All points of a payment given back so far, or all of what they paid; neither is all."""

    step: ClassVar[Step] = Step.REINSTATE
    caller: str
    id: str
    order_id: str
    cumulative_points: int = 0
    currency: str = ""
    cumulative_minor: int = 0

    def content(self) -> Mapping[str, Content]:
        return {
            "order_id": self.order_id,
            "cumulative_points": self.cumulative_points,
            "cumulative.currency": self.currency,
            "cumulative.minor": self.cumulative_minor,
        }


def event_of(order_id: str) -> str:
    """What the entries of a payment commit to."""
    return f"payment/{order_id}"


# --- paying ---------------------------------------------------------------------------------


def _prefetch_pay(rules: Rules, rows: Rows, commands: Sequence[PayWithPoints]) -> None:
    prefetch_accounts(rules, rows, [command.account for command in commands])
    rows.load(payments, [(command.order_id,) for command in commands])
    prefetch_freeze(rows)


def _pay(rules: Rules, batch: Batch, command: PayWithPoints) -> bytes:
    rows, account, programme = batch.rows, command.account, rules.programme
    require_unlocked(member(rows, account))
    _check_order(rules, rows, command)
    require_burning(rules, rows)
    payment = programme.payment
    if payment is None:
        raise LimitExceeded("Points do not pay orders in this programme.")
    settle(rules, batch, account)
    unit = rules.full(payment.unit or programme.main_unit)
    there = open_lots(rows, account, unit)
    points, virtual = command.points, command.virtual
    if not points:
        available = spendable(there, batch.now_us)
        allowed = most(
            payment, amount_minor=command.amount_minor, available=available, virtual=virtual
        )
        points = fewest(payment, allowed)
        if not points:
            raise LimitExceeded(
                f"None of the {available:,} points of the member can pay this order; "
                "take money for it.",
                field="points",
                metadata={"most": "0", "available": str(available)},
            )
    covered = check_payment(
        programme, points=points, amount_minor=command.amount_minor, virtual=virtual
    )
    movement = Movement(rules, batch, reference=command.order_id)
    taken = take(there, points, batch.now_us)
    for one, part in taken:
        movement.change(one, available=-part)
    movement.own(SPENT, points, unit=unit)
    movement.event(event_of(command.order_id))
    index = movement.append(entry_pb2.Spend())
    rows.put(
        payments,
        {
            "order_id": command.order_id,
            "index": index,
            "account": account,
            "unit": unit,
            "points": points,
            "currency": command.currency,
            "amount_minor": command.amount_minor,
            "covered_minor": covered,
            "taken": " ".join(f"{one.lot}:{part}" for one, part in taken),
            "refunded_points": 0,
        },
    )
    rest = command.amount_minor - covered
    answer = merchant_pb2.PayWithPointsResponse(
        points=points,
        covered=common_pb2.Money(currency=command.currency, minor=covered),
        rest=common_pb2.Money(currency=command.currency, minor=rest),
        index=index,
    )
    return canonical(answer)


def _check_order(rules: Rules, rows: Rows, command: PayWithPoints) -> None:
    if command.currency != rules.programme.currency:
        raise Malformed(
            f"The programme counts in {rules.programme.currency}, not in {command.currency}.",
            field="amount.currency",
        )
    if command.amount_minor < 1:
        raise Malformed("An order costs more than zero.", field="amount.minor")
    if rows.get(payments, (command.order_id,)) is not None:
        raise Conflict(
            f"Points have paid order {command.order_id} already; give each order its own id.",
            field="order_id",
        )


# --- giving back ----------------------------------------------------------------------------


def _prefetch_refund(rules: Rules, rows: Rows, commands: Sequence[RefundPayment]) -> None:
    keys = [(command.order_id,) for command in commands]
    rows.load(payments, keys)
    found = [row for at in keys if (row := rows.get(payments, at)) is not None]
    prefetch_accounts(rules, rows, [row["account"] for row in found])
    rows.load(lots, [(name,) for row in found for name, _ in _taken(row)])


def _taken(row: Mapping[str, Any]) -> list[tuple[str, int]]:
    """The lots which a payment took from, and how much, in its order."""
    pairs = [pair.rpartition(":") for pair in row["taken"].split()]
    return [(name, int(points)) for name, _, points in pairs]


def _refund(rules: Rules, batch: Batch, command: RefundPayment) -> bytes:
    rows = batch.rows
    row = rows.get(payments, (command.order_id,))
    if row is None:
        raise NotFound(f"No points have paid order {command.order_id} here.", field="order_id")
    before, asked = row["refunded_points"], _asked(row, command)
    answer = merchant_pb2.RefundPaymentResponse(cumulative_points=max(before, asked))
    if asked <= before:
        # A smaller total that arrives late is part of what was given back already.
        return canonical(answer)
    account = row["account"]
    settle(rules, batch, account)
    back = _reinstate(rules, batch, row, asked)
    rows.put(payments, row | {"refunded_points": asked})
    answer.points = asked - before
    answer.expired = _end(rules, batch, account, back)
    return canonical(answer)


def _asked(row: Mapping[str, Any], command: RefundPayment) -> int:
    """How many points are to be back in all."""
    points: int = row["points"]
    if not command.currency and not command.cumulative_minor:
        if command.cumulative_points > points:
            raise NotReversible(
                f"{points:,} points have paid this order; at most those come back.",
                field="cumulative_points",
            )
        return command.cumulative_points or points
    if command.cumulative_points:
        raise Malformed("Give points or an amount, not both.", field="cumulative_points")
    if command.currency != row["currency"]:
        raise Malformed(
            f"The order was in {row['currency']}, not in {command.currency}.",
            field="cumulative.currency",
        )
    if command.cumulative_minor < 1:
        raise Malformed("A refund is above zero.", field="cumulative.minor")
    covered: int = row["covered_minor"]
    if command.cumulative_minor > covered:
        raise NotReversible(
            f"Points have paid {covered:,} of this order; at most that is given back in points.",
            field="cumulative.minor",
        )
    return points * command.cumulative_minor // covered


def _reinstate(rules: Rules, batch: Batch, row: Mapping[str, Any], asked: int) -> dict[str, int]:
    """Points come back until `asked` are; how many each lot got."""
    before = row["refunded_points"]
    movement = Movement(rules, batch, reference=row["order_id"])
    back: dict[str, int] = {}
    at = 0
    for name, part in reversed(_taken(row)):
        share = min(at + part, asked) - max(at, before)
        if share > 0:
            changed = give_back(rules, batch, movement, lot(batch.rows, name), share)
            back[changed.lot] = share
        at += part
    movement.own(SPENT, before - asked, unit=row["unit"])
    movement.event(event_of(row["order_id"]))
    movement.append(entry_pb2.Reinstate(spend_index=row["index"]))
    return back


def _end(rules: Rules, batch: Batch, account: str, back: Mapping[str, int]) -> int:
    """What came back to lots whose time is over, or to a member who left, ends at once."""
    rows, now_us = batch.rows, batch.now_us
    found = [lot(rows, name) for name in back]
    owner = rows.get(members, (account,))
    if owner is None or owner["erased_at_us"]:
        expire(rules, batch, found, reference="erased")
        return sum(one.available for one in found)
    over: list[Lot] = [one for one in found if one.expired(now_us)]
    settle_lots(rules, batch, over)
    settle(rules, batch, account)
    return sum(one.available for one in over)


HANDLERS: Handlers = {
    PayWithPoints: Handler(_prefetch_pay, _pay),
    RefundPayment: Handler(_prefetch_refund, _refund),
}
