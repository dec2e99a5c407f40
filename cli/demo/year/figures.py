"""What the year came to: month by month as it happened, and under another version.

The nodes hear of the whole year today, so what they say is how things stand now. When a level was
reached and points ran out is said by a trial of the same events on the days on which they
happened; where both can speak, they have to agree.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.demo.network import Network
from cli.demo.tally import Check, Flow, Result
from cli.demo.year.programmes import ARCHETYPES, DEVALUED, programme, worth
from cli.demo.year.reading import CLASSES, Compared, compared
from cli.demo.year.story import Year
from comity.clock import system_clock
from node.programme import Programme
from node.programme.histories import Act, Lived, live
from node.programme.model import UnitKind
from node.programme.roll_forward import Row, closing, levels_by_month, months, roll_forward
from node.programme.what_if import WhatIf, what_if


@dataclass(frozen=True, slots=True, kw_only=True)
class BrandYear:
    """A brand's year: what its node says, and what happened in which month."""

    brand: str
    programme: Programme
    acts: Sequence[Act]
    compared: Compared
    rows: Sequence[Row]
    levels: Mapping[str, Counter[str]]
    refused: Mapping[str, int]
    """Acts that the trial on the days themselves refused: points were not there yet."""
    level_as_happened: int
    """Members whose level at the end is the same at the node and in the trial on the days."""
    checks: Sequence[Check]

    @property
    def members(self) -> int:
        """How many there are."""
        return len(self.compared.read.places)

    def total(self, unit: str, account_class: str) -> int:
        """Of the node's totals."""
        return self.compared.read.totals.get((unit, account_class), 0)

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "brand": self.brand,
            "archetype": ARCHETYPES[self.brand],
            "members": self.members,
            "units": {
                unit: {"kind": str(rules.kind)} | {one: self.total(unit, one) for one in CLASSES}
                for unit, rules in self.programme.units.items()
            },
            "levels": dict(Counter(one.level for one in self.compared.read.places.values())),
            "levels_as_happened": {month: dict(found) for month, found in self.levels.items()},
            "same_level_as_happened": self.level_as_happened,
            "not_yet_there_as_happened": dict(self.refused),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class YearResult:
    """The finished story."""

    result: Result
    brands: Sequence[BrandYear]
    what_if: WhatIf
    refunds: int
    events: int

    @property
    def flows(self) -> Mapping[tuple[str, str], Flow]:
        """What was redeemed across brands."""
        return self.result.flows

    def plain(self) -> dict[str, Any]:
        """For JSON: the main story's figures, and the year's."""
        before, after = self.what_if.levels()
        changed = {
            "brand": DEVALUED,
            **self.what_if.verdicts,
            "points": self.what_if.points,
            "minor": self.what_if.minor,
            "levels_before": dict(before),
            "levels_after": dict(after),
        }
        return self.result.plain() | {
            "refunds": self.refunds,
            "events": self.events,
            "programmes": [one.plain() for one in self.brands],
            "what_if": changed,
        }


async def brand_year(network: Network, story: Year, brand: str, audit: Path) -> BrandYear:
    """Everything about one brand."""
    beside = await compared(network, story, brand, audit)
    rules, acts, now_us = story.programmes[brand], story.diary[brand], system_clock()
    lived = await asyncio.to_thread(live, rules, acts, until_us=now_us)
    first_us = min((act.at_us for act in acts), default=now_us)
    span = months(rules, first_us, now_us)
    rows = roll_forward(rules, lived.books.values(), [month for month, _ in span])
    places = beside.read.places
    return BrandYear(
        brand=brand,
        programme=rules,
        acts=tuple(acts),
        compared=beside,
        rows=rows,
        levels=levels_by_month(lived.books.values(), span) if rules.tiers is not None else {},
        refused=dict(lived.refused),
        level_as_happened=sum(
            places[member].level == book.level
            for member, book in lived.books.items()
            if member in places
        ),
        checks=(*beside.checks, *_as_happened(brand, rules, lived, beside, rows)),
    )


def _as_happened(
    brand: str, rules: Programme, lived: Lived, beside: Compared, rows: Sequence[Row]
) -> list[Check]:
    """The months lead to the end, and growth, which nobody spends, is the node's."""
    last = {row.unit: row.closing for row in rows}
    wrong = [
        f"{unit} closes at {last[unit]}, and the books hold {held}"
        for unit in last
        if last[unit] != (held := closing(lived.books.values(), unit))
    ]
    found = [
        Check(
            name=f"{brand} months",
            passed=not wrong,
            detail="; ".join(wrong) or f"{len(rows)} months of units close with what is there",
        )
    ]
    growing = [name for name, unit in rules.units.items() if unit.kind is UnitKind.GROWTH]
    if growing:
        apart = [
            f"household {member} has {book.balance(unit)} {unit}"
            for member, book in lived.books.items()
            for unit in growing
            if beside.heard.books[member].balance(unit) != book.balance(unit)
        ]
        found.append(
            Check(
                name=f"{brand} growth",
                passed=not apart,
                detail="; ".join(apart[:3]) or "as it happened and as the node heard it, the same",
            )
        )
    return found


async def devalued(year: BrandYear) -> WhatIf:
    """The brand's year under the other version."""
    return await asyncio.to_thread(
        what_if,
        year.programme,
        programme(f"{DEVALUED}-devalued"),
        year.acts,
        until_us=system_clock(),
        worth=worth(DEVALUED),
    )
