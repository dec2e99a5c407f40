"""What a programme file may say, as values. Reading it with lines is `node.programme.reader`'s.

Names of units, rules, levels, badges, titles, tags and benefits are the file's own. The parts are
in modules of their own: `values`, `units`, `rules`, `ladder`; this one has the whole, and spending
and operating.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator, model_validator

from node.programme.expressions import Expressions
from node.programme.ladder import (
    Benefit,
    Level,
    Lifecycle,
    Mark,
    Reach,
    Rerating,
    Tiers,
    Validity,
)
from node.programme.references import Inside, MistakesInside, mistakes
from node.programme.rules import EarnRule, EventType, Limit, Multiplier, Period, Rate
from node.programme.units import Clawback, Expiry, Unit, UnitKind, Value
from node.programme.values import (
    MAX_POINTS,
    PRINTABLE,
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

__all__ = [
    "MAX_POINTS",
    "PURCHASE",
    "Aim",
    "Benefit",
    "Clawback",
    "Condition",
    "Conversion",
    "Days",
    "EarnRule",
    "Enrolment",
    "EventType",
    "Expiry",
    "Formula",
    "Level",
    "Lifecycle",
    "Limit",
    "Many",
    "Mark",
    "Multiplier",
    "Name",
    "Named",
    "Payment",
    "Period",
    "Points",
    "Positive",
    "Programme",
    "Rate",
    "Reach",
    "Rerating",
    "Strict",
    "Tiers",
    "Title",
    "Unit",
    "UnitKind",
    "Validity",
    "Value",
    "Velocity",
]

_NOT_OF_IANA: Final = ("localtime", "posix", "right/", "Factory")
"""What a machine's own folder of zones may hold besides."""


class Conversion(Strict):
    """Members turn one unit into another: `points` of `from_unit` become `into_points`."""

    from_unit: Name
    """What is given."""
    into_unit: Name
    """What is got."""
    points: Positive
    """So many of the first."""
    into_points: Positive
    """Become so many of the second, rounded down."""
    minimum: Positive = 1
    """At least so many at a time."""
    multiple: Positive = 1
    """In multiples of so many."""
    keeps_level: bool = True
    """Growth that is turned into points still counts for the level the member has."""


class Payment(Strict):
    """Points pay a part of an order of this brand's."""

    unit: Name | None = None
    """Left out: the main unit."""
    value: Value
    """What points are worth then."""
    multiple: Positive = 1
    """In multiples of so many points."""
    max_percent: Annotated[int, Field(ge=1, le=100)] = 100
    """At most so much of an order."""
    max_percent_virtual: Annotated[int, Field(ge=1, le=100)] = 100
    """At most so much of an order of goods that are not sent."""


class Enrolment(Strict):
    """Who may join."""

    mode: Literal["open", "invited", "approved", "paid"] = "open"
    """Anyone, who is invited, who is approved, or who pays."""
    minimum_age: Annotated[int, Field(ge=0, le=120)] = 0
    """In years."""
    regions: Many[Annotated[str, Field(pattern=r"^[A-Z]{2}$")]] = ()
    """Where members live, as ISO 3166 codes; left out: anywhere."""


class Velocity(Strict):
    """Events of a member above this need a person: at most so many of one type per period."""

    on: Name
    """`purchase`, or an event of `events`."""
    times: Positive
    """At most so many without a person's look."""
    per: Annotated[Period, Field(strict=False)]
    """Local days, weeks from Monday, months, years; or ever."""


class Aim(Strict):
    """The three questions before design, answered: what for, with what, for which need."""

    goal: Literal["members", "loyalty", "participation", "spend"]
    """What for."""
    resources: Title
    """With what the brand can reward."""
    need: Title
    """Which need of members it meets."""
    target_percent: Annotated[int, Field(ge=0, le=1_000)] | None = None
    """By how much the goal shall grow in a year."""


