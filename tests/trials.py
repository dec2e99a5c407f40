"""Programmes on trial in tests: read from text, asked at local times, fed with events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import count
from zoneinfo import ZoneInfo

from comity.clock import SECOND
from node.programme import Programme, read_programme
from node.programme.facts import Event, Line
from node.programme.trial import Book

_ids = count()

HEAD = """\
version: "1"
name: Trial
zone: {zone}
currency: CNY
"""


def programme(text: str, *, zone: str = "UTC") -> Programme:
    """The programme whose file has this text below its first four lines."""
    return read_programme((HEAD.format(zone=zone) + text).encode()).programme


def at(text: str, zone: str = "UTC") -> int:
    """Microseconds of a local time such as `2026-11-22 10:00`; the first of two the same."""
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()) * SECOND


def purchase(
    amount_minor: int,
    at_us: int,
    *,
    lines: Sequence[int] = (),
    store: str = "",
    id: str = "",  # noqa: A002
) -> Event:
    """A purchase, with lines of these amounts."""
    return Event(
        id=id or f"purchase-{next(_ids)}",
        type="purchase",
        at_us=at_us,
        amount_minor=amount_minor,
        lines=tuple(Line(amount_minor=one) for one in lines),
        store=store,
    )


def happening(
    type_: str,
    at_us: int,
    attributes: Mapping[str, str | int | bool] | None = None,
    *,
    name: str = "",
) -> Event:
    """An event that is no purchase."""
    return Event(
        id=name or f"{type_}-{next(_ids)}", type=type_, at_us=at_us, attributes=attributes or {}
    )


def enrolled(rules: Programme, on: str = "2026-01-01 09:00") -> Book:
    """A new member's book, enrolled at a local time of the programme."""
    return Book(rules, enrolled_at_us=at(on, rules.zone))
