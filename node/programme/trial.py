"""A programme on trial: what it does to one member over a list of events, in memory.

The pure rules decide, a purse moves the points, and everything that is due by itself happens at
its own moment: points mature and expire, levels end, marks come and go. So a programme can be
tried on made-up members and on a real log, and a node can be held against it. There are no holds
and no other brands here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from comity.errors import Conflict, LimitExceeded, Malformed, NotFound, NotReversible, Refused
from node.programme import marks, tiers
from node.programme.earning import earn
from node.programme.facts import (
    Activity,
    Count,
    CountKey,
    Earned,
    Event,
    Facts,
    Grant,
    MarkChange,
    Rank,
    RankChange,
)
from node.programme.model import PURCHASE, Programme
from node.programme.purse import Moved, Purse
from node.programme.refunds import Recovery, given_back, kept
from node.programme.spending import check_payment, converted


@dataclass(frozen=True, slots=True)
class Happening:
    """One line of a member's history."""

    at_us: int
    what: Earned | Moved | RankChange | MarkChange


@dataclass(slots=True)
class _Told:
    """An event as it was recorded, and what refunds left of it."""

    event: Event
    earned: Earned
    lots: tuple[str, ...]
    """The lot of each grant; "" if all of it paid a debt."""
    reversed: list[int]
    kept_minor: int


@dataclass(slots=True)
class _Spend:
    points: int
    unit: str
    parts: tuple[tuple[str, int], ...]
    restored: int = 0


