"""The currencies of a programme: what they are worth, how long they live, what refunds take.

A *metric* is a unit of kind growth, which nobody can spend: growth, spend, visits, active days and
referrals are all earned, expire, are taken back and replay like points, and a tier looks at their
balances.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, model_validator

from node.programme.values import Days, Many, Positive, Strict, Title, at_most_one


class UnitKind(StrEnum):
    """What a unit is worth."""

    GOLD = "gold"
    """Points with a published fixed value."""
    HARD = "hard"
    """Points whose value stands in agreements and prices."""
    SOFT = "soft"
    """Points without a fixed value; clearing converts them only on a quote signed for it."""
    GROWTH = "growth"
    """Nobody can spend it; tiers look at it."""


class Expiry(Strict):
    """How long points live, counted in whole local days from the day they were earned; at most
    one of these, and none: for ever."""

    days: Annotated[int, Field(ge=1, le=36_500)] | None = None
    """At least so many days, to the end of the last one."""
    months: Annotated[int, Field(ge=1, le=1_200)] | None = None
    """To the end of the same day so many months later."""
    calendar_years: Annotated[int, Field(ge=0, le=100)] | None = None
    """To the end of the year of earning plus so many: 0 is that year, 1 the next."""
    anniversary_years: Annotated[int, Field(ge=1, le=100)] | None = None
    """To the eve of that anniversary of enrolment, counted from the day of earning."""
    idle_days: Annotated[int, Field(ge=1, le=36_500)] | None = None
    """To the end of so many days after the member last earned this unit, whenever that was."""

    @model_validator(mode="after")
    def _one_way(self) -> Expiry:
        names = "days, months, calendar_years, anniversary_years and idle_days"
        at_most_one((value for _, value in self), names)
        return self

    @property
    def never(self) -> bool:
        """Whether points live for ever."""
        return all(value is None for _, value in self)


class Value(Strict):
    """So many minor units of the programme's currency for so many points."""

    minor: Positive
    """So many minor units (cents)."""
    points: Positive
    """For so many points."""


class Clawback(StrEnum):
    """What a refund takes back of points that are no longer there."""

    PENDING_ONLY = "pending_only"
    """Only what is still pending; matured points stay the member's."""
    WITHIN_BALANCE = "within_balance"
    """Whatever is there; the rest is forgiven."""
    DEBT = "debt"
    """Everything; the rest is owed, and the next points earned pay it first."""


class Unit(Strict):
    """One of the programme's currencies. Its full name is `<participant>/<name>`."""

    kind: Annotated[UnitKind, Field(strict=False)] = UnitKind.HARD
    """Gold has a published value, hard is worth what agreements and prices say, soft has no
    fixed value, growth cannot be spent."""
    title: Title | None = None
    """What people call it."""
    value: Value | None = None
    """Of a gold unit: what it is worth, published."""
    expiry: Expiry = Expiry()
    """How long points live."""
    clawback: Annotated[Clawback, Field(strict=False)] = Clawback.WITHIN_BALANCE
    """A refund takes back only what is pending; or what is there, and forgives the rest; or
    all of it, and what is not there is owed until the next points pay it."""
    expired_lot_grace_days: Days = 30
    """How long points live that come back after they have expired."""
    notice_days: Many[Days] = (30, 7, 1)
    """How long before points expire members hear of it."""

    @model_validator(mode="after")
    def _gold_has_a_value(self) -> Unit:
        if self.kind is UnitKind.GOLD and self.value is None:
            raise ValueError("a gold unit publishes its value, such as {minor: 1, points: 1}")
        if self.kind is not UnitKind.GOLD and self.value is not None:
            raise ValueError("only a gold unit has a fixed value; make it gold or drop the value")
        return self

    @property
    def spendable(self) -> bool:
        """Whether members can spend it."""
        return self.kind is not UnitKind.GROWTH
