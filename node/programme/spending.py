"""Points as payment for a brand's own order, and one unit turned into another."""

from __future__ import annotations

from comity.errors import LimitExceeded
from node.programme.model import Conversion, Payment, Programme


def covers(payment: Payment, points: int) -> int:
    """The minor units of an order that so many points pay, rounded down."""
    return points * payment.value.minor // payment.value.points


def most(payment: Payment, *, amount_minor: int, available: int, virtual: bool = False) -> int:
    """The most points that may pay an order of this amount. `virtual`: nothing is delivered."""
    worth = _limit(payment, amount_minor, virtual) * payment.value.points // payment.value.minor
    return min(available, worth) // payment.multiple * payment.multiple


def fewest(payment: Payment, points: int) -> int:
    """The fewest points that pay what `points` pay, so that none are spent for nothing."""
    needed = -(-covers(payment, points) * payment.value.points // payment.value.minor)
    return -(-needed // payment.multiple) * payment.multiple


def check_payment(
    programme: Programme, *, points: int, amount_minor: int, virtual: bool = False
) -> int:
    """The minor units that `points` pay of an order; the rest is paid with money.

    Raises LimitExceeded where the programme does not let them pay so much, or at all.
    """
    payment = programme.payment
    if payment is None:
        raise LimitExceeded("Points do not pay orders in this programme.")
    if points < 1 or points % payment.multiple:
        raise LimitExceeded(
            f"Points pay in multiples of {payment.multiple:,}; {points:,} is none.",
            field="points",
            metadata={"multiple": str(payment.multiple)},
        )
    paid, limit = covers(payment, points), _limit(payment, amount_minor, virtual)
    if paid > limit:
        best = most(payment, amount_minor=amount_minor, available=points, virtual=virtual)
        raise LimitExceeded(
            f"Points may pay {limit:,} of the {amount_minor:,} minor units of this order; "
            f"use at most {best:,} points.",
            field="points",
            metadata={"most": str(best)},
        )
    if paid < 1:
        raise LimitExceeded(
            f"{points:,} points are worth less than one minor unit; use more.", field="points"
        )
    return paid


def _limit(payment: Payment, amount_minor: int, virtual: bool) -> int:
    percent = payment.max_percent_virtual if virtual else payment.max_percent
    return amount_minor * percent // 100


def converted(conversion: Conversion, points: int) -> int:
    """How many points of the other unit `points` become, rounded down.

    Raises LimitExceeded below the minimum, between multiples, and for less than one point.
    """
    if points < conversion.minimum or points % conversion.multiple:
        raise LimitExceeded(
            f"{conversion.from_unit} converts from {conversion.minimum:,} points in multiples "
            f"of {conversion.multiple:,}; {points:,} is not that.",
            field="points",
        )
    made = points * conversion.into_points // conversion.points
    if made < 1:
        raise LimitExceeded(
            f"{points:,} {conversion.from_unit} is less than one point of "
            f"{conversion.into_unit}; convert more.",
            field="points",
        )
    return made
