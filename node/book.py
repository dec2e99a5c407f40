"""Every rule of a node behind one door: each kind of command, with what it reads and does.

Modules of rules offer `HANDLERS`; `node_book` merges them. A handler's `prefetch` sees all waiting
commands of its kind at once and loads what they may touch; its `execute` decides one of them.
Both get the `Rules`, which is all that is constant: who this brand is and its programme.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from comity.ledger.command import Batch, Command
from comity.ledger.rows import Rows
from node.programme import Clawback, Programme, UnitKind

Prefetch = Callable[["Rules", Rows, Sequence[Any]], None]
Execute = Callable[["Rules", Batch, Any], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Who this brand is, and by which programme it decides."""

    network: str
    participant: str
    programme: Programme

    @property
    def origin(self) -> str:
        """The name of this brand's log."""
        return f"{self.network}/{self.participant}"

    @property
    def unit(self) -> str:
        """The unit of this brand's points which partners redeem."""
        return f"{self.participant}/{self.programme.main_unit}"

    @property
    def units(self) -> tuple[str, ...]:
        """Every unit of this brand's, by its full name."""
        return tuple(f"{self.participant}/{name}" for name in self.programme.units)

    def clawback(self, unit: str) -> Clawback:
        """What a refund takes back of points in this unit that are no longer there."""
        return self.programme.units[_name(unit)].clawback

    def grace_days(self, unit: str) -> int:
        """How long points live that come back to a lot which has expired meanwhile."""
        return self.programme.units[_name(unit)].expired_lot_grace_days

    def grows(self, unit: str) -> bool:
        """Whether points of this unit join the lot of the same expiry instead of a new one."""
        return self.programme.units[_name(unit)].kind is UnitKind.GROWTH


def _name(unit: str) -> str:
    """What the programme file calls a unit."""
    return unit.partition("/")[2]


@dataclass(frozen=True, slots=True)
class Handler:
    """What one kind of command reads, and what it does."""

    prefetch: Prefetch
    execute: Execute


Handlers = Mapping[type, Handler]


class NodeBook:
    """The node's rules, as the sequencer asks for them."""

    def __init__(self, rules: Rules, *handlers: Handlers) -> None:
        """Raises ValueError if two modules claim one kind of command."""
        self.rules = rules
        self._handlers: dict[type, Handler] = {}
        for some in handlers:
            twice = self._handlers.keys() & some.keys()
            if twice:
                raise ValueError(f"handled twice: {sorted(kind.__name__ for kind in twice)}")
            self._handlers.update(some)

    def prefetch(self, rows: Rows, commands: Sequence[Command]) -> None:
        """Load what these commands may touch, kind by kind."""
        by_kind: dict[type, list[Command]] = defaultdict(list)
        for command in commands:
            by_kind[type(command)].append(command)
        for kind, some in by_kind.items():
            self._handlers[kind].prefetch(self.rules, rows, some)

    def execute(self, batch: Batch, command: Command) -> bytes:
        """Decide one command."""
        return self._handlers[type(command)].execute(self.rules, batch, command)
