"""A member's points in memory: lots, debts, and what became of the points that are gone.

It moves points as a node's ledger does: the earliest expiry is spent first, a debt is paid before
anything else, what comes back returns to its own lot with its own expiry. In a unit nobody can
spend, a lot with the same expiry grows instead of a new one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from node import lots as lot_rules
from node.lots import Lot
from node.programme.calendar import expires_at
from node.programme.model import Programme, UnitKind
from node.programme.refunds import Recovery, recover


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """Points of one unit that came, went or matured."""

    cause: str
    """earned, debt_paid, matured, expired, cleared, penalty, refunded, spent, restored, converted
    or adjusted."""
    unit: str
    points: int
    reference: str = ""


@dataclass(slots=True)
class Purse:
    """All points of one member."""

    programme: Programme
    enrolled_at_us: int
    tell: Callable[[Moved], None]
    lots: dict[str, Lot] = field(default_factory=dict)
    debts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    forgiven: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Of each unit: points that should have been taken back and were let go."""
    _made: int = 0

    # --- reading ----------------------------------------------------------------------------

    def of(self, unit: str) -> list[Lot]:
        """The lots of a unit that have points in them."""
        return [lot for lot in self.lots.values() if lot.unit == unit and lot.open]

    def due_at_us(self) -> int:
        """When the next lot matures or expires; 0 for never."""
        return min((due for lot in self.lots.values() if (due := lot.due_at_us)), default=0)

    # --- coming -----------------------------------------------------------------------------

    def credit(
        self,
        unit: str,
        points: int,
        *,
        earned_at_us: int,
        available_at_us: int,
        now_us: int,
        moved: Moved,
    ) -> str:
        """Give points: a debt is paid first, the rest is a lot. Returns its name, or ""."""
        paid = min(self.debts[unit], points)
        self.debts[unit] -= paid
        if paid:
            self.tell(replace(moved, cause="debt_paid", points=paid))
        rest = points - paid
        if rest == 0:
            return ""
        self.tell(replace(moved, points=rest))
        pending = available_at_us > now_us
        return self._keep(
            Lot(
                lot=lot_rules.lot_name(self._made, 0),
                account="",
                unit=unit,
                earned=rest,
                pending=rest if pending else 0,
                available=0 if pending else rest,
                held=0,
                earned_at_us=earned_at_us,
                available_at_us=available_at_us,
                expires_at_us=expires_at(self.programme, unit, earned_at_us, self.enrolled_at_us),
            )
        )

    def _keep(self, made: Lot) -> str:
        rules = self.programme.units[made.unit]
        if rules.expiry.idle_days is not None:
            self._prolong(made)
        if rules.kind is UnitKind.GROWTH and not made.pending:
            for lot in self.of(made.unit):
                if lot.expires_at_us == made.expires_at_us and not lot.pending:
                    grown = replace(lot, earned=lot.earned + made.earned)
                    self.lots[lot.lot] = grown.changed(available=made.available)
                    return lot.lot
        self.lots[made.lot] = made
        self._made += 1
        return made.lot

    def _prolong(self, made: Lot) -> None:
        """Earning again prolongs what there is of the unit."""
        for lot in self.of(made.unit):
            if lot.expires_at_us < made.expires_at_us:
                self.lots[lot.lot] = replace(lot, expires_at_us=made.expires_at_us)

    def give_back(self, name: str, points: int, *, now_us: int, moved: Moved) -> None:
        """Points come back to the lot they were taken from; a debt is paid first."""
        lot = self.lots[name]
        paid = min(self.debts[lot.unit], points)
        self.debts[lot.unit] -= paid
        grace = self.programme.units[lot.unit].expired_lot_grace_days
        expiry = lot_rules.expiry_on_return(lot, now_us, grace_days=grace)
        self.lots[name] = replace(lot, expires_at_us=expiry).changed(available=points - paid)
        self.tell(moved)

    # --- going ------------------------------------------------------------------------------

    def take(
        self, unit: str, points: int, *, now_us: int, moved: Moved
    ) -> tuple[tuple[str, int], ...]:
        """Take exactly so many available points, earliest expiry first: (lot, how many).

        Raises InsufficientPoints if there are fewer.
        """
        found = lot_rules.take(self.of(unit), points, now_us)
        for lot, part in found:
            self.lots[lot.lot] = lot.changed(available=-part)
        self.tell(moved)
        return tuple((lot.lot, part) for lot, part in found)

    def take_up_to(self, unit: str, points: int, *, now_us: int) -> int:
        """Take what there is of so many available points; returns how many."""
        found = lot_rules.take_up_to(self.of(unit), points, now_us)
        for lot, part in found:
            self.lots[lot.lot] = lot.changed(available=-part)
        return sum(part for _, part in found)

    def penalise(self, unit: str, points: int, *, debt: bool, now_us: int, moved: Moved) -> None:
        """Take a penalty from what is available; the rest is owed, or let go."""
        taken = self.take_up_to(unit, points, now_us=now_us)
        if debt:
            self.debts[unit] += points - taken
            taken = points
        self.tell(replace(moved, points=-taken))

    def recover(self, unit: str, name: str, points: int, *, now_us: int, moved: Moved) -> Recovery:
        """Take back points that came in the lot `name` ("": they paid a debt)."""
        lot = self.lots.get(name)
        others = [one for one in self.of(unit) if one.lot != name]
        found = recover(
            self.programme.units[unit].clawback,
            points,
            pending=lot.pending if lot is not None else 0,
            available=lot.available if lot is not None else 0,
            expired=lot.gone if lot is not None else 0,
            elsewhere=lot_rules.spendable(others, now_us),
        )
        if lot is not None:
            rest = replace(lot, gone=lot.gone - found.expired)
            self.lots[name] = rest.changed(pending=-found.pending, available=-found.available)
        for other, part in lot_rules.take_up_to(others, found.elsewhere, now_us):
            self.lots[other.lot] = other.changed(available=-part)
        self.debts[unit] += found.debt
        self.forgiven[unit] += found.forgiven
        self.tell(replace(moved, points=-found.taken))
        return found

    def end(self, unit: str, points: int | None, *, now_us: int, moved: Moved) -> None:
        """End available points unspent (None: all), as a level's re-rating does."""
        ended = 0
        most = lot_rules.spendable(self.of(unit), now_us) if points is None else points
        for lot, part in lot_rules.take_up_to(self.of(unit), most, now_us):
            self.lots[lot.lot] = replace(lot, gone=lot.gone + part).changed(available=-part)
            ended += part
        self.tell(replace(moved, points=-ended))

    # --- by itself --------------------------------------------------------------------------

    def settle(self, now_us: int) -> None:
        """Let what is due by now mature and expire."""
        for lot in list(self.lots.values()):
            if not 0 < lot.due_at_us <= now_us:
                continue
            if lot.pending and lot.available_at_us <= now_us:
                ripe = Moved(cause="matured", unit=lot.unit, points=lot.pending, reference=lot.lot)
                self.tell(ripe)
            # Whatever is due has happened; the lot says what that leaves.
            settled = lot_rules.as_of(lot, now_us)
            ended = lot.pending + lot.available - settled.pending - settled.available
            if ended:
                over = Moved(cause="expired", unit=lot.unit, points=-ended, reference=lot.lot)
                self.tell(over)
            self.lots[lot.lot] = replace(settled, gone=lot.gone + ended)
