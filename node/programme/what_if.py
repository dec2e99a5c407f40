"""What if: the same history under two versions of a programme. Who gains, who loses, what it costs.

Members are taken to do what they did: spend as before, where the other version leaves them enough.
What was earned by the end is compared, spent or not, because that is what a version gives away.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from comity.points import Rounding, divide
from node.programme.facts import Earned
from node.programme.histories import Act, Lived, live
from node.programme.model import Programme, UnitKind, Value
from node.programme.trial import Book

_GONE: Final = ("expired", "cleared", "penalty")


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a version made of a member by the end."""

    earned: Mapping[str, int]
    """Points of each unit that can be spent: all that was given, less what refunds took back."""
    lost: Mapping[str, int]
    """Points of each unit that ended unspent."""
    balances: Mapping[str, int]
    level: str
    rank: int
    """The place of the level from below, 0 without one."""
    benefits_minor: int
    """What the level's benefits cost the brand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One member under both versions. `minor` is what the second is worth more, below zero less."""

    member: str
    before: Standing
    after: Standing
    minor: int
    points: int
    """The same in points of the main unit that can still be spent or were, whatever they are
    worth."""

    @property
    def verdict(self) -> str:
        """`gains`, `loses` or `same`: by points and then by level."""
        difference = self.points or self.after.rank - self.before.rank
        return "gains" if difference > 0 else "loses" if difference < 0 else "same"


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIf:
    """Everybody compared."""

    members: Sequence[Compared]
    currency: str
    refused: Mapping[str, int]
    """Acts that the second version refused and the first did not, by error code."""

    @property
    def verdicts(self) -> Mapping[str, int]:
        """How many gain, lose and stay."""
        found = Counter(one.verdict for one in self.members)
        return {name: found[name] for name in ("gains", "loses", "same")}

    @property
    def minor(self) -> int:
        """What the second version costs the brand more, below zero less: points and benefits."""
        return sum(one.minor for one in self.members)

    @property
    def points(self) -> int:
        """The same in points of the main unit."""
        return sum(one.points for one in self.members)

    def levels(self) -> tuple[Counter[str], Counter[str]]:
        """Members by level under each version."""
        return (
            Counter(one.before.level for one in self.members if one.before.level),
            Counter(one.after.level for one in self.members if one.after.level),
        )

    def total(self, unit: str) -> tuple[int, int]:
        """Points of a unit earned by all under each version."""
        return (
            sum(one.before.earned.get(unit, 0) for one in self.members),
            sum(one.after.earned.get(unit, 0) for one in self.members),
        )


def what_if(
    before: Programme,
    after: Programme,
    acts: Sequence[Act],
    *,
    until_us: int,
    worth: Value | None = None,
) -> WhatIf:
    """A history under two versions.

    `worth` is what points of the main unit are worth where the programmes publish no value, which
    only gold units do; without either only benefits are counted in money.
    """
    first, second = (live(one, acts, until_us=until_us) for one in (before, after))
    members = []
    for name in first.books:
        one, other = (standing(lived.books[name]) for lived in (first, second))
        members.append(
            Compared(
                member=name,
                before=one,
                after=other,
                minor=_minor(after, other, worth) - _minor(before, one, worth),
                points=_kept(after, other) - _kept(before, one),
            )
        )
    return WhatIf(
        members=tuple(members), currency=after.currency, refused=dict(_more(second, first))
    )


def standing(book: Book) -> Standing:
    """What a programme made of one member."""
    programme = book.programme
    units = [name for name, unit in programme.units.items() if unit.kind is not UnitKind.GROWTH]
    earned: Counter[str] = Counter()
    for (unit, _), points in book.by_source.items():
        earned[unit] += points
    lost: Counter[str] = Counter()
    for one in book.history:
        if not isinstance(one.what, Earned) and getattr(one.what, "cause", "") in _GONE:
            lost[getattr(one.what, "unit", "")] -= getattr(one.what, "points", 0)
    levels = programme.tiers.levels if programme.tiers is not None else ()
    place = next((at for at, one in enumerate(levels) if one.id == book.level), -1)
    benefits = levels[place].benefits if place >= 0 else ()
    return Standing(
        earned={unit: earned[unit] for unit in units},
        lost={unit: lost[unit] for unit in units},
        balances={unit: book.balance(unit) for unit in programme.units},
        level=book.level,
        rank=place + 1,
        benefits_minor=sum(programme.benefits[name].cost_minor for name in benefits),
    )


def _kept(programme: Programme, found: Standing) -> int:
    """Points of the main unit that were given and did not end unspent."""
    main = programme.main_unit
    return found.earned.get(main, 0) - found.lost.get(main, 0)


def _minor(programme: Programme, found: Standing, worth: Value | None) -> int:
    """What the member has from it, in minor units."""
    main = programme.main_unit
    value = (programme.units[main].value if main else None) or worth
    points = _kept(programme, found)
    if value is None:
        return found.benefits_minor
    return found.benefits_minor + divide(points * value.minor, value.points, Rounding.HALF_UP)


def _more(second: Lived, first: Lived) -> Counter[str]:
    return second.refused - first.refused
