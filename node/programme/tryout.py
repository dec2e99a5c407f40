"""An event file: what one member does over time, and what is expected of a programme then.

It is how a programme is tried before it is published, and how the presets are tested. Times are
local times of the programme. Steps happen in order; each says what it earned and why, and what
changed by itself until then.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Annotated, Final
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, model_validator

from comity.clock import SECOND
from comity.errors import ComityError
from node.programme.facts import Earned, Event, Line, MarkChange, RankChange
from node.programme.model import PURCHASE, Many, Name, Named, Positive, Programme, Strict
from node.programme.purse import Moved
from node.programme.reader import Mistake, Mistaken, read_model
from node.programme.trial import Book, Happening
from node.programme.yamltree import Path, Tree

FILE: Final = "event file"
MOST_STEPS: Final = 20_000
VERBS: Final = ("purchase", "event", "refund", "spend", "pay", "restore", "convert")

Count = Annotated[int, Field(ge=0, le=10**12)]


def _local_time(text: str) -> str:
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("not a date with a time, such as 2026-11-22 09:30") from None
    if given.tzinfo is not None or not 1970 < given.year < 2900:
        raise ValueError("give a local time after 1970, without a zone: it is the programme's")
    return text


LocalTime = Annotated[str, AfterValidator(_local_time)]


class Expected(Strict):
    """How the member stands after a step; what is left out may be anything."""

    balance: Named[Count] = Field(default_factory=dict)
    """Available of these units."""
    pending: Named[Count] = Field(default_factory=dict)
    """Pending of these units."""
    debt: Named[Count] = Field(default_factory=dict)
    """Owed of these units."""
    level: str | None = None
    badges: Many[Name] | None = None
    titles: Many[Name] | None = None
    tags: Many[Name] | None = None
    refused: bool = False
    """Whether the step is refused."""


class LineStep(Strict):
    """A line of a purchase."""

    amount_minor: Count
    category: str = ""
    product: str = ""


class Step(Strict):
    """One thing that happens, or only a moment to look at."""

    at: LocalTime
    purchase: Positive | None = None
    """A purchase of so many minor units."""
    event: Name | None = None
    """An event of the programme's."""
    refund: str | None = None
    """The `id` of a purchase that is refunded, down to `kept`."""
    spend: Positive | None = None
    """So many points are spent here."""
    pay: Positive | None = None
    """So many points pay a part of an order of `amount`."""
    restore: str | None = None
    """The `id` of a spending of which `points` come back in all."""
    convert: Name | None = None
    """A conversion, of `points`."""
    id: str | None = None
    """For a later step to name it by."""
    store: str = ""
    lines: Many[LineStep] = ()
    attributes: dict[Name, str | int | bool] = Field(default_factory=dict)
    kept: Count = 0
    kept_lines: Many[Count] = ()
    amount: Positive | None = None
    virtual: bool = False
    unit: Name | None = None
    points: Positive | None = None
    times: Annotated[int, Field(ge=1, le=5_000)] = 1
    """So many times,"""
    every_days: Annotated[int, Field(ge=1, le=3_660)] = 1
    """each so many days after the one before."""
    expect: Expected | None = None

    @model_validator(mode="after")
    def _one_verb(self) -> Step:
        given = [verb for verb in VERBS if getattr(self, verb) is not None]
        if len(given) > 1:
            raise ValueError(f"a step is one of {', '.join(VERBS)}; this is {' and '.join(given)}")
        if (self.restore is not None or self.convert is not None) and self.points is None:
            raise ValueError("say with points: how many")
        if self.pay is not None and self.amount is None:
            raise ValueError("say with amount: of which order, in minor units")
        return self


class Script(Strict):
    """An event file."""

    enrolled: LocalTime
    region: str = ""
    birthday: Annotated[str, Field(pattern=r"^\d\d-\d\d$")] | None = None
    steps: Annotated[tuple[Step, ...], Field(strict=False, min_length=1, max_length=2_000)]

    @model_validator(mode="after")
    def _not_for_ever(self) -> Script:
        if sum(step.times for step in self.steps) > MOST_STEPS:
            raise ValueError(f"with all repetitions these are more than {MOST_STEPS:,} steps")
        return self


@dataclass(frozen=True, slots=True)
class Done:
    """One step as it went."""

    line: int
    at: str
    title: str
    notes: tuple[str, ...]
    """What it earned and why, and what changed."""
    refused: str
    wrong: tuple[str, ...]
    """Where the member stands otherwise than expected."""


@dataclass(frozen=True, slots=True)
class Tried:
    """Every step, and how the member stands at the end."""

    steps: tuple[Done, ...]
    book: Book

    @property
    def wrong(self) -> tuple[str, ...]:
        """Every expectation that was not met, with its line."""
        return tuple(f"Line {one.line}: {what}." for one in self.steps for what in one.wrong)


def read_script(data: bytes) -> tuple[Script, Tree]:
    """An event file. Raises Malformed with line and sentence for each mistake."""
    return read_model(data, Script, file=FILE)


def try_out(programme: Programme, data: bytes) -> Tried:
    """What the programme does to the member of an event file. Raises Malformed."""
    script, tree = read_script(data)
    if unknown := tuple(_unknown(programme, script, tree)):
        raise Mistaken(unknown)
    zone = ZoneInfo(programme.zone)
    book = Book(
        programme,
        enrolled_at_us=_at_us(script.enrolled, zone),
        region=script.region,
        birthday=script.birthday or "",
    )
    done: list[Done] = []
    for position, step in enumerate(script.steps):
        line = tree.place(("steps", position)).line
        done += _repeated(book, step, line, position, zone)
    return Tried(tuple(done), book)