class Programme(Strict):
    """One version of a programme, as its file states it.

    Whatever names a unit, event, rule, level or benefit names one there is; `MistakesInside`
    (a ValueError) tells every one that does not.
    """

    version: Annotated[str, Field(min_length=1, max_length=64, pattern=PRINTABLE)]
    """Names this version; the log records the digest of its file."""
    name: Title
    """What people call the programme."""
    zone: str
    """The IANA time zone where the programme's days begin and end."""
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    """Of purchases, an ISO 4217 code."""
    aim: Aim | None = None
    """The three questions before design."""
    units: Annotated[dict[Name, Unit], Field(min_length=1, max_length=16)]
    """What members earn; a unit's full name is `<participant>/<name>`."""
    main: Name | None = None
    """The unit partners redeem; left out: the only one that can be spent."""
    events: Named[EventType] = Field(default_factory=dict)
    """What may happen besides purchases."""
    earn: Named[EarnRule] = Field(default_factory=dict)
    """What events earn."""
    multipliers: Named[Multiplier] = Field(default_factory=dict)
    """What makes points more, or fewer, for a time or for some."""
    combine: Literal["largest", "multiply"] = "largest"
    """Of several multipliers that hold: the largest counts, or all do."""
    tiers: Tiers | None = None
    """The ladder of levels; left out: there are none."""
    badges: Named[Mark] = Field(default_factory=dict)
    """What members have achieved."""
    titles: Named[Mark] = Field(default_factory=dict)
    """What members are called."""
    tags: Named[Mark] = Field(default_factory=dict)
    """What the brand notes of members."""
    benefits: Named[Benefit] = Field(default_factory=dict)
    """What levels give."""
    lifecycle: Lifecycle = Lifecycle()
    """Where the states new, retain, sticky and dormant begin."""
    conversions: Named[Conversion] = Field(default_factory=dict)
    """Which units become others."""
    payment: Payment | None = None
    """Points as payment; left out: they pay no orders."""
    enrolment: Enrolment = Enrolment()
    """Who may join, and how."""
    velocity: Many[Velocity] = ()
    """What happens too often for a machine to wave it through."""
    return_window_days: Days = 0
    """Points of purchases are pending, not spendable, for so long."""
    backdate_days: Days = 0
    """How old a purchase or event may be when it is recorded."""
    redemptions_per_day: Positive = 100
    """How often a member may redeem on a local day."""
    redeemed_points_per_day: Positive = MAX_POINTS
    """How many points a member may redeem on a local day."""
    burn_frozen: bool = False
    """Spending stops while earning goes on."""
    adjust_four_eyes_above: Positive | None = None
    """Adjustments of more points than this need a second manager."""
    sandbox: bool = False
    """Nothing of it counts: the brand tries it out."""

    @field_validator("zone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            if name.startswith(_NOT_OF_IANA):
                raise ValueError
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError("not a time zone of the IANA database, such as Europe/Paris") from None
        return name

    @model_validator(mode="after")
    def _whole(self) -> Programme:
        if found := tuple(mistakes(self)):
            raise MistakesInside(found)
        if self.expressions.mistakes:
            raise MistakesInside(
                tuple(
                    Inside(path, error.sentence, line=error.line, column=error.column)
                    for path, error in self.expressions.mistakes
                )
            )
        return self

    @cached_property
    def expressions(self) -> Expressions:
        """Its conditions and formulas, compiled."""
        return Expressions(self)

    @cached_property
    def attributes(self) -> dict[str, frozenset[str]]:
        """The names of every attribute of an event, by type."""
        return {
            kind: frozenset(
                name
                for event in self.events.values()
                for name, found in event.attributes.items()
                if found == kind
            )
            for kind in ("text", "number", "truth")
        }

    @cached_property
    def _positions(self) -> dict[str, int]:
        levels = self.tiers.levels if self.tiers is not None else ()
        return {level.id: position for position, level in enumerate(levels, start=1)}

    def position(self, level: str) -> int:
        """The place of a level in the ladder: 1 is the lowest; 0 for none that there is."""
        return self._positions.get(level, 0)

    @property
    def spendable(self) -> tuple[str, ...]:
        """The names of the units members can spend."""
        return tuple(name for name, unit in self.units.items() if unit.spendable)

    @property
    def main_unit(self) -> str:
        """The name of the unit that rules without one mean and partners redeem.

        Empty in a programme of levels only, which has nothing to spend.
        """
        return self.main or next(iter(self.spendable), "")
