"""What another version changes, in words for members: what gets better, what worse, what else.

It compares promises, not texts: a file written in another order says the same. Whoever publishes a
version with something worse in it owes members notice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, TypeVar

from node.programme import words
from node.programme.model import EarnRule, Level, Limit, Mark, Programme, UnitKind

Kind = Literal["better", "worse", "other"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Change:
    """One change as a member feels it."""

    kind: Kind
    about: str
    """`points`, `earning`, `levels`, `benefits`, `spending`, `marks` or `rules`."""
    sentence: str


def diff(before: Programme, after: Programme) -> tuple[Change, ...]:
    """Every change that members can feel, worse ones first."""
    found = (
        *_units(before, after),
        *_earning(before, after),
        *_multipliers(before, after),
        *_levels(before, after),
        *_level_rules(before, after),
        *_spending(before, after),
        *_marks(before, after),
        *_rules(before, after),
    )
    order: Mapping[Kind, int] = {"worse": 0, "better": 1, "other": 2}
    return tuple(sorted(found, key=lambda one: order[one.kind]))


def takes_away(before: Programme, after: Programme) -> tuple[Change, ...]:
    """The changes for the worse: members are owed notice of them."""
    return tuple(one for one in diff(before, after) if one.kind == "worse")


def _way(before: int | Fraction, after: int | Fraction, *, more: Kind = "better") -> Kind:
    less: Kind = "worse" if more == "better" else "better"
    return more if after > before else less


def _both(before: Mapping[str, T], after: Mapping[str, T]) -> Iterator[tuple[str, T, T]]:
    yield from ((name, before[name], after[name]) for name in before if name in after)


def _gone(one: Mapping[str, T], other: Mapping[str, T]) -> list[str]:
    """The names in the first that the second does not have, in the first's order."""
    return [name for name in one if name not in other]


# --- units ----------------------------------------------------------------------------------


def _units(before: Programme, after: Programme) -> Iterator[Change]:
    for name in _gone(before.units, after.units):
        lost: Kind = "worse" if before.units[name].spendable else "other"
        yield Change(lost, "points", f"There will be no {words.unit_title(before, name)} any more.")
    for name in _gone(after.units, before.units):
        yield Change("other", "points", f"There will be {words.unit_title(after, name)}.")
    for name, old, new in _both(before.units, after.units):
        title = words.unit_title(after, name)
        if old.expiry != new.expiry:
            kind = _way(words.shortest_days(old.expiry), words.shortest_days(new.expiry))
            yield Change(
                kind,
                "points",
                f"New {title} live {words.lifetime(new.expiry)}, not {words.lifetime(old.expiry)}.",
            )
        if old.value != new.value and old.value is not None and new.value is not None:
            worth = (
                Fraction(old.value.minor, old.value.points),
                Fraction(new.value.minor, new.value.points),
            )
            yield Change(
                _way(*worth),
                "points",
                f"{new.value.points:,} {title} are worth "
                f"{words.money(new.value.minor, after.currency)}; {old.value.points:,} were worth "
                f"{words.money(old.value.minor, before.currency)}.",
            )
        if old.kind is not new.kind:
            less = old.kind is UnitKind.GOLD or new.kind is UnitKind.GROWTH
            yield Change(
                "worse" if less else "other",
                "points",
                f"{title.capitalize()} turn from {old.kind} into {new.kind}.",
            )


# --- earning --------------------------------------------------------------------------------


def _earning(before: Programme, after: Programme) -> Iterator[Change]:
    for name in _gone(before.earn, after.earn):
        rule = before.earn[name]
        kind: Kind = "better" if _penalty(rule) else "worse"
        if (rule.unit or before.main_unit) not in after.units:
            kind = "other"
        event = words.event_title(before, rule.on)
        yield Change(kind, "earning", f"No longer for {event}: {words.earns(rule, before)}.")
    for name in _gone(after.earn, before.earn):
        rule = after.earn[name]
        kind = "worse" if _penalty(rule) else "better"
        event = words.event_title(after, rule.on)
        yield Change(kind, "earning", f"New for {event}: {words.earns(rule, after)}.")
    for _, old, new in _both(before.earn, after.earn):
        yield from _rule(before, after, old, new)


def _rule(before: Programme, after: Programme, old: EarnRule, new: EarnRule) -> Iterator[Change]:
    told = words.earns(old, before), words.earns(new, after)
    if told[0] == told[1] and old.on == new.on:
        return
    yield Change(
        _rule_way(old, new),
        "earning",
        f"{words.event_title(after, new.on).capitalize()}: {told[1]}; before: {told[0]}.",
    )


def _rule_way(old: EarnRule, new: EarnRule) -> Kind:
    """Which way, where one thing changed that can be compared."""
    same = (old.on, old.unit, old.when, old.formula) == (new.on, new.unit, new.when, new.formula)
    if not same:
        if old.when is not None and new.when is None and _amount(old) == _amount(new):
            return "better"
        if old.when is None and new.when is not None and _amount(old) == _amount(new):
            return "worse"
        return "other"
    amounts = _amount(old), _amount(new)
    limits = _most(old.limits), _most(new.limits)
    ways = {_way(*pair) for pair in (amounts, limits) if pair[0] != pair[1]}
    return ways.pop() if len(ways) == 1 else "other"


