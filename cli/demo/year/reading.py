"""What the nodes and their logs say at the end of the year, and whether a trial says the same."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from cli.demo import verifier
from cli.demo.network import Network
from cli.demo.patience import patiently
from cli.demo.story import class_name
from cli.demo.tally import Check
from cli.demo.year.story import Year
from comity import keys
from comity.client.connection import Server, closing, connect
from comity.clock import system_clock
from comity.ledger.replay import Replay
from comity.v1.entry_pb2 import AccountClass
from comity.verify.server import server
from node.programme.histories import Lived, live
from node.programme.purse import Moved
from node.programme.trial import Book

CLASSES: Final = (
    "issued",
    "spent",
    "expired",
    "clawed_back",
    "pending",
    "available",
    "debt",
)

Totals = Mapping[tuple[str, str], int]
"""Points by unit (as its programme calls it) and account class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a member stands: pending, available and owed of each unit, and the level."""

    points: Mapping[str, tuple[int, int, int]]
    level: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """What one brand's node says, and what its log does."""

    places: Mapping[str, Place]
    totals: Totals
    logged: Totals


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A brand's node beside a trial of the same events, heard when the node heard them."""

    brand: str
    read: Read
    heard: Lived
    checks: Sequence[Check] = field(default_factory=tuple)


async def read(network: Network, story: Year, brand: str, audit: Path) -> Read:
    """Ask a brand for its members and totals, and its log for the same totals."""
    places: dict[str, Place] = {}
    turn = asyncio.Semaphore(16)

    async def ask(number: int) -> None:
        household = story.households[number]
        where = household.brands[brand]
        async with turn:
            answer = await patiently(household.wallet.member(where).get_balance)
            status = await patiently(household.wallet.programme(where).status)
        places[str(number)] = Place(
            points={
                one.unit.rpartition("/")[2]: (one.pending, one.available, -one.debt)
                for one in answer.balances
                if one.pending or one.available or one.debt
            },
            level=status.level.level,
        )

    members = [number for number, one in story.households.items() if one.brands[brand].enrolled]
    await asyncio.gather(*(ask(number) for number in members))
    told = await patiently(network.manager(brand).get_totals)
    totals: Counter[tuple[str, str]] = Counter()
    for one in told.totals:
        totals[one.unit.rpartition("/")[2], class_name(one.account_class)] += one.points
    return Read(places=places, totals=totals, logged=await _logged(network.server(brand), audit))


async def _logged(where: Server, audit: Path) -> Totals:
    """The totals that follow from a log alone, read by the admitted auditor."""
    key = keys.load(audit / verifier.AUDITOR_KEY)
    async with closing(connect(where, key=key)) as channel:
        replay = (await server(channel, auditor=True)).replay
    assert isinstance(replay, Replay)
    found: Counter[tuple[str, str]] = Counter()
    for (unit, account_class), points in replay.totals.items():
        found[unit.rpartition("/")[2], _class_name(account_class)] += points
    return found


def _class_name(number: int) -> str:
    return AccountClass.Name(number).removeprefix("ACCOUNT_CLASS_").lower()  # type: ignore[arg-type]


async def compared(network: Network, story: Year, brand: str, audit: Path) -> Compared:
    """The node, its log and a trial that heard the same at the same time."""
    found = await read(network, story, brand, audit)
    heard = await asyncio.to_thread(
        partial(
            live,
            story.programmes[brand],
            story.diary[brand],
            until_us=system_clock(),
            as_heard=True,
            joined=story.joined_us[brand],
        )
    )
    return Compared(brand=brand, read=found, heard=heard, checks=tuple(checks(brand, found, heard)))


def checks(brand: str, found: Read, heard: Lived) -> list[Check]:
    """What has to agree."""
    tried = trial_totals(heard.books.values())
    units = sorted({unit for unit, _ in {**tried, **found.totals}})
    rows = [(unit, name) for unit in units for name in CLASSES]
    apart = [
        f"{unit} {name}: {found.totals.get((unit, name), 0)} at the node, "
        f"{tried.get((unit, name), 0)} on trial"
        for unit, name in rows
        if found.totals.get((unit, name), 0) != tried.get((unit, name), 0)
    ]
    torn = [
        f"{unit} {name}"
        for unit, name in rows
        if found.totals.get((unit, name), 0) != found.logged.get((unit, name), 0)
    ]
    places = {member: place_of(book) for member, book in heard.books.items()}
    strangers = [
        f"household {member}: {found.places.get(member)} at the node, {places.get(member)} on trial"
        for member in sorted({*places, *found.places})
        if found.places.get(member) != places.get(member)
    ]
    open_rows = [
        unit
        for unit in units
        if sum(points for (one, _), points in found.totals.items() if one == unit)
    ]
    return [
        _check(f"{brand} roll-forward", open_rows, "every unit's classes sum to zero"),
        _check(f"{brand} log", torn, "the log alone leads to the node's totals"),
        _check(f"{brand} totals", apart, "a trial of the same events has the node's totals"),
        _check(f"{brand} members", strangers, f"{len(places)} balances and levels as on trial"),
    ]


def _check(name: str, wrong: Sequence[str], good: str) -> Check:
    return Check(name=name, passed=not wrong, detail="; ".join(wrong[:3]) if wrong else good)


def place_of(book: Book) -> Place:
    """Where a trial has a member."""
    points = {
        unit: (book.pending(unit), book.balance(unit), book.debt(unit))
        for unit in book.programme.units
    }
    return Place(
        points={unit: some for unit, some in points.items() if any(some)}, level=book.level
    )


def trial_totals(books: Iterable[Book]) -> Totals:
    """The classes of a node's totals, from books."""
    found: Counter[tuple[str, str]] = Counter()
    for book in books:
        for one in book.history:
            if isinstance(one.what, Moved):
                moved = one.what
                found[moved.unit, _MOVES.get(moved.cause, moved.cause)] -= moved.points
        for unit in book.programme.units:
            found[unit, "pending"] += book.pending(unit)
            found[unit, "available"] += book.balance(unit)
            found[unit, "debt"] -= book.debt(unit)
    return found


_MOVES: Final[Mapping[str, str]] = {
    "earned": "issued",
    "debt_paid": "issued",
    "restored": "spent",
    "cleared": "expired",
    "refunded": "clawed_back",
    "penalty": "clawed_back",
    "matured": "matured",
}
