"""Points about to be given: how many, from when they can be spent, and until when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from comity import points
from comity.clock import MINUTE
from comity.errors import LimitExceeded
from comity.points import Rounding
from node.programme.calendar import expires_at

if TYPE_CHECKING:
    from node.programme.model import Programme, Rate

FUTURE_SKEW_US: Final = 5 * MINUTE
"""How far ahead a till's clock may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LotDraft:
    """Points about to be earned: how many, from when spendable, until when (0: for ever)."""

    points: int
    earned_at_us: int
    available_at_us: int
    expires_at_us: int


def points_for(minor: int, *, rate_points: int, rate_minor: int) -> int:
    """The points that `minor` units earn at this rate, rounded down."""
    return points.divide(minor * rate_points, rate_minor, Rounding.DOWN)


def purchase_rate(programme: Programme) -> Rate | None:
    """The rate at which purchases earn the main unit: of the first rule that has one."""
    main = programme.main_unit
    for rule in programme.earn.values():
        if rule.rate is not None and (rule.unit or main) == main:
            return rule.rate
    return None


def grant(programme: Programme, *, points_: int, now_us: int, enrolled_at_us: int = 0) -> LotDraft:
    """Main points given now and spendable at once: an adjustment, an exchange, a partner's
    accrual."""
    return LotDraft(
        points=points_,
        earned_at_us=now_us,
        available_at_us=now_us,
        expires_at_us=_expires_at(programme, now_us, enrolled_at_us),
    )


def _expires_at(programme: Programme, earned_at_us: int, enrolled_at_us: int) -> int:
    main = programme.main_unit
    return expires_at(programme, main, earned_at_us, enrolled_at_us) if main else 0


def check_redemption(
    programme: Programme, *, asked: int, redeemed_today: int, redemptions_today: int
) -> None:
    """Raises LimitExceeded if this redemption goes beyond what a member may redeem in a day."""
    if redemptions_today + 1 > programme.redemptions_per_day:
        raise LimitExceeded(
            f"The member has redeemed {redemptions_today} times today and may "
            f"{programme.redemptions_per_day} times; try again tomorrow."
        )
    if redeemed_today + asked > programme.redeemed_points_per_day:
        left = max(0, programme.redeemed_points_per_day - redeemed_today)
        raise LimitExceeded(
            f"The member may redeem {left} more points today and {asked} are asked for.",
            metadata={"left": str(left)},
        )