def _amount(rule: EarnRule) -> Fraction:
    if rule.rate is not None:
        return Fraction(rule.rate.points, rule.rate.per_minor)
    return Fraction(rule.points or 0)


def _most(limits: tuple[Limit, ...]) -> Fraction:
    """How often a year, for comparing limits of one kind; without limits very often."""
    yearly = {"day": 365, "week": 52, "month": 12, "year": 1}
    return min(
        (
            Fraction((one.times or one.points or 0) * yearly.get(one.per.value, 0))
            or Fraction(one.times or one.points or 0, 100)
            for one in limits
        ),
        default=Fraction(10**15),
    )


def _penalty(rule: EarnRule) -> bool:
    return rule.points is not None and rule.points < 0


def _multipliers(before: Programme, after: Programme) -> Iterator[Change]:
    for name in _gone(before.multipliers, after.multipliers):
        yield Change("worse", "earning", f"No longer: points times more, if {name}.")
    for name in _gone(after.multipliers, before.multipliers):
        one = after.multipliers[name]
        factor = (
            f"{one.numerator}" if one.denominator == 1 else f"{one.numerator}/{one.denominator}"
        )
        kind = _way(Fraction(1), Fraction(one.numerator, one.denominator))
        yield Change(kind, "earning", f"New: points times {factor}, if {one.when}.")
    for name, old, new in _both(before.multipliers, after.multipliers):
        factors = Fraction(old.numerator, old.denominator), Fraction(new.numerator, new.denominator)
        if factors[0] != factors[1]:
            sentence = f"Points times {factors[1]} instead of {factors[0]}, if {name}."
            yield Change(_way(*factors), "earning", sentence)
        elif old.when != new.when:
            sentence = f"Points times {factors[1]} if {new.when}; before, if {old.when}."
            yield Change("other", "earning", sentence)


# --- levels ---------------------------------------------------------------------------------


def _levels(before: Programme, after: Programme) -> Iterator[Change]:
    old = {one.id: one for one in before.tiers.levels} if before.tiers is not None else {}
    new = {one.id: one for one in after.tiers.levels} if after.tiers is not None else {}
    for name in old:
        if name not in new:
            yield Change("worse", "levels", f"The level {_title(old[name])} ends.")
    for name in new:
        if name not in old:
            kind: Kind = "other" if old else "better"
            asks = f": {words.reach(new[name].reach, after)}" if new[name].reach else ""
            yield Change(kind, "levels", f"There is a new level {_title(new[name])}{asks}.")
    for _, one, other in _both(old, new):
        title = _title(other)
        if one.reach != other.reach:
            told = words.reach(other.reach, after), words.reach(one.reach, before)
            kind = _harder(one, other)
            yield Change(kind, "levels", f"{title} takes {told[0]}; before: {told[1]}.")
        if one.when != other.when:
            kind = "worse" if one.when is None else "better" if other.when is None else "other"
            asked = f"also asks that {other.when}" if other.when else f"no longer asks: {one.when}"
            yield Change(kind, "levels", f"{title} {asked}.")
        for benefit in one.benefits:
            if benefit not in other.benefits:
                what = before.benefits[benefit].title
                yield Change("worse", "benefits", f"{title} no longer gets: {what}.")
        for benefit in other.benefits:
            if benefit not in one.benefits:
                what = after.benefits[benefit].title
                yield Change("better", "benefits", f"{title} now gets: {what}.")


def _title(level: Level) -> str:
    return level.title or level.id.capitalize()


def _harder(old: Level, new: Level) -> Kind:
    if not old.reach or not new.reach:
        return "worse" if new.reach else "better"
    if len(old.reach) != len(new.reach):
        return _way(len(old.reach), len(new.reach))
    ways = set()
    for one, other in zip(old.reach, new.reach, strict=True):
        if one.keys() != other.keys():
            return "other"
        ways |= {
            _way(one[unit], other[unit], more="worse") for unit in one if one[unit] != other[unit]
        }
    return ways.pop() if len(ways) == 1 else "other"


