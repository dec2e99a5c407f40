"""The folder that remains: charts, tables, and each brand's history with its programme."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from cli.demo.coalition import COALITION, CURRENCY
from cli.demo.year.charts import Chart, svg
from cli.demo.year.figures import BrandYear, YearResult
from cli.demo.year.programmes import ARCHETYPES, DEVALUED, minor, text
from cli.demo.year.reading import CLASSES
from node.programme import histories
from node.programme.roll_forward import COLUMNS

GROUPS: Final = 20
"""Into so many groups of equal size members are drawn, from who loses most to who gains most."""


def write(year: YearResult, folder: Path) -> list[str]:
    """Write everything; returns the names of the files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, header, rows in _tables(year):
        with (folder / name).open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(header)
            writer.writerows(rows)
    for name, chart in charts(year):
        (folder / name).write_text(svg(chart), "utf-8")
    for one in year.brands:
        (folder / f"{one.brand}.yaml").write_text(text(one.brand), "utf-8")
        with (folder / f"{one.brand}-events.csv").open("w", encoding="utf-8") as file:
            histories.write(one.acts, one.programme, file)
    name = f"{DEVALUED}-devalued"
    (folder / f"{name}.yaml").write_text(text(name), "utf-8")
    return sorted(one.name for one in folder.iterdir())


Table = tuple[str, Sequence[str], Iterable[Sequence[object]]]


def _tables(year: YearResult) -> Iterator[Table]:
    yield (
        "roll-forward.csv",
        ("brand", "month", "unit", *COLUMNS),
        (
            (one.brand, row.month, row.unit, *(getattr(row, name) for name in COLUMNS))
            for one in year.brands
            for row in one.rows
        ),
    )
    yield (
        "totals.csv",
        ("brand", "unit", "kind", *CLASSES),
        (
            (one.brand, unit, rules.kind, *(one.total(unit, name) for name in CLASSES))
            for one in year.brands
            for unit, rules in one.programme.units.items()
        ),
    )
    yield (
        "levels.csv",
        ("brand", "month", "level", "members"),
        (
            (one.brand, month, level, found[level])
            for one in year.brands
            for month, found in one.levels.items()
            for level in _levels(one)
        ),
    )
    yield (
        "flows.csv",
        ("issuer", "acceptor", "redemptions", "points", "minor", "fee_minor"),
        (
            (*pair, flow.redemptions, flow.points, flow.minor, flow.fee_minor)
            for pair, flow in sorted(year.flows.items())
        ),
    )
    yield (
        "what-if.csv",
        ("member", "verdict", "points", "minor", "level_before", "level_after"),
        (
            (one.member, one.verdict, one.points, one.minor, one.before.level, one.after.level)
            for one in year.what_if.members
        ),
    )


def charts(year: YearResult) -> Iterator[tuple[str, Chart]]:
    """Every chart by the name of its file."""
    for one in year.brands:
        if one.programme.main_unit:
            yield f"points-{one.brand}.svg", _points(one)
        if one.levels:
            yield f"levels-{one.brand}.svg", _level_chart(one)
    yield "worth.svg", _worth(year)
    yield "flows.svg", _flows(year)
    yield "what-if.svg", _gains(year)
    yield "what-if-levels.svg", _what_if_levels(year)


def _points(one: BrandYear) -> Chart:
    unit = one.programme.main_unit
    rows = [row for row in one.rows if row.unit == unit]
    names = ("earned", "restored", "spent", "expired", "clawed_back")
    return Chart(
        title=f"{COALITION[one.brand].name}: what became of points, by month",
        unit=f"{unit} per month",
        note="as it happened; what goes hangs below zero",
        places=[row.month for row in rows],
        series={name.replace("_", " "): [getattr(row, name) for row in rows] for name in names},
    )


def _level_chart(one: BrandYear) -> Chart:
    return Chart(
        title=f"{COALITION[one.brand].name}: members by level at the end of each month",
        unit="members",
        note=f"{ARCHETYPES[one.brand]}, as it happened",
        places=list(one.levels),
        series={level: [found[level] for found in one.levels.values()] for level in _levels(one)},
    )


def _levels(one: BrandYear) -> list[str]:
    tiers = one.programme.tiers
    return [level.id for level in tiers.levels] if tiers is not None else []


def _worth(year: YearResult) -> Chart:
    found = {
        one.brand: {row.month: row.closing for row in one.rows if row.unit == main}
        for one in year.brands
        if (main := one.programme.main_unit)
    }
    places = sorted({month for rows in found.values() for month in rows})
    return Chart(
        title="What members hold, in what it buys in its brand's own catalogue",
        unit=CURRENCY,
        note="at the end of each month, as it happened",
        places=places,
        series={
            COALITION[brand].name: [minor(brand, rows.get(month, 0)) / 100 for month in places]
            for brand, rows in found.items()
        },
        shape="lines",
    )


def _flows(year: YearResult) -> Chart:
    acceptors = list(COALITION)
    issuers = [one.brand for one in year.brands if one.programme.main_unit]
    return Chart(
        title="Points spent at another brand: what their issuer pays",
        unit=f"{CURRENCY} by accepting brand",
        note="returns taken off, as clearing decided",
        places=[COALITION[name].name for name in acceptors],
        series={
            f"from {issuer}": [
                year.flows[issuer, acceptor].minor / 100 if (issuer, acceptor) in year.flows else 0
                for acceptor in acceptors
            ]
            for issuer in issuers
        },
    )


def _gains(year: YearResult) -> Chart:
    values = sorted(one.points for one in year.what_if.members)
    count = max(1, min(GROUPS, len(values)))
    groups = [
        values[len(values) * at // count : len(values) * (at + 1) // count] for at in range(count)
    ]
    means = [sum(group) / len(group) if group else 0.0 for group in groups]
    return Chart(
        title=f"{COALITION[DEVALUED].name} under another version: who gains, who loses",
        unit="points per member in the year",
        note="members in groups of equal size, from who loses most to who gains most",
        places=[str(at + 1) for at in range(count)],
        series={
            "gain": [max(0.0, mean) for mean in means],
            "loss": [min(0.0, mean) for mean in means],
        },
    )


def _what_if_levels(year: YearResult) -> Chart:
    before, after = year.what_if.levels()
    one = next(one for one in year.brands if one.brand == DEVALUED)
    return Chart(
        title=f"{COALITION[DEVALUED].name}: members by level under each version",
        unit="members at the end of the year",
        places=["as it was", "under the other version"],
        series={level: [before[level], after[level]] for level in _levels(one)},
    )