class Book:
    """One member under one programme, from enrolment on."""

    def __init__(
        self, programme: Programme, *, enrolled_at_us: int, region: str = "", birthday: str = ""
    ) -> None:
        self.programme = programme
        self.now_us = enrolled_at_us
        self.rank: Rank | None = None
        self.counts: dict[CountKey, Count] = {}
        self.history: list[Happening] = []
        self.by_source: dict[tuple[str, str], int] = defaultdict(int)
        """Points given by unit and class of source, less those that refunds took back."""
        self._known = Facts(enrolled_at_us=enrolled_at_us, region=region, birthday=birthday)
        self._marks: dict[str, set[str]] = {"badge": set(), "title": set(), "tag": set()}
        self._activity = Activity()
        self._events: dict[str, _Told] = {}
        self._spends: dict[str, _Spend] = {}
        self._review_at_us = 0
        self.purse = Purse(programme, enrolled_at_us, self._tell)
        self._review(None)

    # --- reading ----------------------------------------------------------------------------

    def facts(self) -> Facts:
        """What the pure rules look at, as of `now_us`."""
        return replace(
            self._known,
            balances={unit: self.balance(unit) for unit in self.programme.units},
            activity=self._activity,
            rank=self.rank,
            badges=frozenset(self._marks["badge"]),
            titles=frozenset(self._marks["title"]),
            tags=frozenset(self._marks["tag"]),
            counts=self.counts,
        )

    def balance(self, unit: str) -> int:
        """What is available of a unit now."""
        return sum(lot.available for lot in self.purse.of(unit) if not lot.expired(self.now_us))

    def pending(self, unit: str) -> int:
        """What is still pending of a unit."""
        return sum(lot.pending for lot in self.purse.of(unit))

    def debt(self, unit: str) -> int:
        """What the member owes of a unit."""
        return self.purse.debts[unit]

    @property
    def level(self) -> str:
        """The member's level; "" without levels."""
        return self.rank.level if self.rank is not None else ""

    def changes(self) -> list[RankChange]:
        """Every change of level or validity, in order."""
        return [one.what for one in self.history if isinstance(one.what, RankChange)]

    def event(self, event_id: str) -> Event:
        """An event as it was told."""
        return self._event(event_id).event

    def earned(self, event_id: str) -> Earned:
        """What an event earned, with the verdict of every rule: the explanation."""
        return self._event(event_id).earned

    # --- time -------------------------------------------------------------------------------

    def advance(self, now_us: int) -> None:
        """Let everything happen that is due by `now_us`, each thing at its own time."""
        while 0 < (due := self.due_at_us()) <= now_us:
            self.now_us = max(self.now_us, due)
            self.purse.settle(self.now_us)
            self._review(None)
        self.now_us = max(self.now_us, now_us)

    def due_at_us(self) -> int:
        """When something happens by itself next; 0 for never."""
        times = (self.purse.due_at_us(), self._review_at_us)
        return min((at_us for at_us in times if at_us), default=0)

    def _review(self, event: Event | None) -> None:
        """Rate the member after a change, and see to the marks; remember when to look again."""
        while (
            change := tiers.review(self.programme, self.facts(), now_us=self.now_us)
        ) is not None:
            for unit in change.clear:
                self._end(unit, None)
            for unit, points in change.deduct.items():
                self._end(unit, points)
            self.rank = change.rank
            self.history.append(Happening(self.now_us, change))
        for mark in marks.review(self.programme, self.facts(), event, now_us=self.now_us):
            own = self._marks[mark.kind]
            (own.add if mark.given else own.discard)(mark.name)
            self.history.append(Happening(self.now_us, mark))
        looks = (
            tiers.next_review_at(self.programme, self.facts(), now_us=self.now_us),
            marks.next_review_at(self.programme, now_us=self.now_us),
        )
        self._review_at_us = min((at_us for at_us in looks if at_us), default=0)

    def _end(self, unit: str, points: int | None) -> None:
        moved = Moved(cause="cleared", unit=unit, points=0)
        self.purse.end(unit, points, now_us=self.now_us, moved=moved)

    # --- events and refunds -----------------------------------------------------------------

    def record(self, event: Event, *, now_us: int = 0, approved: bool = False) -> Earned:
        """Tell of an event when it happens, or later at `now_us`: it earns, costs, and rates.

        A repeated event changes nothing. Raises Conflict if its id was another event's.
        """
        if (known := self._events.get(event.id)) is not None:
            if known.event != event:
                raise Conflict(f"Event {event.id} was told before with other content.")
            return known.earned
        self.advance(max(now_us, event.at_us))
        now_us = self.now_us
        earned = earn(self.programme, self.facts(), event, now_us=now_us, approved=approved)
        self.history.append(Happening(now_us, earned))
        names = tuple(self._give(grant, event.id) for grant in earned.grants)
        for penalty in earned.penalties:
            moved = Moved(cause="penalty", unit=penalty.unit, points=0, reference=event.id)
            self.purse.penalise(
                penalty.unit, penalty.points, debt=penalty.debt, now_us=now_us, moved=moved
            )
        self.counts.update(earned.counts)
        self._activity = _acted(self._activity, event)
        self._events[event.id] = _Told(event, earned, names, [0] * len(names), event.amount_minor)
        self._review(event)
        return earned

    def _give(self, grant: Grant, reference: str) -> str:
        self.by_source[grant.unit, grant.source] += grant.points
        return self.purse.credit(
            grant.unit,
            grant.points,
            earned_at_us=grant.earned_at_us,
            available_at_us=grant.available_at_us,
            now_us=self.now_us,
            moved=Moved(cause="earned", unit=grant.unit, points=0, reference=reference),
        )

    def refund(
        self, event_id: str, *, kept_minor: int, kept_lines: Sequence[int] = ()
    ) -> tuple[Recovery, ...]:
        """So much of a purchase is kept in all; what it earned beyond that is taken back.

        `kept_lines` says so for each line, which points rounded by line need. A refund that
        leaves no less than an earlier one changes nothing.
        """
        told = self._event(event_id)
        if not 0 <= kept_minor <= told.event.amount_minor:
            raise NotReversible("Keep between nothing and the whole amount of the purchase.")
        if kept_minor >= told.kept_minor:
            return ()
        whole = kept_minor == 0
        rests = [_rest(one, told.event, kept_minor, kept_lines) for one in told.earned.grants]
        found = []
        for at, (grant, rest) in enumerate(zip(told.earned.grants, rests, strict=True)):
            points = max(0, grant.points - rest - told.reversed[at])
            told.reversed[at] += points
            self.by_source[grant.unit, grant.source] -= points
            if points:
                moved = Moved(cause="refunded", unit=grant.unit, points=0, reference=event_id)
                found.append(
                    self.purse.recover(
                        grant.unit, told.lots[at], points, now_us=self.now_us, moved=moved
                    )
                )
            self.counts.update(
                given_back(
                    self.programme,
                    self.counts,
                    rule=grant.rule,
                    at_us=told.event.at_us,
                    points=points,
                    whole=whole,
                )
            )
        self._activity = replace(
            self._activity,
            spend_minor=self._activity.spend_minor - told.kept_minor + kept_minor,
            purchases=self._activity.purchases - int(whole),
        )
        told.kept_minor = kept_minor
        self._review(None)
        return tuple(found)

    # --- spending ---------------------------------------------------------------------------

    def spend(self, spend_id: str, unit: str, points: int) -> None:
        """Spend points at this brand; those that expire first go first.

        Raises InsufficientPoints, and Refused while the programme has spending stopped.
        """
        if spend_id in self._spends:
            return
        if self.programme.burn_frozen:
            raise Refused("Spending is stopped in this programme; earning goes on.")
        moved = Moved(cause="spent", unit=unit, points=-points, reference=spend_id)
        parts = self.purse.take(unit, points, now_us=self.now_us, moved=moved)
        self._spends[spend_id] = _Spend(points, unit, parts)
        self._review(None)

    def pay(self, spend_id: str, *, points: int, amount_minor: int, virtual: bool = False) -> int:
        """Pay a part of an order with points; returns the minor units which they pay."""
        payment = self.programme.payment
        if payment is None:
            raise LimitExceeded("Points do not pay orders in this programme.")
        paid = check_payment(
            self.programme, points=points, amount_minor=amount_minor, virtual=virtual
        )
        self.spend(spend_id, payment.unit or self.programme.main_unit, points)
        return paid

    def restore(self, spend_id: str, points: int) -> None:
        """So many points of a spending come back in all, to their lots with their own expiry.

        Those taken last come back first. An expired lot follows its unit's grace: without one,
        what comes back to it is gone at once.
        """
        spend = self._spends.get(spend_id)
        if spend is None:
            raise NotFound(f"There is no spending {spend_id} here.")
        if points > spend.points:
            raise NotReversible(f"{spend.points} points were spent; at most those come back.")
        at = 0
        for name, part in reversed(spend.parts):
            share = min(at + part, points) - max(at, spend.restored)
            if share > 0:
                moved = Moved(cause="restored", unit=spend.unit, points=share, reference=spend_id)
                self.purse.give_back(name, share, now_us=self.now_us, moved=moved)
            at += part
        spend.restored = max(spend.restored, points)
        self.purse.settle(self.now_us)
        self._review(None)

    def convert(self, name: str, points: int) -> int:
        """Turn points of one unit into another; returns how many they become."""
        conversion, now_us = self.programme.conversions[name], self.now_us
        made = converted(conversion, points)
        gone = Moved(cause="converted", unit=conversion.from_unit, points=-points, reference=name)
        self.purse.take(conversion.from_unit, points, now_us=now_us, moved=gone)
        self.purse.credit(
            conversion.into_unit,
            made,
            earned_at_us=now_us,
            available_at_us=now_us,
            now_us=now_us,
            moved=Moved(cause="converted", unit=conversion.into_unit, points=0, reference=name),
        )
        if conversion.keeps_level and self.rank is not None:
            self.rank = replace(self.rank, pinned=True)
        self._review(None)
        return made

    def _event(self, event_id: str) -> _Told:
        told = self._events.get(event_id)
        if told is None:
            raise NotFound(f"There is no event {event_id} here.")
        return told

    def _tell(self, moved: Moved) -> None:
        if moved.points:
            self.history.append(Happening(self.now_us, moved))


