"""What a decision of the programme looks at, and what it says: plain values, no rows, no clock.

Units, rules, levels and marks go by their names in the programme file (`points`, not
`grocery/points`): the shell adds the participant. Times are microseconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Cause = Literal["first", "reached", "lost", "expired", "renewed", "programme"]
"""Why a level changed: rated for the first time; growth reached it; what kept it is gone; its time
was over and another follows, or the same again; the programme no longer has the level before."""

MarkKind = Literal["badge", "title", "tag"]

CountKey = tuple[str, str]
"""A rule's name, or `velocity:<i>`, with a period such as `2026-11-22`, `2026-W47`, `ever`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a purchase."""

    amount_minor: int
    category: str = ""
    product: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What happened, once: a purchase, or an event of a type the programme registers."""

    id: str
    type: str
    at_us: int
    """When it happened, already checked against the clock and clamped."""
    amount_minor: int = 0
    lines: tuple[Line, ...] = ()
    store: str = ""
    attributes: Mapping[str, str | int | bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """Aggregates kept for each member."""

    purchases: int = 0
    spend_minor: int = 0
    first_purchase_at_us: int = 0
    last_purchase_at_us: int = 0
    last_event_at_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rank:
    """The member's level. `until_us` ends its validity; 0 for none."""

    level: str
    since_us: int
    until_us: int = 0
    pinned: bool = False
    """Growth was converted and the level stays nevertheless, until its validity ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """What a limit has counted in one period."""

    times: int = 0
    points: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of a member at one moment."""

    enrolled_at_us: int
    region: str = ""
    birthday: str = ""
    """`MM-DD`, or empty."""
    balances: Mapping[str, int] = field(default_factory=dict)
    """Points available now by unit: matured, not expired, not held."""
    activity: Activity = Activity()
    rank: Rank | None = None
    badges: frozenset[str] = frozenset()
    titles: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    counts: Mapping[CountKey, Count] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Points to give, more than zero, and how a refund recomputes them (see `refunds.kept`)."""

    rule: str
    unit: str
    points: int
    earned_at_us: int
    available_at_us: int
    expires_at_us: int
    """0: never."""
    source: str
    funded_by: str
    numerator: int = 0
    denominator: int = 0
    by_line: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Penalty:
    """Points to take, more than zero; what is not there becomes a debt or is forgiven."""

    rule: str
    unit: str
    points: int
    debt: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One rule's line in the explanation: a code for programs, a detail for people."""

    rule: str
    earned: int
    """Points given; below zero for a penalty."""
    reason: str
    """One of `earning.REASONS`."""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Earned:
    """All that one event does by itself, before levels and marks are reviewed."""

    grants: tuple[Grant, ...] = ()
    penalties: tuple[Penalty, ...] = ()
    counts: Mapping[CountKey, Count] = field(default_factory=dict)
    """New values of the counts that changed."""
    verdicts: tuple[Verdict, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RankChange:
    """A new level, or a new validity of the same one, with what changes at the same moment."""

    steps: tuple[str, ...]
    """Levels entered, in order: each one, or just the last. Empty when the level stays."""
    before: str
    """Empty for the first rating."""
    rank: Rank
    cause: Cause
    benefits_gained: tuple[str, ...] = ()
    benefits_lost: tuple[str, ...] = ()
    clear: tuple[str, ...] = ()
    """Units whose whole balance ends with the old validity; `rank` already counts them as gone."""
    deduct: Mapping[str, int] = field(default_factory=dict)
    """Points of units that end with the old validity, at most the balance; counted likewise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkChange:
    """A badge, title or tag is given or taken."""

    kind: MarkKind
    name: str
    given: bool
