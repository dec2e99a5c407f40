"""Whether the parts of a programme file fit together: what names a thing names one there is.

Each check yields mistakes with their path in the file and a sentence; none looks at the clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from node.programme.model import Programme, Tiers

Path = tuple[str | int, ...]
"""Names and positions from the top of the file: `("earn", "visit", "unit")`."""


@dataclass(frozen=True, slots=True)
class Inside:
    """One thing of a programme that does not fit the rest."""

    path: Path
    sentence: str
    line: int = 0
    """In the text that stands at `path`, from 1; 0 where the whole is to blame."""
    column: int = 0


class MistakesInside(ValueError):
    """A programme whose parts do not fit together, with every mistake."""

    def __init__(self, mistakes: tuple[Inside, ...]) -> None:
        super().__init__(
            "; ".join(f"{'.'.join(map(str, one.path))}: {one.sentence}" for one in mistakes)
        )
        self.mistakes = mistakes


def mistakes(programme: Programme) -> Iterator[Inside]:
    """Everything in `programme` that does not fit the rest."""
    yield from _main(programme)
    yield from _events(programme)
    yield from _earning(programme)
    if programme.tiers is not None:
        yield from _tiers(programme, programme.tiers)
    yield from _marks(programme)
    yield from _conversions(programme)
    yield from _payment(programme)
    for position, one in enumerate(programme.velocity):
        yield from _event(programme, one.on, ("velocity", position, "on"))


def _among(name: str, known: Collection[str], path: Path, what: str) -> Iterator[Inside]:
    if name not in known:
        listed = ", ".join(known) or "none"
        yield Inside(path, f"there is no {what} {name}; there is {listed}")


def _event(programme: Programme, name: str, path: Path) -> Iterator[Inside]:
    yield from _among(name, ("purchase", *programme.events), path, "event")


def _unit(programme: Programme, name: str, path: Path) -> Iterator[Inside]:
    yield from _among(name, programme.units, path, "unit")


def _main(programme: Programme) -> Iterator[Inside]:
    if programme.main is None:
        if len(programme.spendable) > 1:
            listed = " and ".join(programme.spendable)
            yield Inside(
                ("units",), f"{listed} can be spent; say with main: which one partners redeem"
            )
    elif programme.main not in programme.units:
        yield from _unit(programme, programme.main, ("main",))
    elif not programme.units[programme.main].spendable:
        yield Inside(("main",), "the main unit is one that can be spent, not a growth unit")


def _events(programme: Programme) -> Iterator[Inside]:
    if "purchase" in programme.events:
        yield Inside(("events", "purchase"), "purchases are known already; choose another name")


def _earning(programme: Programme) -> Iterator[Inside]:
    for name, rule in programme.earn.items():
        at: Path = ("earn", name)
        yield from _event(programme, rule.on, (*at, "on"))
        if rule.unit is not None:
            yield from _unit(programme, rule.unit, (*at, "unit"))
        elif not programme.main_unit:
            yield Inside(at, "say which unit; this programme has none that can be spent")
    for name, multiplier in programme.multipliers.items():
        for position, rule_name in enumerate(multiplier.rules):
            path: Path = ("multipliers", name, "rules", position)
            yield from _among(rule_name, programme.earn, path, "earn rule")


def _tiers(programme: Programme, tiers: Tiers) -> Iterator[Inside]:
    counted = Counter(level.id for level in tiers.levels)
    for position, level in enumerate(tiers.levels):
        at: Path = ("tiers", "levels", position)
        if counted[level.id] > 1:
            yield Inside((*at, "id"), f"{level.id} is the name of more than one level")
        asks = bool(level.reach) or level.when is not None
        if position == 0 and (asks or level.keep is not None):
            yield Inside(at, "the first level is everyone's: it has no reach, keep or when")
        if position > 0 and not asks:
            yield Inside(at, "a level above the first says how it is reached: give reach or when")
        for field, alternatives in (("reach", level.reach), ("keep", level.keep or ())):
            for number, wanted in enumerate(alternatives):
                for unit in wanted:
                    yield from _unit(programme, unit, (*at, field, number, unit))
        for number, benefit in enumerate(level.benefits):
            path: Path = (*at, "benefits", number)
            yield from _among(benefit, programme.benefits, path, "benefit")
    rerating = tiers.rerating
    for number, unit in enumerate(rerating.clear):
        yield from _growth(programme, unit, ("tiers", "rerating", "clear", number))
    for unit in rerating.deduct:
        yield from _growth(programme, unit, ("tiers", "rerating", "deduct", unit))
        if unit in rerating.clear:
            yield Inside(
                ("tiers", "rerating", "deduct", unit), f"{unit} is cleared already; deduct or clear"
            )
    if (rerating.clear or rerating.deduct) and not tiers.validity.limited:
        yield Inside(
            ("tiers", "rerating"), "levels without validity never end; give tiers.validity"
        )


def _growth(programme: Programme, name: str, path: Path) -> Iterator[Inside]:
    yield from _unit(programme, name, path)
    if name in programme.spendable:
        yield Inside(path, f"{name} are points members can spend; only growth is cleared")


def _marks(programme: Programme) -> Iterator[Inside]:
    for kind, marks in (
        ("badges", programme.badges),
        ("titles", programme.titles),
        ("tags", programme.tags),
    ):
        for name, mark in marks.items():
            at: Path = (kind, name)
            if mark.on is not None:
                yield from _event(programme, mark.on, (*at, "on"))
                if mark.when is None:
                    yield Inside((*at, "on"), "give when as well: without it the mark is by hand")


def _conversions(programme: Programme) -> Iterator[Inside]:
    for name, one in programme.conversions.items():
        at: Path = ("conversions", name)
        yield from _unit(programme, one.from_unit, (*at, "from_unit"))
        yield from _unit(programme, one.into_unit, (*at, "into_unit"))
        if one.from_unit == one.into_unit:
            yield Inside((*at, "into_unit"), "a conversion turns one unit into another one")
        if one.into_unit in programme.units and not programme.units[one.into_unit].spendable:
            yield Inside((*at, "into_unit"), "growth is earned; nothing is turned into it")


def _payment(programme: Programme) -> Iterator[Inside]:
    payment = programme.payment
    if payment is None:
        return
    name = payment.unit or programme.main_unit
    if not name:
        yield Inside(("payment",), "this programme has no unit that can be spent")
    elif name not in programme.units:
        yield from _unit(programme, name, ("payment", "unit"))
    elif not programme.units[name].spendable:
        yield Inside(("payment", "unit"), "growth cannot be spent; choose a unit of points")
    else:
        value = programme.units[name].value
        paid = payment.value
        if value is not None and value.minor * paid.points != paid.minor * value.points:
            yield Inside(
                ("payment", "value"), f"{name} is gold: it pays at the value its unit publishes"
            )