def _rest(grant: Grant, event: Event, kept_minor: int, kept_lines: Sequence[int]) -> int:
    """What a refund leaves of one grant."""
    amounts: Sequence[int] = (kept_minor,)
    if grant.by_line and kept_minor:
        bought = [line.amount_minor for line in event.lines]
        if len(kept_lines) != len(bought) or sum(kept_lines) != kept_minor:
            raise Malformed("Say of each line how much is kept; points were rounded by line.")
        if any(left > amount for left, amount in zip(kept_lines, bought, strict=True)):
            raise Malformed("No more of a line is kept than was bought.")
        amounts = kept_lines
    return kept(
        grant.points,
        numerator=grant.numerator,
        denominator=grant.denominator,
        by_line=grant.by_line,
        amounts_kept=amounts,
    )


def _acted(before: Activity, event: Event) -> Activity:
    at_us = event.at_us
    after = replace(before, last_event_at_us=max(before.last_event_at_us, at_us))
    if event.type != PURCHASE:
        return after
    return replace(
        after,
        purchases=before.purchases + 1,
        spend_minor=before.spend_minor + event.amount_minor,
        first_purchase_at_us=min(before.first_purchase_at_us or at_us, at_us),
        last_purchase_at_us=max(before.last_purchase_at_us, at_us),
    )
