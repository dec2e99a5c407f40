"""Every rule of a node behind one door: each kind of command, with what it reads and does.

Modules of rules offer `HANDLERS`; `node_book` merges them. A handler's `prefetch` sees all waiting
commands of its kind at once and loads what they may touch; its `execute` decides one of them.
Both get the `Rules`: who this brand is, and the programme in force at the batch's time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from comity.ledger.command import Batch, Command
from comity.ledger.rows import Mark, Rows
from node.programme import Clawback, Programme, UnitKind
from node.versions import Versions

Prefetch = Callable[["Rules", Rows, Sequence[Any]], None]
Execute = Callable[["Rules", Batch, Any], bytes]
Review = Callable[["Rules", Batch, Mark], None]
"""Looks again at the members whose points changed since a mark of the batch's rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Who this brand is, and by which programme it decides.

    `programme` is the version in force now, `versions` are all of them: an event is judged by the
    one that was in force when it happened.
    """

    network: str
    participant: str
    programme: Programme
    versions: Versions | None = None
    unit: str = field(init=False)
    """The unit of this brand's points which partners redeem, by its full name."""
    units: tuple[str, ...] = field(init=False)
    """Every unit of this brand's, by its full name."""
    reviewed: bool = field(init=False)
    """Whether the programme has levels, or marks that a rule gives."""
    _growing: frozenset[str] = field(init=False)
    _idling: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        programme = self.programme
        full = {self.full(name): unit for name, unit in programme.units.items()}
        marks = (*programme.badges.values(), *programme.titles.values(), *programme.tags.values())
        reviewed = programme.tiers is not None or any(mark.when is not None for mark in marks)
        growing = frozenset(name for name, one in full.items() if one.kind is UnitKind.GROWTH)
        idling = frozenset(name for name, one in full.items() if one.expiry.idle_days is not None)
        for name, value in (
            ("unit", self.full(programme.main_unit)),
            ("units", tuple(full)),
            ("reviewed", reviewed),
            ("_growing", growing),
            ("_idling", idling),
        ):
            object.__setattr__(self, name, value)

    @property
    def origin(self) -> str:
        """The name of this brand's log."""
        return f"{self.network}/{self.participant}"

    def full(self, unit: str) -> str:
        """The full name of what the programme file calls a unit."""
        return f"{self.participant}/{unit}"

    def clawback(self, unit: str) -> Clawback:
        """What a refund takes back of points in this unit that are no longer there."""
        return self.programme.units[unit_name(unit)].clawback

    def grace_days(self, unit: str) -> int:
        """How long points live that come back to a lot which has expired meanwhile."""
        return self.programme.units[unit_name(unit)].expired_lot_grace_days

    def grows(self, unit: str) -> bool:
        """Whether points of this unit join the lot of the same expiry instead of a new one."""
        return unit in self._growing

    def idles(self, unit: str) -> bool:
        """Whether earning in this unit lets all its points live longer."""
        return unit in self._idling

    def at(self, at_us: int) -> Programme:
        """The version of the programme that was in force at a time."""
        return self.programme if self.versions is None else self.versions.at(at_us)


def unit_name(unit: str) -> str:
    """What the programme file calls a unit."""
    return unit.partition("/")[2]


@dataclass(frozen=True, slots=True)
class Handler:
    """What one kind of command reads, and what it does.

    `reviews` says that it looks at its members' levels and marks itself, `publishes` that it may
    add a version of the programme.
    """

    prefetch: Prefetch
    execute: Execute
    reviews: bool = False
    publishes: bool = False


Handlers = Mapping[type, Handler]


class NodeBook:
    """The node's rules, as the sequencer asks for them."""

    def __init__(self, rules: Rules, *handlers: Handlers, review: Review | None = None) -> None:
        """Raises ValueError if two modules claim one kind of command."""
        self.rules = rules
        self._review = review
        # Nobody but this writer adds versions, so they are read at first and after it did.
        self._published = True
        self._handlers: dict[type, Handler] = {}
        for some in handlers:
            twice = self._handlers.keys() & some.keys()
            if twice:
                raise ValueError(f"handled twice: {sorted(kind.__name__ for kind in twice)}")
            self._handlers.update(some)

    def prefetch(self, rows: Rows, commands: Sequence[Command]) -> None:
        """Load what these commands may touch, kind by kind."""
        if self.rules.versions is not None:
            if self._published:
                self.rules.versions.refresh(rows)
            programme = self.rules.versions.at(rows.now_us)
            if programme is not self.rules.programme:
                self.rules = replace(self.rules, programme=programme)
        by_kind: dict[type, list[Command]] = defaultdict(list)
        for command in commands:
            by_kind[type(command)].append(command)
        self._published = any(self._handlers[kind].publishes for kind in by_kind)
        for kind, some in by_kind.items():
            self._handlers[kind].prefetch(self.rules, rows, some)

    def execute(self, batch: Batch, command: Command) -> bytes:
        """Decide one command, then look at the levels and marks of those whose points it moved."""
        handler, mark = self._handlers[type(command)], batch.rows.mark()
        answer = handler.execute(self.rules, batch, command)
        if self._review is not None and self.rules.reviewed and not handler.reviews:
            self._review(self.rules, batch, mark)
        return answer
