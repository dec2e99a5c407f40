"""Settlement tables: what a closed window comes to, and the check that a stranger can repeat.

Clearing decides who pays whom; whether a table is one that settles its window is computed here,
by clearing before it signs and by every brand before it acknowledges.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable

from comity.errors import Malformed
from comity.ledger.entries import canonical
from comity.points import total
from comity.v1.entry_pb2 import SettlementTable

LABEL = b"comity-settlement/v1\n"


def digest(table: SettlementTable) -> bytes:
    """What a SETTLEMENT entry names its table by."""
    return hashlib.sha256(LABEL + canonical(table)).digest()


def check_settlement(table: SettlementTable) -> None:
    """Raise Malformed unless the payments settle exactly the positions.

    1. no participant has two rows in one currency, and rows are in order
    2. numbers of decisions are consistent: last - first + 1 of them
    3. rows sum to zero per currency
    4. every payment is positive and between two different participants with a row
    5. per participant and currency, what it receives less what it pays is its position
    """
    # 1. One row each.
    keys = [(row.net.currency, row.participant) for row in table.positions]
    if keys != sorted(set(keys)):
        raise Malformed("The positions of a settlement are ordered by currency and participant.")
    nets = {at: row.net.minor for at, row in zip(keys, table.positions, strict=True)}
    # 2. Spans.
    for row in table.positions:
        span = row.last_seq - row.first_seq + 1 if row.first_seq else 0
        if span != row.decisions:
            raise Malformed(
                f"{row.participant} has {row.decisions} decisions, and numbers from "
                f"{row.first_seq} to {row.last_seq}."
            )
    # 3. Nothing is made, nothing is lost.
    for currency, values in _by_currency(nets.items()).items():
        if total(values):
            raise Malformed(f"The positions in {currency} sum to {sum(values)}, not to zero.")
    # 4. and 5. The payments.
    left = dict(nets)
    for payment in table.payments:
        currency, minor = payment.amount.currency, payment.amount.minor
        payer, payee = (currency, payment.payer), (currency, payment.payee)
        if minor < 1 or payer == payee or payer not in nets or payee not in nets:
            raise Malformed(
                f"A payment of {minor} {currency} from {payment.payer} to {payment.payee} is none."
            )
        left[payer] += minor
        left[payee] -= minor
    for (currency, participant), minor in left.items():
        if minor:
            raise Malformed(
                f"The payments leave {minor} minor units of {currency} at {participant} unsettled."
            )


def net_of(table: SettlementTable, participant: str) -> dict[str, int]:
    """The position of one participant, by currency, in minor units; positive is received."""
    return {
        row.net.currency: row.net.minor for row in table.positions if row.participant == participant
    }


def _by_currency(nets: Iterable[tuple[tuple[str, str], int]]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for (currency, _), minor in nets:
        found[currency].append(minor)
    return found
