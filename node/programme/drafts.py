"""Points about to be given: how many, from when they can be spent, and until when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from comity import points
from comity.clock import DAY, MINUTE
from comity.errors import LimitExceeded, Malformed
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


def earn(programme: Programme, *, minor: int, occurred_at_us: int, now_us: int) -> LotDraft:
    """What a purchase of `minor` units earns in the main unit.

    `occurred_at_us` 0 means now. Raises Malformed for an amount that is not positive, and
    LimitExceeded for a purchase in the future or longer ago than the programme accepts.
    """
    if minor < 1:
        raise Malformed("A purchase has an amount above zero.", field="amount.minor")
    earned_at_us = occurred_at_us or now_us
    if earned_at_us > now_us + FUTURE_SKEW_US:
        raise LimitExceeded(
            "The purchase lies in the future; check the till's clock.", field="occurred_at_us"
        )
    if earned_at_us < now_us - programme.backdate_days * DAY - FUTURE_SKEW_US:
        raise LimitExceeded(
            f"The purchase is older than the {programme.backdate_days} days for which this "
            "programme accepts purchases; a manager can adjust points instead.",
            field="occurred_at_us",
        )
    earned_at_us = min(earned_at_us, now_us)
    rate = purchase_rate(programme)
    return LotDraft(
        points=0
        if rate is None
        else points_for(minor, rate_points=rate.points, rate_minor=rate.per_minor),
        earned_at_us=earned_at_us,
        available_at_us=earned_at_us + programme.return_window_days * DAY,
        expires_at_us=_expires_at(programme, earned_at_us, 0),
    )


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
