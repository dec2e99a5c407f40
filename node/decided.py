"""A DECISION as one of its parties reads it: the entry, its place in clearing's log, its figures.

Whoever brings it, in an answer or in the feed, it is read here, so that one rule says what of it
is believed: an opening counts only if it opens the commitments of the very entry.
"""

from __future__ import annotations

from dataclasses import dataclass

from comity.errors import BadStatement
from comity.ledger import entries
from comity.log.merkle import leaf_hash
from comity.terms import books
from comity.v1 import common_pb2
from comity.v1 import entry_pb2 as pb


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """One DECISION, and what was opened of it to us."""

    citation: common_pb2.Citation
    decision: pb.Decision
    opening: pb.DecisionOpening
    at_us: int

    @property
    def index(self) -> int:
        return self.citation.index

    @property
    def hash(self) -> bytes:
        """The hash of the DECISION's leaf, by which our entries and rows name it."""
        return self.citation.leaf_hash

    @property
    def points(self) -> int:
        """How many points it moves; a reversal moves them back, and says so by its outcome."""
        return abs(self.opening.points)

    def seq(self, participant: str) -> int:
        """This participant's number for it."""
        return books.seq_of(self.decision, participant)

    def cites(self, *, origin: str, index: int, leaf: bytes) -> bool:
        """Whether it cites exactly this entry."""
        cited = self.decision.cites
        return cited.leaf_hash == leaf and cited.index == index and cited.origin == origin


def read(
    entry: pb.Entry, citation: common_pb2.Citation, opening: pb.DecisionOpening | None
) -> Decided:
    """The decision in an entry of clearing's log.

    Raises BadStatement for an entry of another kind, or an opening of other figures.
    """
    if entry.WhichOneof("body") != "decision":
        raise BadStatement("The entry shown as a decision is none.")
    opened = opening or pb.DecisionOpening()
    entries.check_decision_opening(entry.decision, opened)
    return Decided(citation=citation, decision=entry.decision, opening=opened, at_us=entry.at_us)


def read_leaf(data: bytes, *, origin: str, index: int, opening: bytes | None) -> Decided:
    """As `read`, from a leaf of the mirror."""
    citation = common_pb2.Citation(origin=origin, index=index, leaf_hash=leaf_hash(data))
    opened = pb.DecisionOpening.FromString(opening) if opening else None
    return read(entries.decode(data, origin=origin), citation, opened)


def check_amounts(decided: Decided, expected: pb.Amounts) -> None:
    """Raises BadStatement unless the decision moves exactly what the agreement says."""
    if decided.opening.amounts != expected:
        raise BadStatement(
            f"The decision on {decided.decision.redemption_id} moves other amounts than the "
            "agreement says.",
            metadata={"redemption_id": decided.decision.redemption_id},
        )
