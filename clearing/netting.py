"""Who pays whom for a closed window: pure functions from sums to a settlement table.

Multilateral netting: each brand has one net figure for each currency; a debtor pays it to the
operator, a creditor is paid it by the operator. Nobody makes or gets more than one payment in a
currency. `operator` keeps the fees, and what it holds for `drift` moves between its own two rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from comity.terms.positions import OPERATOR
from comity.terms.settlement import check_settlement
from comity.v1.common_pb2 import Citation, Money
from comity.v1.entry_pb2 import NetPosition, Payment, SettlementTable

MODEL = "multilateral"


@dataclass(frozen=True, slots=True, kw_only=True)
class Net:
    """What a window comes to for one participant in one currency.

    `first_seq` and `last_seq` are its numbers in the window, over all currencies; 0 without any.
    """

    participant: str
    currency: str
    minor: int
    first_seq: int = 0
    last_seq: int = 0

    @property
    def decisions(self) -> int:
        return self.last_seq - self.first_seq + 1 if self.first_seq else 0


def settle(*, network: str, window: int, closed: Citation, nets: Iterable[Net]) -> SettlementTable:
    """The table which settles `nets`; the same nets always give the same bytes.

    Raises Malformed if the nets do not sum to zero per currency.
    """
    ordered = sorted(nets, key=lambda net: (net.currency, net.participant))
    table = SettlementTable(
        network=network,
        window=window,
        closed=closed,
        positions=[_row(net) for net in _with_operator(ordered)],
        payments=[payment for net in ordered if (payment := _payment(net)) is not None],
    )
    check_settlement(table)
    return table


def _row(net: Net) -> NetPosition:
    return NetPosition(
        participant=net.participant,
        net=Money(currency=net.currency, minor=net.minor),
        decisions=net.decisions,
        first_seq=net.first_seq,
        last_seq=net.last_seq,
    )


def _payment(net: Net) -> Payment | None:
    if net.participant == OPERATOR or net.minor == 0:
        return None
    debtor, creditor = (net.participant, OPERATOR) if net.minor < 0 else (OPERATOR, net.participant)
    return Payment(
        payer=debtor,
        payee=creditor,
        amount=Money(currency=net.currency, minor=abs(net.minor)),
    )


def _with_operator(nets: Sequence[Net]) -> list[Net]:
    """The rows, with one for the operator in every currency: all payments pass through it."""
    have = {net.currency for net in nets if net.participant == OPERATOR}
    missing = {net.currency for net in nets} - have
    added = [Net(participant=OPERATOR, currency=currency, minor=0) for currency in missing]
    return sorted((*nets, *added), key=lambda net: (net.currency, net.participant))
