"""What often goes wrong with programmes, found in the file before members find it.

A finding is advice, never a refusal: the rules of the file are what the brand wants. Each names its
pitfall, so that one can be accepted by name.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from node.programme import presets, words
from node.programme.expressions import written
from node.programme.model import PURCHASE, Level, Programme, Tiers, UnitKind
from node.programme.reader import read_programme
from node.programme.references import Path

MAX_RULES: Final = 8
MAX_UNITS: Final = 3
MAX_LEVELS: Final = 6
MAX_BENEFITS: Final = 6
MAX_CONDITION: Final = 120
GIVEN_BACK_PER_MILLE: Final = 30
"""More of sales than this given back in points of a fixed value is told."""
ALIKE_PER_MILLE: Final = 800
SHORT_VALIDITY_MONTHS: Final = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """One pitfall: its name, where in the file, and what to think of."""

    pitfall: str
    path: Path
    sentence: str


def lint(programme: Programme) -> tuple[Finding, ...]:
    """Every pitfall that the file shows."""
    return (
        *_aim(programme),
        *_complexity(programme),
        *_dual_reward(programme),
        *_gold(programme),
        *_expiry(programme),
        *_abuse(programme),
        *_levels(programme),
        *_changes(programme),
        *_benefits(programme),
        *_sameness(programme),
    )


def _aim(programme: Programme) -> Iterator[Finding]:
    if programme.aim is None:
        yield Finding(
            "no-aim",
            (),
            "The file does not say what the programme is for, with what it rewards and which need "
            "it meets; answer the three questions in aim:, so that a year can be measured by them",
        )


def _complexity(programme: Programme) -> Iterator[Finding]:
    rules = len(programme.earn)
    if rules > MAX_RULES:
        yield Finding(
            "complexity",
            ("earn",),
            f"{rules} rules earn something; nobody remembers more than {MAX_RULES}. Keep those "
            "that serve the aim",
        )
    units = len(programme.units)
    if units > MAX_UNITS:
        yield Finding(
            "complexity",
            ("units",),
            f"{units} units are hard to tell apart; most programmes need one to spend and one to "
            "rise by",
        )
    for one in written(programme):
        if len(one.text) > MAX_CONDITION:
            yield Finding(
                "complexity",
                one.path,
                f"this {one.kind} has {len(one.text)} characters; a member cannot be told it in a "
                "sentence",
            )


def _dual_reward(programme: Programme) -> Iterator[Finding]:
    spendable: dict[str, list[str]] = defaultdict(list)
    growth: dict[str, list[str]] = defaultdict(list)
    for name, rule in programme.earn.items():
        if rule.points is None or rule.points > 0:
            unit = rule.unit or programme.main_unit
            (spendable if programme.units[unit].spendable else growth)[rule.on].append(name)
    for event in [one for one in spendable if one in growth]:
        names = words.listed((*spendable[event], *growth[event]))
        yield Finding(
            "dual-reward",
            ("earn", growth[event][0]),
            f"{words.event_title(programme, event)} earns points and growth at once ({names}): it "
            "is paid twice, and members see two numbers for one thing. One is easier to love",
        )


# --- what points cost -----------------------------------------------------------------------


def _gold(programme: Programme) -> Iterator[Finding]:
    for name, unit in programme.units.items():
        if unit.value is None:
            continue
        at: Path = ("units", name)
        for rule_name, rule in programme.earn.items():
            if rule.rate is None or (rule.unit or programme.main_unit) != name:
                continue
            per_mille = (
                1_000
                * rule.rate.points
                * unit.value.minor
                // (rule.rate.per_minor * unit.value.points)
            )
            if per_mille > GIVEN_BACK_PER_MILLE:
                yield Finding(
                    "gold-standard-cost",
                    ("earn", rule_name),
                    f"{per_mille // 10}.{per_mille % 10} % of sales is given back at a fixed "
                    "value; it grows with sales, whatever the margin",
                )
            if rule.funded_by != "merchant":
                yield Finding(
                    "gold-standard-cost",
                    ("earn", rule_name),
                    f"{name} have a fixed value and the {rule.funded_by} pays for them: the cost "
                    "grows with every sale of others. A fixed value suits points that "
                    "merchants pay",
                )
        if unit.expiry.never:
            yield Finding(
                "gold-standard-cost",
                at,
                f"{name} have a fixed value and never expire: the pool grows with time and stands "
                "in the books as owed",
            )
    for name, one in programme.conversions.items():
        soft = programme.units[one.from_unit].kind is UnitKind.SOFT
        if soft and programme.units[one.into_unit].kind in (UnitKind.GOLD, UnitKind.HARD):
            yield Finding(
                "soft-becomes-hard",
                ("conversions", name),
                f"{one.from_unit} are soft, without a value, and become {one.into_unit}, which "
                "have one: then both do",
            )


def _expiry(programme: Programme) -> Iterator[Finding]:
    for name, unit in programme.units.items():
        at: Path = ("units", name)
        if unit.spendable and unit.expiry.never and unit.value is None:
            yield Finding(
                "never-expires",
                at,
                f"{name} never expire: what is not redeemed stays owed, and nothing "
                "hurries a visit",
            )
        if unit.spendable and not unit.expiry.never and not unit.notice_days:
            yield Finding(
                "no-notice",
                (*at, "notice_days"),
                f"{name} expire and nobody is told before: expiry that comes as a surprise is "
                "what members complain of most",
            )
        if (
            programme.return_window_days == 0
            and unit.spendable
            and _earned_by_purchase(programme, name)
        ):
            yield Finding(
                "no-return-window",
                ("return_window_days",),
                f"{name} of a purchase can be spent at once: who returns the goods afterwards has "
                "had the reward",
            )


def _earned_by_purchase(programme: Programme, unit: str) -> bool:
    return any(
        rule.on == PURCHASE and rule.pending is None and (rule.unit or programme.main_unit) == unit
        for rule in programme.earn.values()
    )


def _abuse(programme: Programme) -> Iterator[Finding]:
    watched = {one.on for one in programme.velocity}
    for name, rule in programme.earn.items():
        free = rule.on != PURCHASE and (rule.points is None or rule.points > 0)
        if free and not rule.limits and rule.on not in watched:
            yield Finding(
                "no-limit",
                ("earn", name),
                f"{words.event_title(programme, rule.on)} costs nothing and earns without a limit; "
                "give limits:, or watch it with velocity:",
            )


# --- levels ---------------------------------------------------------------------------------


def _levels(programme: Programme) -> Iterator[Finding]:
    tiers = programme.tiers
    if tiers is None:
        return
    count, at = len(tiers.levels), ("tiers", "levels")
    earned = {rule.unit or programme.main_unit for rule in programme.earn.values()}
    if count > MAX_LEVELS and not _one_metric(tiers):
        yield Finding(
            "too-many-levels",
            at,
            f"{count} levels; three to five are told apart and remembered",
        )
    if 1 < count < 3:
        yield Finding(
            "too-few-levels",
            at,
            "with two levels most members never see a change; three to five keep the next in sight",
        )
    for position, level in enumerate(tiers.levels):
        for unit in sorted({unit for one in level.reach for unit in one} - earned):
            yield Finding(
                "out-of-reach",
                (*at, position, "reach"),
                f"no rule earns {unit}, so nobody reaches {level.id} by it",
            )
    for position, (lower, upper) in enumerate(pairwise(tiers.levels), start=1):
        if lower.reach and upper.reach and _as_easy(lower, upper):
            yield Finding(
                "not-ascending",
                (*at, position),
                f"{upper.id} asks for no more than {lower.id} below it, which nobody will stay in",
            )
    for unit in sorted({unit for level in tiers.levels for one in level.reach for unit in one}):
        expiry = programme.units[unit].expiry
        if expiry.never and not tiers.validity.limited and tiers.downgrade != "never":
            yield Finding(
                "levels-for-ever",
                ("units", unit),
                f"{unit} never expires and levels have no end: once up, nothing asks a member to "
                "come again",
            )
        if expiry.calendar_years is not None and not tiers.validity.limited:
            yield Finding(
                "growth-ends-at-once",
                ("units", unit, "expiry"),
                f"{unit} of every member ends on the same night: many fall on 1 January. Give "
                "levels a validity, and tell members in the autumn",
            )


def _one_metric(tiers: Tiers) -> bool:
    """A long ladder of one number, as of active days, is a game and not a confusion."""
    units = {unit for level in tiers.levels for one in level.reach for unit in one}
    return len(units) == 1 and not any(level.benefits for level in tiers.levels)


def _as_easy(lower: Level, upper: Level) -> bool:
    """Whether every way into the lower level is a way into the upper one as well."""
    if upper.when is not None:
        return False
    return all(
        any(
            all(unit in one and one[unit] >= least for unit, least in other.items())
            for other in upper.reach
        )
        for one in lower.reach
    )


def _changes(programme: Programme) -> Iterator[Finding]:
    tiers = programme.tiers
    if tiers is None or len(tiers.levels) < 2:
        return
    months, at = tiers.validity.months, ("tiers",)
    falls = tiers.downgrade == "at_once" or not tiers.validity.limited
    softened = tiers.minimum_stay_days > 0 or any(one.keep is not None for one in tiers.levels)
    expiring = any(
        not programme.units[unit].expiry.never
        for level in tiers.levels
        for one in level.reach
        for unit in one
    )
    if falls and expiring and tiers.downgrade != "never" and not softened:
        yield Finding(
            "frequent-changes",
            at,
            "levels fall as soon as growth expires, up and down with every purchase: members "
            "resent it. Give a validity, a minimum_stay_days or a keep below reach",
        )
    if months is not None and months < SHORT_VALIDITY_MONTHS:
        yield Finding(
            "frequent-changes",
            ("tiers", "validity"),
            f"a level lasts {months} months only; members notice every fall",
        )
    if (
        len(tiers.levels) > 3
        and tiers.steps_down is None
        and tiers.downgrade != "never"
        and expiring
    ):
        yield Finding(
            "hard-fall",
            at,
            "a member can fall over several levels at once; steps_down: 1 lands softly",
        )


def _benefits(programme: Programme) -> Iterator[Finding]:
    levels = programme.tiers.levels if programme.tiers is not None else ()
    used = {benefit for level in levels for benefit in level.benefits}
    for name in [one for one in programme.benefits if one not in used]:
        yield Finding("unused", ("benefits", name), f"no level gives {name}")
    for position, level in enumerate(levels):
        at: Path = ("tiers", "levels", position)
        if len(level.benefits) > MAX_BENEFITS:
            yield Finding(
                "complexity",
                at,
                f"{level.id} gives {len(level.benefits)} benefits; a few that are felt are "
                "worth more",
            )
    if used and len(levels) > 1 and not levels[-1].benefits:
        yield Finding("no-benefit", ("tiers", "levels"), "the highest level gives nothing")
    for position, (lower, upper) in enumerate(pairwise(levels), start=1):
        if lost := set(lower.benefits) - set(upper.benefits):
            yield Finding(
                "lost-on-the-way-up",
                ("tiers", "levels", position, "benefits"),
                f"who rises to {upper.id} loses {words.listed(sorted(lost))}",
            )
        if used and upper.benefits and set(lower.benefits) == set(upper.benefits):
            yield Finding(
                "no-step",
                ("tiers", "levels", position, "benefits"),
                f"{upper.id} gives the same as {lower.id}: there is no reason to rise",
            )


# --- sameness -------------------------------------------------------------------------------


def _sameness(programme: Programme) -> Iterator[Finding]:
    own = features(programme)
    for name in presets.names():
        other = features(read_programme(presets.programme(name)).programme)
        alike = 1_000 * len(own & other) // max(len(own | other), 1)
        if alike >= ALIKE_PER_MILLE:
            apart = len(own ^ other)
            but = (
                f"all but {apart} of what members notice is"
                if apart
                else "all that members notice is"
            )
            yield Finding(
                "sameness",
                (),
                f"{but} as in the preset {name}; who knows that one has no reason to come for "
                "this one",
            )


def features(programme: Programme) -> frozenset[str]:
    """What members notice of a programme, to compare it with others."""
    found = {f"{unit.kind} {words.lifetime(unit.expiry)}" for unit in programme.units.values()}
    for rule in programme.earn.values():
        kind = programme.units[rule.unit or programme.main_unit].kind
        found.add(f"{rule.on} {kind} {rule.rate or rule.points or rule.formula} {rule.limits}")
    if programme.tiers is not None:
        found |= {
            f"{position} {sorted(sorted(one.values()) for one in level.reach)}"
            for position, level in enumerate(programme.tiers.levels)
        }
    found |= {
        f"multiplier {one.numerator}/{one.denominator}" for one in programme.multipliers.values()
    }
    found |= {benefit.title for benefit in programme.benefits.values()}
    if programme.payment is not None:
        found.add(f"payment {programme.payment.value} {programme.payment.max_percent}")
    return frozenset(found)
