"""Lots: points earned together, with one expiry. Plain values in, plain values out.

One function both checks and takes (`take`), so nothing can be promised that is not there. A held
lot does not expire; what comes back to an expired lot follows the programme's grace.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from comity.clock import DAY
from comity.errors import InsufficientPoints


@dataclass(frozen=True, slots=True, kw_only=True)
class Lot:
    """One lot of an account. `expires_at_us` is 0 for points that never expire.

    `gone` are the points that ended in it unspent and that no refund has counted yet.
    """

    lot: str
    account: str
    unit: str
    earned: int
    pending: int
    available: int
    held: int
    earned_at_us: int
    available_at_us: int
    expires_at_us: int
    gone: int = 0

    @staticmethod
    def of(row: Mapping[str, Any]) -> Lot:
        """The lot in a row of `node.tables.lots`."""
        return Lot(**{name: row[name] for name in _FIELDS})

    def row(self) -> dict[str, Any]:
        """Its row, with the columns that follow from the others."""
        return {name: getattr(self, name) for name in _FIELDS} | {
            "due_at_us": self.due_at_us,
            "open": int(self.open),
        }

    def changed(self, *, pending: int = 0, available: int = 0, held: int = 0) -> Lot:
        """The lot after these changes; ValueError if a part of it would be negative."""
        lot = replace(
            self,
            pending=self.pending + pending,
            available=self.available + available,
            held=self.held + held,
        )
        if min(lot.pending, lot.available, lot.held) < 0:
            raise ValueError(f"lot {self.lot} does not hold what is taken from it")
        return lot

    @property
    def open(self) -> bool:
        """Whether any point is in it."""
        return self.pending + self.available + self.held > 0

    @property
    def due_at_us(self) -> int:
        """When it next matures or expires by itself; 0 for never."""
        times = []
        if self.pending:
            times.append(self.available_at_us)
        if (self.pending or self.available) and self.expires_at_us:
            times.append(self.expires_at_us)
        # Due since ever is still due: 0 means never.
        return max(1, min(times)) if times else 0

    @property
    def order(self) -> tuple[bool, int, int, int, int]:
        """Lots are spent in this order: earliest expiry, then earliest earned, then by name."""
        index, _, leg = self.lot.partition(".")
        return (
            self.expires_at_us == 0,
            self.expires_at_us,
            self.earned_at_us,
            int(index),
            int(leg or 0),
        )

    def expired(self, now_us: int) -> bool:
        """Whether its time is over: at the very microsecond of its expiry it is."""
        return self.expires_at_us != 0 and self.expires_at_us <= now_us


_FIELDS = (
    "lot",
    "account",
    "unit",
    "earned",
    "pending",
    "available",
    "held",
    "earned_at_us",
    "available_at_us",
    "expires_at_us",
    "gone",
)


def lot_name(index: int, leg: int) -> str:
    """The name of the lot which leg number `leg` of entry `index` makes."""
    return f"{index}.{leg}"


def as_of(lot: Lot, now_us: int) -> Lot:
    """The lot once everything due by now has happened: pending points matured, old ones gone."""
    if lot.pending and lot.available_at_us <= now_us:
        lot = lot.changed(pending=-lot.pending, available=lot.pending)
    if lot.expired(now_us):
        lot = lot.changed(pending=-lot.pending, available=-lot.available)
    return lot


def spendable(lots: Iterable[Lot], now_us: int) -> int:
    """How many points of these lots can be taken now."""
    return sum(lot.available for lot in lots if not lot.expired(now_us))


def take(lots: Iterable[Lot], points: int, now_us: int) -> list[tuple[Lot, int]]:
    """Which available points to take, earliest expiry first: (lot, how many) in order.

    Raises InsufficientPoints, naming what there is, if they do not suffice.
    """
    if points < 1:
        raise ValueError("at least one point is taken")
    candidates = [lot for lot in lots if lot.available and not lot.expired(now_us)]
    found = take_up_to(candidates, points, now_us)
    if sum(part for _, part in found) < points:
        there = spendable(candidates, now_us)
        raise InsufficientPoints(
            f"The member has {there} points to spend and {points} are asked for; ask for fewer.",
            metadata={"available": str(there), "asked": str(points)},
        )
    return found


def take_up_to(lots: Iterable[Lot], points: int, now_us: int) -> list[tuple[Lot, int]]:
    """As `take`, but whatever there is if there is less."""
    found: list[tuple[Lot, int]] = []
    left = points
    for lot in sorted(lots, key=lambda one: one.order):
        if left == 0:
            break
        if lot.available and not lot.expired(now_us):
            part = min(lot.available, left)
            found.append((lot, part))
            left -= part
    return found


def expiry_on_return(lot: Lot, now_us: int, *, grace_days: int) -> int:
    """The expiry of a lot to which held or spent points come back now.

    The original one, unless it has passed: then the grace begins. With no grace the expiry stays
    as it was, and what came back expires at the next occasion.
    """
    if not lot.expired(now_us) or grace_days == 0:
        return lot.expires_at_us
    return now_us + grace_days * DAY
