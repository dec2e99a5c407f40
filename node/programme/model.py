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
    """How long points live, counted in whole local days from the day they were earned.

    At most one. `days` and `months` end with the last day whole; `calendar_years: 0` ends with the
    year of earning, `1` with the year after; `anniversary_years: 1` ends with the day before the
    next anniversary of enrolment; `idle_days` ends so many days after the member last earned this
    unit, whenever that was. None: never.
    """

    days: Annotated[int, Field(ge=1, le=36_500)] | None = None
    months: Annotated[int, Field(ge=1, le=1_200)] | None = None
    calendar_years: Annotated[int, Field(ge=0, le=100)] | None = None
    anniversary_years: Annotated[int, Field(ge=1, le=100)] | None = None
    idle_days: Annotated[int, Field(ge=1, le=36_500)] | None = None

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
    points: Positive


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
    title: Title | None = None
    value: Value | None = None
    expiry: Expiry = Expiry()
    clawback: Annotated[Clawback, Field(strict=False)] = Clawback.WITHIN_BALANCE
    expired_lot_grace_days: Days = 30
    notice_days: Many[Days] = (30, 7, 1)

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
    points: Positive | None = None
    per: Annotated[Period, Field(strict=False)]

    @model_validator(mode="after")
    def _something(self) -> Limit:
        if self.times is None and self.points is None:
            raise ValueError("a limit gives times, points or both")
        return self


class Rate(Strict):
    """So many points for each so many minor units."""

    points: Positive
    per_minor: Positive


class EarnRule(Strict):
    """What one kind of event earns, in one unit. Exactly one of rate, points and formula."""

    on: Name
    """`purchase`, or an event of `events`."""
    unit: Name | None = None
    """Of `units`; left out, the main unit."""
    when: Condition | None = None
    rate: Rate | None = None
    """Of purchases only."""
    points: Points | None = None
    """Fixed; below zero it is a penalty."""
    formula: Formula | None = None
    rounding: Literal["order", "line"] = "order"
    limits: Many[Limit] = ()
    source: Literal["business", "activity", "bonus"] = "business"
    funded_by: Literal["merchant", "platform", "partner"] = "merchant"
    pending: bool | None = None
    """Left out: pending for purchases if there is a return window."""
    penalty: Literal["floor", "debt"] = "floor"

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
    numerator: Annotated[int, Field(ge=1, le=1_000)]
    denominator: Annotated[int, Field(ge=1, le=1_000)] = 1
    rules: Many[Name] = ()
    """Left out: every rule with a rate."""


class EventType(Strict):
    """An event a till or an app may report, with its attributes by name and type."""

    title: Title | None = None
    """Shown to members, as a task, if there is one."""
    attributes: Named[Literal["text", "number", "truth"]] = {}
    backdate_days: Days | None = None
    """Left out: the programme's."""


# --- tiers ----------------------------------------------------------------------------------


Reach: TypeAlias = Many[Annotated[dict[Name, Positive], Field(min_length=1, max_length=16)]]
"""Alternatives; each asks for at least so much of every growth unit (or other unit) it names."""


class Level(Strict):
    """One level. The first is everyone's and has no `reach`."""

    id: Name
    title: Title | None = None
    reach: Reach = ()
    keep: Reach | None = None
    """Left out: `reach`. Less than `reach` is hysteresis."""
    when: Condition | None = None
    """Asked besides `reach`, such as `member.days >= 365`."""
    benefits: Many[Name] = ()


class Rerating(Strict):
    """What happens to growth when a level's validity ends, before the member is rated anew."""

    clear: Many[Name] = ()
    deduct: Named[Positive] = {}


class Validity(Strict):
    """How long a level lasts once reached. At most one; none: as long as it is kept."""

    months: Annotated[int, Field(ge=1, le=1_200)] | None = None
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
    validity: Validity = Validity()
    rerating: Rerating = Rerating()
    downgrade: Literal["at_once", "at_end", "never"] = "at_end"
    steps_down: Annotated[int, Field(ge=1, le=200)] | None = None
    """Soft landing: at most so many levels at a time."""
    minimum_stay_days: Days = 0
    announce: Literal["jump", "each"] = "jump"