def _unknown(programme: Programme, script: Script, tree: Tree) -> Iterator[Mistake]:
    """What the script names that the programme does not have."""
    for position, step in enumerate(script.steps):
        attributes = (
            programme.events[step.event].attributes if step.event in programme.events else {}
        )
        for field, known in (
            ("event", programme.events),
            ("unit", programme.units),
            ("convert", programme.conversions),
        ):
            name = getattr(step, field)
            if name is not None and name not in known:
                yield _mistake(tree, position, field, name, known)
        for name in step.attributes:
            if name not in attributes:
                yield _mistake(tree, position, f"attributes.{name}", name, attributes)


def _mistake(tree: Tree, position: int, field: str, name: str, known: Collection[str]) -> Mistake:
    path: Path = ("steps", position, *field.split("."))
    sentence = f"the programme has no {name} here; it has {', '.join(known) or 'none'}"
    return Mistake(tree.place(path), path, sentence, file=FILE)


def _repeated(book: Book, step: Step, line: int, position: int, zone: ZoneInfo) -> Iterator[Done]:
    first = datetime.fromisoformat(step.at)
    for turn in range(step.times):
        at = first + timedelta(days=turn * step.every_days)
        known = step.id or f"step-{position + 1}"
        name = known if step.times == 1 else f"{known}-{turn + 1}"
        before = len(book.history)
        at_us = int(at.replace(tzinfo=zone).timestamp()) * SECOND
        refused = ""
        try:
            book.advance(at_us)
            _do(book, step, name, at_us)
        except ComityError as error:
            refused = error.message
        wrong: tuple[str, ...] = ()
        if step.expect is not None and turn == step.times - 1:
            wrong = tuple(_compare(book, step.expect, refused))
        notes = tuple(_notes(book.history[before:]))
        yield Done(line, at.isoformat(sep=" "), _title(step), notes, refused, wrong)


def _do(book: Book, step: Step, name: str, at_us: int) -> None:
    if step.purchase is not None or step.event is not None:
        book.record(
            Event(
                id=name,
                type=step.event or PURCHASE,
                at_us=at_us,
                amount_minor=step.purchase or 0,
                lines=tuple(
                    Line(
                        amount_minor=line.amount_minor,
                        category=line.category,
                        product=line.product,
                    )
                    for line in step.lines
                ),
                store=step.store,
                attributes=step.attributes,
            )
        )
    elif step.refund is not None:
        book.refund(step.refund, kept_minor=step.kept, kept_lines=step.kept_lines)
    elif step.spend is not None:
        book.spend(name, step.unit or book.programme.main_unit, step.spend)
    elif step.pay is not None:
        assert step.amount is not None
        book.pay(name, points=step.pay, amount_minor=step.amount, virtual=step.virtual)
    elif step.restore is not None:
        assert step.points is not None
        book.restore(step.restore, step.points)
    elif step.convert is not None:
        assert step.points is not None
        book.convert(step.convert, step.points)


def _compare(book: Book, expected: Expected, refused: str) -> Iterator[str]:
    if expected.refused != bool(refused):
        yield f"it was refused: {refused.rstrip('.')}" if refused else "it was not refused"
    for what, wanted, found in (
        ("available", expected.balance, book.balance),
        ("pending", expected.pending, book.pending),
        ("owed", expected.debt, book.debt),
    ):
        for unit, points in wanted.items():
            if unit not in book.programme.units:
                yield f"there is no unit {unit}"
            elif (is_now := found(unit)) != points:
                yield f"{is_now} {unit} {what}, expected {points}"
    if expected.level is not None and book.level != expected.level:
        yield f"level {book.level or 'none'}, expected {expected.level}"
    facts = book.facts()
    for kind in ("badges", "titles", "tags"):
        names = getattr(expected, kind)
        if names is not None and set(names) != getattr(facts, kind):
            found_names = ", ".join(sorted(getattr(facts, kind))) or "none"
            yield f"{kind} {found_names}, expected {', '.join(sorted(names)) or 'none'}"


def _notes(history: Sequence[Happening]) -> Iterator[str]:
    """What is told of each thing; points that move for one cause are told once, together."""
    for _, some in groupby(history, key=_kind):
        first, *others = some
        if isinstance(first.what, Moved):
            points = sum(one.what.points for one in (first, *others) if isinstance(one.what, Moved))
            if first.what.cause != "earned":
                yield f"{first.what.unit} {points:+,}, {first.what.cause}"
        else:
            yield from (text for one in (first, *others) for text in _told(one))


def _kind(one: Happening) -> tuple[str, ...]:
    what = one.what
    return (what.unit, what.cause) if isinstance(what, Moved) else ("",)


def _told(one: Happening) -> Iterator[str]:
    what = one.what
    if isinstance(what, Earned):
        for verdict in what.verdicts:
            detail = f" ({verdict.detail})" if verdict.detail else ""
            yield f"{verdict.rule}: {verdict.earned:+}, {verdict.reason}{detail}"
    elif isinstance(what, RankChange):
        if what.before != what.rank.level:
            yield f"level {' → '.join((what.before or 'none', *what.steps))}, {what.cause}"
    elif isinstance(what, MarkChange):
        yield f"{what.kind} {what.name} {'given' if what.given else 'taken'}"


def _title(step: Step) -> str:
    for verb in VERBS:
        value = getattr(step, verb)
        if value is not None:
            return value if verb == "event" else f"{verb} {value}"
    return "look"


def _at_us(local: str, zone: ZoneInfo) -> int:
    return int(datetime.fromisoformat(local).replace(tzinfo=zone).timestamp()) * SECOND
