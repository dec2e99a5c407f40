"""What became of points, and of members, month by month: a roll-forward from books on trial.

Months are those of the programme's own calendar. Closing is opening plus earned and restored, less
everything that went; what is owed counts below zero.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from node.programme.calendar import add_months, local_day, start_of_day
from node.programme.facts import RankChange
from node.programme.model import Programme
from node.programme.purse import Moved
from node.programme.trial import Book

CAUSES: Final[Mapping[str, str]] = {
    "earned": "earned",
    "debt_paid": "earned",
    "matured": "matured",
    "spent": "spent",
    "restored": "restored",
    "expired": "expired",
    "cleared": "expired",
    "refunded": "clawed_back",
    "penalty": "clawed_back",
    "converted": "converted",
    "adjusted": "earned",
}
COLUMNS: Final = (
    "opening",
    "earned",
    "matured",
    "spent",
    "restored",
    "expired",
    "clawed_back",
    "converted",
    "closing",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One month of one unit. `matured` moves nothing between opening and closing."""

    month: str
    unit: str
    opening: int = 0
    earned: int = 0
    matured: int = 0
    spent: int = 0
    restored: int = 0
    expired: int = 0
    clawed_back: int = 0
    converted: int = 0
    closing: int = 0


def months(programme: Programme, first_us: int, last_us: int) -> list[tuple[str, int]]:
    """The months between, each with the first microsecond after it."""
    day = local_day(programme, first_us).replace(day=1)
    found = []
    while start_of_day(programme, day) <= last_us:
        following = add_months(day, 1)
        found.append((f"{day:%Y-%m}", start_of_day(programme, following)))
        day = following
    return found


def roll_forward(programme: Programme, books: Iterable[Book], span: Sequence[str]) -> list[Row]:
    """Every unit's months, one after another."""
    moved: Counter[tuple[str, str, str]] = Counter()
    for book in books:
        for one in book.history:
            if isinstance(one.what, Moved):
                month = _month(local_day(programme, one.at_us))
                moved[one.what.unit, month, CAUSES[one.what.cause]] += one.what.points
    rows = []
    for unit in programme.units:
        opening = 0
        for month in span:
            parts = {name: moved[unit, month, name] for name in COLUMNS[1:-1]}
            closing = opening + sum(parts.values()) - parts["matured"]
            rows.append(Row(month=month, unit=unit, opening=opening, closing=closing, **parts))
            opening = closing
    return rows


def closing(books: Iterable[Book], unit: str) -> int:
    """What the books hold of a unit: pending and available, less what is owed."""
    return sum(
        sum(lot.pending + lot.available for lot in book.purse.of(unit)) - book.debt(unit)
        for book in books
    )


def levels_by_month(
    books: Iterable[Book], span: Sequence[tuple[str, int]]
) -> dict[str, Counter[str]]:
    """How many members each level has at the end of each month."""
    found: dict[str, Counter[str]] = {month: Counter() for month, _ in span}
    for book in books:
        changes = [(one.at_us, one.what) for one in book.history]
        for month, end_us in span:
            level = ""
            for at_us, what in changes:
                if at_us >= end_us:
                    break
                if isinstance(what, RankChange):
                    level = what.rank.level
            if level:
                found[month][level] += 1
    return found


def _month(day: date) -> str:
    return f"{day:%Y-%m}"