# --- badges, titles, tags, benefits ---------------------------------------------------------


class Mark(Strict):
    """A badge, title or tag. Without `when` it is given by hand only."""

    title: Title | None = None
    when: Condition | None = None
    on: Name | None = None
    """Looked at after events of this type only; left out: after every change."""
    keeps: bool | None = None
    """Stays when the condition no longer holds. Left out: badges and titles do, tags do not."""


class Benefit(Strict):
    """What a level gives. Priority orders service queues: larger is served first."""

    title: Title
    kind: Literal["main", "auxiliary", "spiritual"] = "main"
    cost_minor: Annotated[int, Field(ge=0, le=MAX_POINTS)] = 0
    priority: Annotated[int, Field(ge=0, le=100)] = 0


class Lifecycle(Strict):
    """Where the four states of a member begin (new, retain, sticky, dormant)."""

    new_days: Days = 30
    sticky_purchases: Positive = 3
    dormant_days: Annotated[int, Field(ge=1, le=36_500)] = 180


# --- spending and operating -----------------------------------------------------------------


class Conversion(Strict):
    """Members turn one unit into another: `points` of `from_unit` become `into_points`."""

    from_unit: Name
    into_unit: Name
    points: Positive
    into_points: Positive
    minimum: Positive = 1
    multiple: Positive = 1
    keeps_level: bool = True


class Payment(Strict):
    """Points pay a part of an order of this brand's."""

    unit: Name | None = None
    """Left out: the main unit."""
    value: Value
    multiple: Positive = 1
    max_percent: Annotated[int, Field(ge=1, le=100)] = 100
    max_percent_virtual: Annotated[int, Field(ge=1, le=100)] = 100


class Enrolment(Strict):
    """Who may join."""

    mode: Literal["open", "invited", "approved", "paid"] = "open"
    minimum_age: Annotated[int, Field(ge=0, le=120)] = 0
    regions: Many[Annotated[str, Field(pattern=r"^[A-Z]{2}$")]] = ()


class Velocity(Strict):
    """Events of a member above this need a person: at most so many of one type per period."""

    on: Name
    times: Positive
    per: Annotated[Period, Field(strict=False)]


class Aim(Strict):
    """The three questions before design, answered: what for, with what, for which need."""

    goal: Literal["members", "loyalty", "participation", "spend"]
    resources: Title
    need: Title
    target_percent: Annotated[int, Field(ge=0, le=1_000)] | None = None


class Programme(Strict):
    """One version of a programme, as its file states it.

    Whatever names a unit, event, rule, level or benefit names one there is; `MistakesInside`
    (a ValueError) tells every one that does not.
    """

    version: Annotated[str, Field(min_length=1, max_length=64)]
    name: Title
    zone: str
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    aim: Aim | None = None
    units: Annotated[dict[Name, Unit], Field(min_length=1, max_length=16)]
    main: Name | None = None
    """The unit partners redeem; left out: the only one that can be spent."""
    events: Named[EventType] = {}
    earn: Named[EarnRule] = {}
    multipliers: Named[Multiplier] = {}
    combine: Literal["largest", "multiply"] = "largest"
    """Of several multipliers that hold: the largest counts, or all do."""
    tiers: Tiers | None = None
    badges: Named[Mark] = {}
    titles: Named[Mark] = {}
    tags: Named[Mark] = {}
    benefits: Named[Benefit] = {}
    lifecycle: Lifecycle = Lifecycle()
    conversions: Named[Conversion] = {}
    payment: Payment | None = None
    enrolment: Enrolment = Enrolment()
    velocity: Many[Velocity] = ()
    return_window_days: Days = 0
    backdate_days: Days = 0
    redemptions_per_day: Positive = 100
    redeemed_points_per_day: Positive = MAX_POINTS
    burn_frozen: bool = False
    """Spending stops while earning goes on."""
    adjust_four_eyes_above: Positive | None = None
    """Adjustments of more points than this need a second manager."""
    sandbox: bool = False

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
