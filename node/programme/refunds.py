"""What a refund leaves of what a purchase earned, and where the rest is taken from.

A refund names what is kept of the purchase, never what this one refund is worth: so any parts,
in any order and repeated, end where one refund of the same total ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from node.programme.calendar import period_key
from node.programme.facts import Count, CountKey
from node.programme.model import Clawback, Programme


def kept(
    points: int, *, numerator: int, denominator: int, by_line: bool, amounts_kept: Sequence[int]
) -> int:
    """What remains of a grant of `points` when these amounts remain of the purchase.

    `amounts_kept` are the lines, or the whole as one. With a ratio it is what they would have
    earned, rounded as the grant was; fixed points (ratio 0/0) remain while anything does. Never
    more than was granted, which a limit may have cut.
    """
    if denominator == 0:
        return points if any(amounts_kept) else 0
    if by_line:
        earned = sum(amount * numerator // denominator for amount in amounts_kept)
    else:
        earned = sum(amounts_kept) * numerator // denominator
    return min(points, earned)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """Where points that were earned too much are taken from. The parts sum to what was asked."""

    pending: int = 0
    """Of the lot they came in, still pending."""
    available: int = 0
    """Of the same lot, available."""
    expired: int = 0
    """Of the same lot, expired unspent: gone already, nobody owes them."""
    elsewhere: int = 0
    """Of the member's other available points."""
    debt: int = 0
    """Owed from now on."""
    forgiven: int = 0
    """The programme bears them."""

    @property
    def taken(self) -> int:
        """How many points change hands: all but those expired or forgiven."""
        return self.pending + self.available + self.elsewhere + self.debt


def recover(
    policy: Clawback, points: int, *, pending: int, available: int, expired: int, elsewhere: int
) -> Recovery:
    """How to take `points` back: from their own lot, then from others, as far as the unit says.

    `pending`, `available` and `expired` are what became of the lot they came in, each less what
    earlier refunds made of it; `elsewhere` is what the member has available in other lots.
    """
    ripening = min(points, pending)
    left = points - ripening
    if policy is Clawback.PENDING_ONLY:
        gone = min(left, expired)
        return Recovery(pending=ripening, expired=gone, forgiven=left - gone)
    own = min(left, available)
    left -= own
    gone = min(left, expired)
    left -= gone
    others = min(left, elsewhere)
    left -= others
    owed = left if policy is Clawback.DEBT else 0
    return Recovery(
        pending=ripening,
        available=own,
        expired=gone,
        elsewhere=others,
        debt=owed,
        forgiven=left - owed,
    )


def given_back(
    programme: Programme,
    counts: Mapping[CountKey, Count],
    *,
    rule: str,
    at_us: int,
    points: int,
    whole: bool,
) -> dict[CountKey, Count]:
    """The counts of the rule's limits, once `points` of a grant made at `at_us` are reversed.

    If `whole`, nothing remains of that grant and its one time is given back too; say so once.
    A rule this version no longer has counts nothing.
    """
    found = programme.earn.get(rule)
    changed: dict[CountKey, Count] = {}
    for limit in found.limits if found is not None else ():
        key = (rule, period_key(programme.zone, limit.per, at_us))
        count = counts.get(key, Count())
        changed[key] = Count(
            times=max(0, count.times - int(whole)), points=max(0, count.points - points)
        )
    return changed
