"""What a brand's log says of its members beside their points, folded entry by entry.

Levels, badges, titles and tags stand in MARKS entries as commitments, so only a replay with the
openings knows whose they are. Points spent at home, brought back or turned into another unit
are looked at here too. This is a part of `comity.ledger.replay`: as pure, and it writes down
whatever contradicts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from comity.errors import BadStatement
from comity.ledger.entries import check_mark
from comity.v1 import entry_pb2

AVAILABLE: Final = entry_pb2.ACCOUNT_CLASS_AVAILABLE
ISSUED: Final = entry_pb2.ACCOUNT_CLASS_ISSUED
SPENT: Final = entry_pb2.ACCOUNT_CLASS_SPENT
CONVERTED: Final = entry_pb2.ACCOUNT_CLASS_CONVERTED
TIER: Final = entry_pb2.MARK_KIND_TIER

SOURCES: Final = (
    entry_pb2.SOURCE_BUSINESS,
    entry_pb2.SOURCE_ACTIVITY,
    entry_pb2.SOURCE_BONUS,
)

_BACK: Final = frozenset(
    {SPENT, entry_pb2.ACCOUNT_CLASS_EXPIRED, entry_pb2.ACCOUNT_CLASS_CLAWED_BACK}
)


class Contradict(Protocol):
    """Writes down that an entry contradicts a rule."""

    def __call__(self, rule: str, index: int, text: str) -> None: ...


@dataclass(frozen=True, slots=True)
class RankState:
    """The level a member has. `until_us` is 0 where it does not end."""

    level: str
    since_us: int
    until_us: int
    pinned: bool = False


@dataclass(slots=True)
class SpendState:
    """A SPEND and what came back of it, in all and by lot where the legs are open."""

    points: dict[str, int]
    lots: dict[str, int]
    back: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    lots_back: dict[str, int] = field(default_factory=lambda: defaultdict(int))


class Membership:
    """Levels by account, marks by (account, kind, name) with since when, points by source.

    `sources` holds, by (account, unit), what was issued less what was taken back, in the order of
    `SOURCES`.
    """

    def __init__(self, contradicts: Contradict, *, opened: bool) -> None:
        self._contradicts = contradicts
        self._opened = opened
        self.ranks: dict[str, RankState] = {}
        self.marks: dict[tuple[str, int, str], int] = {}
        self.sources: dict[tuple[str, str], list[int]] = {}
        self.spends: dict[int, SpendState] = {}

    # --- levels, badges, titles, tags ---------------------------------------------------

    def add_marks(
        self,
        index: int,
        at_us: int,
        body: entry_pb2.Marks,
        openings: Sequence[entry_pb2.MarkOpening],
    ) -> None:
        """Fold a MARKS entry."""
        if not self._opened:
            return
        if len(openings) != len(body.marks):
            self._contradicts(
                "openings", index, f"has {len(openings)} openings of {len(body.marks)} marks"
            )
            return
        for mark, opening in zip(body.marks, openings, strict=True):
            try:
                check_mark(mark, opening)
            except BadStatement:
                self._contradicts("openings", index, "has a mark its opening does not open")
            if opening.since_us > at_us:
                self._contradicts("marks", index, f"gives {opening.name} before its time")
            if opening.kind == TIER:
                self._rank(index, opening)
            else:
                self._mark(index, opening)

    def _rank(self, index: int, opening: entry_pb2.MarkOpening) -> None:
        if not opening.given or not opening.name:
            self._contradicts("marks", index, f"takes a level of {opening.account} away")
        rank = RankState(opening.name, opening.since_us, opening.until_us, opening.pinned)
        if self.ranks.get(opening.account) == rank:
            self._contradicts("marks", index, f"gives {opening.account} the level it has")
        self.ranks[opening.account] = rank

    def _mark(self, index: int, opening: entry_pb2.MarkOpening) -> None:
        at = (opening.account, int(opening.kind), opening.name)
        if opening.kind == 0 or (at in self.marks) is opening.given:
            has = "has" if opening.given else "does not have"
            verb = "gives" if opening.given else "takes"
            self._contradicts("marks", index, f"{verb} {opening.name}, which the member {has}")
        if opening.given:
            self.marks[at] = opening.since_us
        else:
            self.marks.pop(at, None)

    # --- points -------------------------------------------------------------------------

    def book_source(self, account: str, unit: str, source: int, points: int) -> None:
        """Points that a leg with a source issues, or takes back."""
        found = self.sources.get((account, unit))
        if found is None:
            found = self.sources[account, unit] = [0, 0, 0]
        if source in SOURCES:
            found[source - 1] += points

    def add_spend(self, index: int, legs: Iterable[entry_pb2.Leg], taken: dict[str, int]) -> None:
        """Fold a SPEND, which took `taken` by lot where the legs are open."""
        spent = _by_unit(legs, SPENT)
        if not spent or any(points < 1 for points in spent.values()):
            self._contradicts("I5", index, "spends nothing")
        if {unit: -points for unit, points in _by_unit(legs, AVAILABLE).items()} != spent:
            self._contradicts("I5", index, "does not spend what it takes")
        self.spends[index] = SpendState(spent, {lot: -points for lot, points in taken.items()})

    def add_reinstate(self, index: int, body: entry_pb2.Reinstate, given: dict[str, int]) -> None:
        """Fold a REINSTATE, which gave `given` by lot where the legs are open."""
        classes = {leg.account_class for leg in body.legs if leg.points < 0} & _BACK
        if not body.spend_index:
            if not classes or SPENT in classes:
                self._contradicts("I12", index, "brings points back from nowhere")
            return
        spend = self.spends.get(body.spend_index)
        if spend is None:
            self._contradicts("I12", index, f"names {body.spend_index}, which is no spend")
            return
        if classes != {SPENT}:
            self._contradicts("I12", index, "brings back what was not spent")
        for unit, points in _by_unit(body.legs, SPENT).items():
            spend.back[unit] -= points
            if spend.back[unit] > spend.points.get(unit, 0):
                self._contradicts("I12", index, f"brings back more than {body.spend_index} spent")
        for lot, points in given.items():
            spend.lots_back[lot] += points
            if spend.lots_back[lot] > spend.lots.get(lot, 0):
                self._contradicts("I12", index, f"brings more back to lot {lot} than it gave")

    def add_convert(self, index: int, legs: Sequence[entry_pb2.Leg]) -> None:
        """Fold a CONVERT: one unit is taken, one other is issued."""
        gone, come = _by_unit(legs, CONVERTED), _by_unit(legs, ISSUED)
        good = (
            len(gone) == len(come) == 1
            and gone.keys() != come.keys()
            and min(gone.values()) > 0
            and max(come.values()) < 0
        )
        if not good:
            self._contradicts("I12", index, "does not turn one unit into another")

    # --- the result ---------------------------------------------------------------------

    @property
    def good(self) -> str:
        """What is said of the marks if nothing contradicts."""
        return f"{len(self.ranks)} levels and {len(self.marks)} marks are given and taken in order."


def _by_unit(legs: Iterable[entry_pb2.Leg], account_class: int) -> dict[str, int]:
    found: dict[str, int] = {}
    for leg in legs:
        if leg.account_class == account_class:
            found[leg.unit] = found.get(leg.unit, 0) + leg.points
    return found
