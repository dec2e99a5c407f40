"""Levels and what they give; badges, titles and tags; where the states of a member begin."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, model_validator

from node.programme.values import (
    MAX_POINTS,
    Condition,
    Days,
    Many,
    Name,
    Named,
    Positive,
    Strict,
    Title,
    at_most_one,
)

# --- levels ---------------------------------------------------------------------------------

Reach: TypeAlias = Many[Annotated[dict[Name, Positive], Field(min_length=1, max_length=16)]]
"""Alternatives; each asks for at least so much of every growth unit (or other unit) it names."""


class Level(Strict):
    """One level. The first is everyone's and has no `reach`."""

    id: Name
    """Its name in conditions."""
    title: Title | None = None
    """What people call it."""
    reach: Reach = ()
    """Alternatives: one is enough. Each asks for at least so much of every unit it names."""
    keep: Reach | None = None
    """Left out: `reach`. Less than `reach` is hysteresis."""
    when: Condition | None = None
    """Asked besides `reach`, such as `member.days >= 365`."""
    benefits: Many[Name] = ()
    """What its members get, of `benefits`."""


class Rerating(Strict):
    """What happens to growth when a level's validity ends, before the member is rated anew."""

    clear: Many[Name] = ()
    """These growth units begin again from nothing."""
    deduct: Named[Positive] = Field(default_factory=dict)
    """So much is taken of these growth units."""


class Validity(Strict):
    """How long a level lasts once reached. At most one; none: as long as it is kept."""

    months: Annotated[int, Field(ge=1, le=1_200)] | None = None
    """To the end of the same day so many months later."""
    calendar_years: Annotated[int, Field(ge=0, le=100)] | None = None
    """To the end of the year in which it was reached, plus so many."""

    @model_validator(mode="after")
    def _one_way(self) -> Validity:
        at_most_one((value for _, value in self), "months and calendar_years")
        return self

    @property
    def limited(self) -> bool:
        """Whether a level ends by itself."""
        return self.months is not None or self.calendar_years is not None


class Tiers(Strict):
    """The ladder, lowest level first."""

    levels: Annotated[tuple[Level, ...], Field(strict=False, min_length=1, max_length=200)]
    """The levels, lowest first."""
    validity: Validity = Validity()
    """How long a level lasts once reached."""
    rerating: Rerating = Rerating()
    """What happens to growth when that time is over."""
    downgrade: Literal["at_once", "at_end", "never"] = "at_end"
    """When a level that is no longer kept is lost: at once, when its validity ends, or never."""
    steps_down: Annotated[int, Field(ge=1, le=200)] | None = None
    """Soft landing: at most so many levels at a time."""
    minimum_stay_days: Days = 0
    """No level is lost sooner than this after it was reached."""
    announce: Literal["jump", "each"] = "jump"
    """Over several levels at once: one change, or one for each."""


# --- badges, titles, tags, benefits ---------------------------------------------------------


class Mark(Strict):
    """A badge, title or tag. Without `when` it is given by hand only."""

    title: Title | None = None
    """What people call it."""
    when: Condition | None = None
    """Given when this holds."""
    on: Name | None = None
    """Looked at after events of this type only; left out: after every change."""
    keeps: bool | None = None
    """Stays when the condition no longer holds. Left out: badges and titles do, tags do not."""


class Benefit(Strict):
    """What a level gives. Priority orders service queues: larger is served first."""

    title: Title
    """What people call it."""
    kind: Literal["main", "auxiliary", "spiritual"] = "main"
    """Of the core business, related to it, or of recognition only."""
    cost_minor: Annotated[int, Field(ge=0, le=MAX_POINTS)] = 0
    """What it costs the brand for a member and year, minor units."""
    priority: Annotated[int, Field(ge=0, le=100)] = 0
    """In service queues: larger is served first."""


class Lifecycle(Strict):
    """Where the four states of a member begin (new, retain, sticky, dormant)."""

    new_days: Days = 30
    """New is who joined fewer days ago."""
    sticky_purchases: Positive = 3
    """Sticky is who bought so often."""
    dormant_days: Annotated[int, Field(ge=1, le=36_500)] = 180
    """Dormant is who did nothing for so long."""
