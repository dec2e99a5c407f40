"""A programme made ready for deciding: its rules and levels indexed.

Made once for each programme value and dropped with it, so that rules may be asked as functions of
the programme alone.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from node.programme.facts import Verdict
from node.programme.model import EarnRule, Level, Multiplier, Programme, Velocity


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the pure rules look up again and again."""

    rules: Mapping[str, tuple[tuple[str, EarnRule | Verdict], ...]]
    """By event type: every rule in the file's order, or its verdict if it is of other events."""
    factors: Mapping[str, tuple[tuple[str, Multiplier], ...]]
    """The multipliers of each rule."""
    velocity: Mapping[str, tuple[tuple[str, Velocity], ...]]
    """Velocity limits by event type, under the names they count by."""
    main: str
    """The main unit; "" if members spend nothing here."""
    levels: tuple[Level, ...]
    level_index: Mapping[str, int]


_plans: Final[dict[int, Plan]] = {}


def plan_of(programme: Programme) -> Plan:
    """The plan of this very programme."""
    plan = _plans.get(id(programme))
    if plan is None:
        plan = _made(programme)
        _plans[id(programme)] = plan
        weakref.finalize(programme, _plans.pop, id(programme), None)
    return plan


def _made(programme: Programme) -> Plan:
    types = {"purchase", *programme.events, *(rule.on for rule in programme.earn.values())}
    levels = programme.tiers.levels if programme.tiers is not None else ()
    return Plan(
        rules={one: _rules(programme, one) for one in types},
        factors={
            name: tuple(
                (label, factor)
                for label, factor in programme.multipliers.items()
                if (name in factor.rules if factor.rules else rule.rate is not None)
            )
            for name, rule in programme.earn.items()
        },
        velocity={
            one: tuple(
                (f"velocity:{at}", limit)
                for at, limit in enumerate(programme.velocity)
                if limit.on == one
            )
            for one in types
        },
        main=programme.main_unit,
        levels=levels,
        level_index={level.id: at for at, level in enumerate(levels)},
    )


def _rules(programme: Programme, event: str) -> tuple[tuple[str, EarnRule | Verdict], ...]:
    return tuple(
        (
            name,
            rule
            if rule.on == event
            else Verdict(rule=name, earned=0, reason="other_event", detail=f"only for {rule.on}"),
        )
        for name, rule in programme.earn.items()
    )
