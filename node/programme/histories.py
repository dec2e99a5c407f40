"""What members did, in order, and the same history lived again under any version of a programme.

An act happened at one time and may have been heard of at a later one: a node that imports a year
hears of all of it today. A history is lived again either way, each member in a book of their own.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal, TextIO, get_args
from zoneinfo import ZoneInfo

from comity.clock import SECOND
from comity.errors import Malformed, Refused
from node.programme.calendar import local_day, start_of_day
from node.programme.facts import Event
from node.programme.model import PURCHASE, Programme
from node.programme.trial import Book

Kind = Literal["event", "refund", "spend", "restore"]

COLUMNS: Final = ("member", "at", "what", "id", "amount_minor", "points")
"""Of a history as CSV; whatever other columns there are hold attributes of events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One thing a member did, or that was done for them.

    `event` is what an event was; `amount_minor` is what a refund leaves of the purchase `id`;
    `points` are what was spent under `id`, or all that has come back of it.
    """

    member: str
    at_us: int
    kind: Kind
    id: str
    event: Event | None = None
    amount_minor: int = 0
    points: int = 0
    heard_at_us: int = 0


@dataclass(slots=True)
class Lived:
    """Everyone's book at the end, and what a programme refused, by error code."""

    books: dict[str, Book] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)


def live(
    programme: Programme,
    acts: Iterable[Act],
    *,
    until_us: int,
    as_heard: bool = False,
    joined: Mapping[str, int] | None = None,
) -> Lived:
    """Every member's acts under a programme, and everything that is due by `until_us`.

    A member joins when `joined` says, else on the day of the first act. `as_heard` lets the time
    be that of hearing, in the order given: what was earned long ago arrives as old as it is.
    """
    lived, found = Lived(), by_member(acts)
    starts = joined or {}
    for member in dict.fromkeys((*starts, *found)):
        own = found.get(member, [])
        if not as_heard:
            own = sorted(own, key=lambda act: act.at_us)
        start_us = starts.get(member)
        if start_us is None:
            first_us = own[0].heard_at_us if as_heard else own[0].at_us
            start_us = first_us if as_heard else _day(programme, first_us)
        book = Book(programme, enrolled_at_us=start_us)
        without: set[str] = set()
        for act in own:
            if act.id in without:
                # What never was cannot come back.
                continue
            try:
                _do(book, act, act.heard_at_us if as_heard else act.at_us)
            except Refused as refusal:
                lived.refused[refusal.code] += 1
                without.add(act.id)
        book.advance(until_us)
        lived.books[member] = book
    return lived


def by_member(acts: Iterable[Act]) -> dict[str, list[Act]]:
    """Each member's acts, in their order."""
    found: dict[str, list[Act]] = {}
    for act in acts:
        found.setdefault(act.member, []).append(act)
    return found


def _day(programme: Programme, at_us: int) -> int:
    return start_of_day(programme, local_day(programme, at_us))


def _do(book: Book, act: Act, now_us: int) -> None:
    book.advance(now_us)
    if act.kind == "event":
        assert act.event is not None
        book.record(act.event, now_us=now_us)
    elif act.kind == "refund":
        book.refund(act.id, kept_minor=act.amount_minor)
    elif act.kind == "spend":
        book.spend(act.id, book.programme.main_unit, act.points)
    else:
        book.restore(act.id, act.points)


# --- as CSV ---------------------------------------------------------------------------------


def write(acts: Sequence[Act], programme: Programme, file: TextIO) -> None:
    """A history as CSV; times are local times of the programme. Attributes are columns."""
    names = sorted({name for act in acts if act.event for name in act.event.attributes})
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*COLUMNS, *names])
    zone = ZoneInfo(programme.zone)
    for act in acts:
        event = act.event
        amount = act.amount_minor if event is None else event.amount_minor
        attributes = event.attributes if event is not None else {}
        writer.writerow(
            [
                act.member,
                datetime.fromtimestamp(act.at_us // SECOND, zone).replace(tzinfo=None).isoformat(),
                act.kind if event is None else event.type,
                act.id,
                amount,
                act.points,
                *(attributes.get(name, "") for name in names),
            ]
        )


def read(programme: Programme, lines: Iterable[str]) -> tuple[Act, ...]:
    """A history from CSV. Raises Malformed, naming the first line that cannot be read.

    `what` is `purchase`, an event of the programme, `refund` (of the purchase `id`, which keeps
    `amount_minor`), `spend` (`points` under `id`) or `restore` (of `id`, `points` in all).
    """
    rows = csv.DictReader(lines, strict=True)
    zone = ZoneInfo(programme.zone)
    missing = [name for name in COLUMNS[:4] if name not in (rows.fieldnames or ())]
    if missing:
        raise Malformed(f"The history's first line names no column {', '.join(missing)}.")
    try:
        found = [_act(programme, row, zone) for row in rows]
    except (ValueError, csv.Error) as error:
        raise Malformed(f"Line {rows.line_num} of the history: {error}.") from error
    return tuple(sorted(found, key=lambda act: act.at_us))


def _act(programme: Programme, row: Mapping[str, str | None], zone: ZoneInfo) -> Act:
    member, at, what, name = (row.get(column) or "" for column in COLUMNS[:4])
    if not member or not name:
        raise ValueError("a member and an id are needed")
    at_us = int(datetime.fromisoformat(at).replace(tzinfo=zone).timestamp()) * SECOND
    amount, points = int(row.get("amount_minor") or 0), int(row.get("points") or 0)
    if amount < 0 or points < 0:
        raise ValueError("amounts and points are not negative")
    for kind in get_args(Kind):
        if what == kind != "event":
            return Act(
                member=member, at_us=at_us, kind=kind, id=name, amount_minor=amount, points=points
            )
    if what != PURCHASE and what not in programme.events:
        known = ", ".join((PURCHASE, *programme.events, *get_args(Kind)[1:]))
        raise ValueError(f"{what or 'nothing'} is no event of the programme; there is {known}")
    if what == PURCHASE and amount < 1:
        raise ValueError("a purchase has an amount above zero")
    types = programme.events[what].attributes if what != PURCHASE else {}
    event = Event(
        id=name,
        type=what,
        at_us=at_us,
        amount_minor=amount if what == PURCHASE else 0,
        attributes={one: _value(one, kind, row.get(one) or "") for one, kind in types.items()},
    )
    return Act(member=member, at_us=at_us, kind="event", id=name, event=event)


def _value(name: str, kind: str, text: str) -> str | int | bool:
    if kind == "number":
        return int(text)
    if kind == "truth":
        if text.lower() not in ("true", "false"):
            raise ValueError(f"{name} is true or false")
        return text.lower() == "true"
    return text