def _level_rules(before: Programme, after: Programme) -> Iterator[Change]:
    if before.tiers is None or after.tiers is None:
        return
    old, new = before.tiers, after.tiers
    if old.validity != new.validity:
        lasts = [
            _months(months=one.validity.months, years=one.validity.calendar_years)
            for one in (old, new)
        ]
        shown = [f"{one} months" if one < 10**6 else "as long as it is kept" for one in lasts]
        sentence = f"A level lasts {shown[1]}, not {shown[0]}."
        yield Change(_way(lasts[0], lasts[1]), "levels", sentence)
    if old.downgrade != new.downgrade:
        order = {"at_once": 0, "at_end": 1, "never": 2}
        said = {"at_once": "at once", "at_end": "when its time is over", "never": "never"}
        yield Change(
            _way(order[old.downgrade], order[new.downgrade]),
            "levels",
            f"A level that is no longer kept is lost {said[new.downgrade]}, not "
            f"{said[old.downgrade]}.",
        )
    if old.steps_down != new.steps_down:
        steps = old.steps_down or 10**6, new.steps_down or 10**6
        most = f"at most {new.steps_down} level(s) at a time" if new.steps_down else "all the way"
        yield Change(_way(*steps, more="worse"), "levels", f"A fall goes {most}.")
    if old.rerating != new.rerating:
        sentence = "What is left of growth when a level's time is over changes."
        yield Change("other", "levels", sentence)


def _months(*, months: int | None, years: int | None) -> int:
    if months is not None:
        return months
    return 12 * years + 1 if years is not None else 10**6


# --- spending, marks, rules -----------------------------------------------------------------


def _spending(before: Programme, after: Programme) -> Iterator[Change]:
    old, new = before.payment, after.payment
    if old is not None and new is None:
        yield Change("worse", "spending", "Points no longer pay orders.")
    if old is None and new is not None:
        yield Change("better", "spending", "Points pay a part of an order.")
    if old is not None and new is not None:
        worth = [Fraction(one.value.minor, one.value.points) for one in (old, new)]
        if worth[0] != worth[1]:
            paid = words.money(new.value.minor, after.currency)
            sentence = f"{new.value.points:,} points pay {paid} of an order."
            yield Change(_way(worth[0], worth[1]), "spending", sentence)
        if old.max_percent != new.max_percent:
            yield Change(
                _way(old.max_percent, new.max_percent),
                "spending",
                f"Points pay at most {new.max_percent} % of an order, not {old.max_percent} %.",
            )
        if old.multiple != new.multiple:
            yield Change(
                _way(old.multiple, new.multiple, more="worse"),
                "spending",
                f"Points pay in multiples of {new.multiple:,}, not {old.multiple:,}.",
            )
    for name in _gone(before.conversions, after.conversions):
        one = before.conversions[name]
        sentence = f"{one.from_unit} no longer turn into {one.into_unit}."
        yield Change("worse", "spending", sentence.capitalize())
    for name in _gone(after.conversions, before.conversions):
        one = after.conversions[name]
        sentence = f"{one.points:,} {one.from_unit} turn into {one.into_points:,} {one.into_unit}."
        yield Change("better", "spending", sentence)
    for _, first, second in _both(before.conversions, after.conversions):
        rates = [Fraction(one.into_points, one.points) for one in (first, second)]
        if rates[0] != rates[1]:
            sentence = (
                f"{second.points:,} {second.from_unit} turn into {second.into_points:,} "
                f"{second.into_unit}; before, {first.points:,} into {first.into_points:,}."
            )
            yield Change(_way(rates[0], rates[1]), "spending", sentence)
        if first.minimum != second.minimum:
            sentence = f"{second.from_unit} turn into others from {second.minimum:,} on."
            kind = _way(first.minimum, second.minimum, more="worse")
            yield Change(kind, "spending", sentence.capitalize())


def _marks(before: Programme, after: Programme) -> Iterator[Change]:
    # Tags are the brand's own notes: members do not see them.
    for kind, old, new in (
        ("badge", before.badges, after.badges),
        ("title", before.titles, after.titles),
    ):
        yield from _named(kind, old, new)


def _named(kind: str, old: Mapping[str, Mark], new: Mapping[str, Mark]) -> Iterator[Change]:
    for name in _gone(old, new):
        yield Change("worse", "marks", f"The {kind} {old[name].title or name} ends.")
    for name in _gone(new, old):
        yield Change("better", "marks", f"There is a new {kind}: {new[name].title or name}.")


def _rules(before: Programme, after: Programme) -> Iterator[Change]:
    old, new = before.return_window_days, after.return_window_days
    if old != new:
        sentence = f"Points of a purchase can be spent after {new} days, not {old}."
        yield Change(_way(old, new, more="worse"), "rules", sentence)
    for field, what in (
        ("redemptions_per_day", "redemptions"),
        ("redeemed_points_per_day", "redeemed points"),
    ):
        old, new = getattr(before, field), getattr(after, field)
        if old != new:
            yield Change(_way(old, new), "rules", f"A day allows {new:,} {what}, not {old:,}.")
    if before.burn_frozen != after.burn_frozen:
        said = "stops; points are still earned" if after.burn_frozen else "is possible again"
        kind: Kind = "worse" if after.burn_frozen else "better"
        yield Change(kind, "spending", f"Spending points {said}.")
    if before.zone != after.zone:
        yield Change("other", "rules", f"Days begin and end in {after.zone}, not {before.zone}.")
    if before.currency != after.currency:
        yield Change("other", "rules", f"Purchases count in {after.currency}.")
