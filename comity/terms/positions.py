"""Positions: what a decision does to everyone's running net, and their sum, always zero.

Rows are the participants plus two of the operator's own: `operator` (fees) and `drift` (what
currency conversion leaves over). Positive means the network owes the participant.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from comity.errors import CapExceeded
from comity.points import checked
from comity.v1 import common_pb2, entry_pb2

OPERATOR: Final = "operator"
DRIFT: Final = "drift"
RESERVED_NAMES: Final = frozenset({OPERATOR, DRIFT, "clearing"})


def effects(*, issuer: str, acceptor: str, amounts: entry_pb2.Amounts) -> dict[str, int]:
    """The change of each row, minor units; the changes sum to zero.

    The amount flows from issuer to acceptor (backwards when negative), the fee from its payer to
    the operator, the drift from the acceptor to the drift row.
    """
    amount, fee, drift = amounts.amount.minor, amounts.fee.minor, amounts.drift.minor
    change = {issuer: -amount, acceptor: amount - drift, OPERATOR: fee, DRIFT: drift}
    payer = issuer if amounts.fee_payer == common_pb2.FEE_PAYER_ISSUER else acceptor
    change[payer] -= fee
    assert sum(change.values()) == 0, "every obligation has a payer and a payee"
    return change


def payer_of(kind: common_pb2.RedemptionKind.ValueType, *, issuer: str, acceptor: str) -> str:
    """Whose entry promises to pay: the issuer, in an ACCRUAL the acceptor (the partner)."""
    return acceptor if kind == common_pb2.REDEMPTION_KIND_ACCRUAL else issuer


def check_cap(*, participant: str, position: int, change: int, cap: int) -> int:
    """The new running position. Raises CapExceeded where it would pass −cap (I15)."""
    after = checked(position + change)
    if change < 0 and after < -cap:
        raise CapExceeded(
            f"{participant} has reached its net debit cap.",
            metadata={"participant": participant},
        )
    return after


def fold(positions: Mapping[str, int], change: Mapping[str, int]) -> dict[str, int]:
    """The positions after a decision. Raises Overflow beyond int64."""
    after = dict(positions)
    for participant, moved in change.items():
        after[participant] = checked(after.get(participant, 0) + moved)
    return after
