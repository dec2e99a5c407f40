"""What a member is shown of a redemption: its state, its vouchers, its receipt.

A receipt is three statements as tlog-proof files: HOLD, DECISION, DELIVERY. It verifies offline,
years later, without asking anybody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from comity.ledger.statements import to_tlog_proof
from comity.v1 import clearing_pb2, common_pb2, member_pb2, merchant_pb2
from comity.v1 import entry_pb2 as pb
from node.driver import Delivered
from node.pledge_returns import is_under_way, reversed_of
from node.redemptions import State


def redemption_message(
    row: Mapping[str, Any], *, acceptor: str, delivery: common_pb2.Statement | None
) -> member_pb2.Redemption:
    """A redemption's row as its member sees it. `delivery` is the statement of its DELIVERY."""
    shown = member_pb2.Redemption(
        redemption_id=row["redemption_id"],
        state=state_of(row),
        points=row["points"],
        reversed_points=row["reversed_points"],
        issuer=row["issuer"],
        acceptor=acceptor,
    )
    if row["state"] == State.DELIVERED:
        shown.vouchers.extend(row["vouchers"].split())
    if row["failure"]:
        shown.failure.CopyFrom(common_pb2.Failure.FromString(row["failure"]))
    hold = decided = None
    if row["hold"]:
        hold = common_pb2.Statement.FromString(row["hold"])
    if row["decision"]:
        decided = clearing_pb2.Decided.FromString(row["decision"])
    _add_receipt(shown, hold, decided, delivery)
    return shown


def delivered_message(
    quote: pb.Quote, delivered: Delivered, *, delivery: common_pb2.Statement
) -> member_pb2.Redemption:
    """As `redemption_message`, of what was delivered just now."""
    shown = member_pb2.Redemption(
        redemption_id=quote.redemption_id,
        state=member_pb2.REDEMPTION_STATE_DELIVERED,
        points=quote.points,
        issuer=quote.issuer,
        acceptor=quote.acceptor,
        vouchers=delivered.vouchers,
    )
    _add_receipt(shown, delivered.hold, delivered.proof, delivery)
    return shown


def _add_receipt(
    shown: member_pb2.Redemption,
    hold: common_pb2.Statement | None,
    decided: clearing_pb2.Decided | None,
    delivery: common_pb2.Statement | None,
) -> None:
    statements = [hold, decided.decision if decided is not None else None, delivery]
    shown.receipt.extend([to_tlog_proof(one) for one in statements if one is not None])
    if decided is not None:
        shown.points_salt = decided.opening.points_salt


def state_of(row: Mapping[str, Any]) -> member_pb2.RedemptionState.ValueType:
    """The state of a redemption's row, as members know it."""
    state = State(row["state"])
    if state is State.RESERVED:
        return member_pb2.REDEMPTION_STATE_PENDING
    if state is State.FAILED:
        return member_pb2.REDEMPTION_STATE_FAILED
    if row["reversed_points"] >= row["points"]:
        return member_pb2.REDEMPTION_STATE_REVERSED
    if row["reversed_points"]:
        return member_pb2.REDEMPTION_STATE_PARTLY_REVERSED
    return member_pb2.REDEMPTION_STATE_DELIVERED


def refund_message(
    row: Mapping[str, Any], told: Sequence[Mapping[str, Any]]
) -> merchant_pb2.RefundPartnerPurchaseResponse:
    """How far the refunds of a pledge are, from its row and those of its RETURN entries."""
    back = reversed_of(told)
    if is_under_way(row, told):
        state = member_pb2.REDEMPTION_STATE_PENDING
    elif back >= row["points"]:
        state = member_pb2.REDEMPTION_STATE_REVERSED
    elif back:
        state = member_pb2.REDEMPTION_STATE_PARTLY_REVERSED
    else:
        state = member_pb2.REDEMPTION_STATE_DELIVERED
    return merchant_pb2.RefundPartnerPurchaseResponse(
        redemption_id=row["redemption_id"],
        state=state,
        reversed_points=back,
        unrecovered_points=row["answered_points"] - row["recovered_points"],
    )
