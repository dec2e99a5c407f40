"""What events there are, and what they earn."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, model_validator

from node.programme.values import (
    PURCHASE,
    Condition,
    Days,
    Formula,
    Many,
    Name,
    Named,
    Points,
    Positive,
    Strict,
    Title,
)


class Period(StrEnum):
    """What a limit counts over: local days, weeks from Monday, months, years; or for ever."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"
    EVER = "ever"


class Limit(Strict):
    """At most so many times, or so many points, per member and period. At least one of both."""

    times: Positive | None = None
    """At most so many times."""
    points: Positive | None = None
    """At most so many points; what is above is not given."""
    per: Annotated[Period, Field(strict=False)]
    """Local days, weeks from Monday, months, years; or ever."""

    @model_validator(mode="after")
    def _something(self) -> Limit:
        if self.times is None and self.points is None:
            raise ValueError("a limit gives times, points or both")
        return self


class Rate(Strict):
    """So many points for each so many minor units."""

    points: Positive
    """So many points."""
    per_minor: Positive
    """For each so many minor units (cents)."""


class EarnRule(Strict):
    """What one kind of event earns, in one unit. Exactly one of rate, points and formula."""

    on: Name
    """`purchase`, or an event of `events`."""
    unit: Name | None = None
    """Of `units`; left out, the main unit."""
    when: Condition | None = None
    """Only if this holds."""
    rate: Rate | None = None
    """Of purchases only."""
    points: Points | None = None
    """Fixed; below zero it is a penalty."""
    formula: Formula | None = None
    """So many points as this says; below zero it is a penalty."""
    rounding: Literal["order", "line"] = "order"
    """A rate is rounded down once for the order, or for every line."""
    limits: Many[Limit] = ()
    """How often, and how much, for each member."""
    source: Literal["business", "activity", "bonus"] = "business"
    """What the points are earned by: statements and entries tell them apart."""
    funded_by: Literal["merchant", "platform", "partner"] = "merchant"
    """Who pays for the points."""
    pending: bool | None = None
    """Left out: pending for purchases if there is a return window."""
    penalty: Literal["floor", "debt"] = "floor"
    """A penalty takes what is there, or all, and the member owes the rest."""

    @model_validator(mode="after")
    def _one_way(self) -> EarnRule:
        if sum(one is not None for one in (self.rate, self.points, self.formula)) != 1:
            raise ValueError("give exactly one of rate, points and formula")
        if self.points == 0:
            raise ValueError("a rule gives points above zero, or a penalty below")
        if self.rate is not None and self.on != PURCHASE:
            raise ValueError("only a purchase has an amount for a rate; give points or a formula")
        if self.rounding == "line" and self.rate is None:
            raise ValueError("only a rate is rounded line by line")
        return self


class Multiplier(Strict):
    """Earned points times `numerator / denominator` while the condition holds."""

    when: Condition
    """While this holds."""
    numerator: Annotated[int, Field(ge=1, le=1_000)]
    """Times so much."""
    denominator: Annotated[int, Field(ge=1, le=1_000)] = 1
    """Divided by so much."""
    rules: Many[Name] = ()
    """Left out: every rule with a rate."""


class EventType(Strict):
    """An event a till or an app may report, with its attributes by name and type."""

    title: Title | None = None
    """Shown to members, as a task, if there is one."""
    attributes: Named[Literal["text", "number", "truth"]] = Field(default_factory=dict)
    """What is told with the event, for conditions and formulas."""
    backdate_days: Days | None = None
    """Left out: the programme's."""
