"""What a programme file may say, as values. Reading it with lines is `node.programme.reader`'s.

Names of units, rules, levels, badges, titles, tags and benefits are the file's own. A *metric* is
a unit of kind growth, which nobody can spend: growth, spend, visits, active days and referrals are
all earned, expire, are taken back and replay like points, and a tier looks at their balances.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Final, Literal, TypeAlias, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from node.programme.expressions import Expressions
from node.programme.references import Inside, MistakesInside, mistakes

MAX_POINTS: Final = 10**12
PURCHASE: Final = "purchase"
"""The one event every programme knows."""

T = TypeVar("T")
Many: TypeAlias = Annotated[tuple[T, ...], Field(strict=False, max_length=200)]
"""A list in the file."""
Named: TypeAlias = Annotated[dict["Name", T], Field(max_length=200)]
"""Things by their names."""

Days: TypeAlias = Annotated[int, Field(ge=0, le=36_500)]
Positive: TypeAlias = Annotated[int, Field(ge=1, le=MAX_POINTS)]
Points: TypeAlias = Annotated[int, Field(ge=-MAX_POINTS, le=MAX_POINTS)]
Name: TypeAlias = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
Title: TypeAlias = Annotated[str, Field(min_length=1, max_length=128)]


def _as_text(value: object) -> object:
    """`when: true` and `formula: 10` need no quotes."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else value


Expression: TypeAlias = Annotated[
    str, BeforeValidator(_as_text), Field(min_length=1, max_length=1_000)
]
Condition: TypeAlias = Expression
"""A CEL expression of type bool over `event`, `member` and `local`."""
Formula: TypeAlias = Expression
"""A CEL expression of type int over the same."""


class Strict(BaseModel):
    """No name that is not known, no value of another type, never changed."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True
    )


def _at_most_one(given: Iterator[object], names: str) -> None:
    if sum(one is not None for one in given) > 1:
        raise ValueError(f"give at most one of {names}")


# --- units ----------------------------------------------------------------------------------


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
        _at_most_one((value for _, value in self), names)
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


# --- earning --------------------------------------------------------------------------------


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
    attributes: Named[Literal["text", "number", "truth"]] = {}
    """What is told with the event, for conditions and formulas."""
    backdate_days: Days | None = None
    """Left out: the programme's."""


# --- tiers ----------------------------------------------------------------------------------


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
    deduct: Named[Positive] = {}
    """So much is taken of these growth units."""


class Validity(Strict):
    """How long a level lasts once reached. At most one; none: as long as it is kept."""

    months: Annotated[int, Field(ge=1, le=1_200)] | None = None
    """To the end of the same day so many months later."""
    calendar_years: Annotated[int, Field(ge=0, le=100)] | None = None
    """To the end of the year in which it was reached, plus so many."""

    @model_validator(mode="after")
    def _one_way(self) -> Validity:
        _at_most_one((value for _, value in self), "months and calendar_years")
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


# --- spending and operating -----------------------------------------------------------------


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

    version: Annotated[str, Field(min_length=1, max_length=64)]
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
    events: Named[EventType] = {}
    """What may happen besides purchases."""
    earn: Named[EarnRule] = {}
    """What events earn."""
    multipliers: Named[Multiplier] = {}
    """What makes points more, or fewer, for a time or for some."""
    combine: Literal["largest", "multiply"] = "largest"
    """Of several multipliers that hold: the largest counts, or all do."""
    tiers: Tiers | None = None
    """The ladder of levels; left out: there are none."""
    badges: Named[Mark] = {}
    """What members have achieved."""
    titles: Named[Mark] = {}
    """What members are called."""
    tags: Named[Mark] = {}
    """What the brand notes of members."""
    benefits: Named[Benefit] = {}
    """What levels give."""
    lifecycle: Lifecycle = Lifecycle()
    """Where the states new, retain, sticky and dormant begin."""
    conversions: Named[Conversion] = {}
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
