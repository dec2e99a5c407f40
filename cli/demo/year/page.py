"""The page at the end of the year: four programmes, and what each did to its members."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cli import output
from cli.demo import page
from cli.demo.coalition import COALITION
from cli.demo.year.figures import BrandYear, YearResult
from cli.demo.year.programmes import ARCHETYPES, DEVALUED

TIME: Final = (
    "Nodes run on real time: each heard of the whole year today. It took every event at its own "
    "date, and gave no points whose time would be over already; so nothing expires there today. "
    "What happened in which month, and what expired, is told by a trial of the very same events on "
    "the days on which they happened. A second trial hears them when the node did, and has to "
    "agree with it in every total, balance and level."
)

MONTHS: Final = 7
"""At most so many columns of months."""


def show(year: YearResult, console: Console, folder: Path, written: int) -> None:
    """Print the whole page."""
    for part in (
        _programmes(year),
        _months(year),
        _levels(year),
        _what_if(year),
        page.flows(year.result),
        page.redemptions(year.result),
        page.window(year.result),
        Text(TIME, style="dim"),
        page.checks(year.result, wide=False),
        page.verdict(year.result),
        Text(f"{written} charts and tables are in {folder}."),
    ):
        console.print(Padding(part, (1, 0, 0, 1)))


def _programmes(year: YearResult) -> Group:
    drawn = _table("Four programmes, and what became of each unit: as the nodes say today")
    for name in ("unit", "earned", "spent", "expired", "clawed", "pending", "available"):
        drawn.add_column(name, justify="left" if name == "unit" else "right", no_wrap=True)
    for one in year.brands:
        for place, (unit, rules) in enumerate(one.programme.units.items()):
            drawn.add_row(
                page.named(one.brand) if place == 0 else "",
                unit if unit == rules.kind else f"{unit}, {rules.kind}",
                output.number(-one.total(unit, "issued")),
                *(
                    output.number(one.total(unit, name))
                    for name in ("spent", "expired", "clawed_back", "pending", "available")
                ),
            )
    kinds = (f"{page.named(brand)}: {archetype}" for brand, archetype in ARCHETYPES.items())
    return Group(drawn, Text(f"{'; '.join(kinds)}.", style="dim"))


def _months(year: YearResult) -> Group:
    drawn = _table("Points roll forward, quarter by quarter, as it happened")
    names = ("quarter", "opening", "earned", "matured", "spent", "expired", "clawed")
    for name in (*names, "closing"):
        drawn.add_column(name, justify="left" if name == "quarter" else "right", no_wrap=True)
    for one in year.brands:
        unit = one.programme.main_unit
        for place, row in enumerate(_quarters(one, unit)):
            drawn.add_row(page.named(one.brand) if place == 0 else "", *row)
    not_there = sum(sum(one.refused.values()) for one in year.brands)
    if not not_there:
        return Group(drawn)
    words = (
        f"Redemptions left out here: {not_there}. On their day points were still pending which "
        "no longer were when the node heard of them."
    )
    return Group(drawn, Text(words, style="dim"))


def _quarters(one: BrandYear, unit: str) -> Iterator[tuple[str, ...]]:
    rows = [row for row in one.rows if row.unit == unit]
    quarters: dict[str, list[int]] = {}
    for at, row in enumerate(rows):
        year, month = row.month.split("-")
        quarters.setdefault(f"{year} Q{(int(month) + 2) // 3}", []).append(at)
    for name, places in quarters.items():
        some = [rows[at] for at in places]
        figures = (
            some[0].opening,
            sum(row.earned for row in some),
            sum(row.matured for row in some),
            sum(row.spent + row.restored for row in some),
            sum(row.expired for row in some),
            sum(row.clawed_back for row in some),
            some[-1].closing,
        )
        yield (name, *map(output.number, figures))


def _levels(year: YearResult) -> Group:
    parts: list[RenderableType] = []
    for one in year.brands:
        tiers = one.programme.tiers
        if tiers is None:
            continue
        drawn = _table(f"{page.named(one.brand)}: members by level at the end of the month")
        months = list(one.levels)
        shown = months[:: -(-(-len(months) // MONTHS) or 1)][::-1]
        for month in (*shown, "node today"):
            drawn.add_column(month, justify="right", no_wrap=True)
        now = Counter(place.level for place in one.compared.read.places.values())
        for level in tiers.levels:
            drawn.add_row(
                level.title or level.id,
                *(output.number(one.levels[month][level.id]) for month in shown),
                output.number(now[level.id]),
            )
        parts.append(drawn)
        apart = one.members - one.level_as_happened
        if apart:
            words = (
                f"{apart} of {one.members} have another level at the node: there the time for "
                "which a level is theirs began today."
            )
            parts.append(Text(words, style="dim"))
    return Group(*parts)


def _what_if(year: YearResult) -> Group:
    found = year.what_if
    drawn = page.listing(f"What if {COALITION[DEVALUED].name} had had its next version this year?")
    drawn.add_column(justify="right")
    drawn.add_column()
    for name, words in (
        ("gains", "members gain"),
        ("loses", "members lose"),
        ("same", "have the same"),
    ):
        drawn.add_row(output.number(found.verdicts[name]), words)
    points, minor = found.points, found.minor
    drawn.add_row(
        output.number(abs(points)),
        f"points {'fewer' if points < 0 else 'more'} that are given and do not expire",
    )
    drawn.add_row(
        page.dollars(abs(minor)),
        f"{'less' if minor < 0 else 'more'} that they buy and that levels' benefits cost the brand",
    )
    before, after = found.levels()
    levels = ", ".join(
        f"{level} {before[level]} → {after[level]}" for level in dict.fromkeys((*before, *after))
    )
    return Group(drawn, Text(f"Levels: {levels}.", style="dim"))


def _table(title: str) -> Table:
    drawn = page.table(title)
    drawn.padding = (0, 1, 0, 0)
    return drawn
