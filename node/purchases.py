"""Points by buying: purchases earn, refunds take back, managers adjust.

A refund names all that was refunded so far, and takes back what the purchase earned beyond what
the rest of it would have earned. So any parts, repeated and in any order, end where one refund of
the same total ends; and a purchase wholly refunded has earned nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from comity.errors import Malformed, NotFound, NotReversible
from comity.ledger.command import Batch
from comity.ledger.entries import canonical
from comity.ledger.rows import Rows
from comity.v1 import entry_pb2, merchant_pb2
from node import lots as lot_rules
from node.accounts import (
    BY_HAND,
    CLAWED_BACK,
    ISSUED,
    Movement,
    claw_back,
    credit,
    member,
    open_lots,
    prefetch_accounts,
    prefetch_balances,
    settle,
)
from node.book import Handler, Handlers, Rules
from node.commands import AdjustPoints, RecordPurchase, RefundPurchase
from node.programme import earn, grant, points_for, purchase_rate
from node.tables import lots, members, purchases

# --- earning --------------------------------------------------------------------------------


def _prefetch_record(rules: Rules, rows: Rows, commands: Sequence[RecordPurchase]) -> None:
    """Earning asks nothing of the lots there are, so purchases do not slow down as they grow."""
    rows.load(purchases, [(command.purchase_id,) for command in commands])
    prefetch_balances(rules, rows, [command.account for command in commands])


def _record(rules: Rules, batch: Batch, command: RecordPurchase) -> bytes:
    rows, programme = batch.rows, rules.programme
    member(rows, command.account)
    if command.currency != programme.currency:
        raise Malformed(
            f"This programme earns in {programme.currency}, not in {command.currency}.",
            field="amount.currency",
        )
    rate = purchase_rate(programme)
    draft = earn(
        programme,
        minor=command.minor,
        occurred_at_us=command.occurred_at_us,
        now_us=batch.now_us,
    )
    lot, index = "", 0
    if draft.points:
        movement = Movement(rules, batch, reference=command.purchase_id)
        lot = credit(rules, batch, movement, command.account, draft)
        movement.own(ISSUED, -draft.points)
        movement.event(command.purchase_id)
        index = movement.append(entry_pb2.Accrual(programme_version=programme.version))
    rows.put(
        purchases,
        {
            "purchase_id": command.purchase_id,
            "account": command.account,
            "currency": command.currency,
            "amount_minor": command.minor,
            "refunded_minor": 0,
            "points": draft.points,
            "reversed_points": 0,
            "rate_points": rate.points if rate else 0,
            "rate_minor": rate.per_minor if rate else 1,
            "lot": lot,
            "occurred_at_us": draft.earned_at_us,
        },
    )
    return canonical(
        merchant_pb2.PurchaseResult(
            points=draft.points,
            pending=bool(draft.points) and draft.available_at_us > batch.now_us,
            index=index,
        )
    )


# --- refunds --------------------------------------------------------------------------------


def _prefetch_refund(rules: Rules, rows: Rows, commands: Sequence[RefundPurchase]) -> None:
    ids = [(command.purchase_id,) for command in commands]
    rows.load(purchases, ids)
    found = [row for at in ids if (row := rows.get(purchases, at)) is not None]
    prefetch_accounts(rules, rows, [row["account"] for row in found])
    rows.load(lots, [(row["lot"],) for row in found if row["lot"]])


def _refund(rules: Rules, batch: Batch, command: RefundPurchase) -> bytes:
    rows = batch.rows
    row = rows.get(purchases, (command.purchase_id,))
    if row is None:
        raise NotFound(f"There is no purchase {command.purchase_id} here.", field="purchase_id")
    if command.currency != row["currency"]:
        raise Malformed(
            f"The purchase was in {row['currency']}, not in {command.currency}.",
            field="cumulative.currency",
        )
    if command.cumulative_minor < 1:
        raise Malformed("A refund is above zero.", field="cumulative.minor")
    if command.cumulative_minor > row["amount_minor"]:
        raise NotReversible(
            f"The purchase was of {row['amount_minor']} and {command.cumulative_minor} would be "
            "refunded in all; name at most what was paid.",
            field="cumulative.minor",
        )
    if command.cumulative_minor <= row["refunded_minor"]:
        # A smaller total that arrives late is part of what was refunded already.
        return canonical(merchant_pb2.RefundPurchaseResponse())
    kept = points_for(
        row["amount_minor"] - command.cumulative_minor,
        rate_points=row["rate_points"],
        rate_minor=row["rate_minor"],
    )
    reversed_points = row["points"] - kept
    taken, debt = _take_back(rules, batch, row, reversed_points - row["reversed_points"])
    changes = {"refunded_minor": command.cumulative_minor, "reversed_points": reversed_points}
    rows.put(purchases, row | changes)
    return canonical(merchant_pb2.RefundPurchaseResponse(points=taken, debt=debt))


def _take_back(rules: Rules, batch: Batch, row: dict[str, object], points: int) -> tuple[int, int]:
    """Take these points of a purchase back: how many were, and what of it is a debt now."""
    account, purchase_id, lot = str(row["account"]), str(row["purchase_id"]), str(row["lot"])
    owner = batch.rows.get(members, (account,))
    if points == 0 or owner is None or owner["erased_at_us"]:
        return 0, 0
    settle(rules, batch, account)
    movement = Movement(rules, batch, reference=purchase_id)
    taken, debt = claw_back(rules, batch, movement, account, points, lot)
    if taken:
        movement.own(CLAWED_BACK, taken)
        movement.event(purchase_id)
        movement.append(entry_pb2.Clawback())
    return taken, debt


# --- adjustments ----------------------------------------------------------------------------


def _prefetch_adjust(rules: Rules, rows: Rows, commands: Sequence[AdjustPoints]) -> None:
    prefetch_accounts(rules, rows, [command.account for command in commands])


def _adjust(rules: Rules, batch: Batch, command: AdjustPoints) -> bytes:
    rows, account = batch.rows, command.account
    member(rows, account)
    settle(rules, batch, account)
    movement = Movement(rules, batch, reference=command.reason_code)
    if command.points > 0:
        draft = grant(rules.programme, points_=command.points, now_us=batch.now_us)
        credit(rules, batch, movement, account, draft)
        movement.own(ISSUED, -command.points)
    else:
        asked = -command.points
        for lot, part in lot_rules.take(open_lots(rows, account, rules.unit), asked, batch.now_us):
            movement.change(lot, available=-part, given=BY_HAND)
        movement.own(CLAWED_BACK, asked)
    index = movement.append(entry_pb2.Adjustment(reason_code=command.reason_code))
    return canonical(merchant_pb2.AdjustPointsResponse(index=index))


HANDLERS: Handlers = {
    RecordPurchase: Handler(_prefetch_record, _record),
    RefundPurchase: Handler(_prefetch_refund, _refund),
    AdjustPoints: Handler(_prefetch_adjust, _adjust),
}
