"""Books: equal rows have equal digests, and a difference is found where it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearing.reconcile import compare
from comity.errors import BadStatement
from comity.terms.books import block_digests, row_of
from comity.v1.entry_pb2 import OUTCOME_COMMITTED, Decision, DecisionOpening
from comity.v1.peer_pb2 import BookRow


def row(seq: int) -> BookRow:
    return BookRow(
        seq=seq,
        issuer="grocery",
        acceptor="fuel",
        redemption_id=f"rdm_{seq:032x}",
        outcome=OUTCOME_COMMITTED,
        window=1,
        points=seq,
        decision=seq.to_bytes(32, "big"),
    )


@given(st.integers(1, 60), st.integers(1, 20), st.integers(1, 60))
def test_only_the_block_which_holds_a_change_has_another_digest(
    count: int, block: int, changed: int
) -> None:
    ours = [row(seq) for seq in range(1, count + 1)]
    theirs = [row(seq) for seq in range(1, count + 1)]
    at = changed % count
    theirs[at].points += 1
    mine = block_digests(ours, from_seq=1, limit=count, block=block)
    other = block_digests(theirs, from_seq=1, limit=count, block=block)
    differing = [place for place in range(len(mine)) if mine[place] != other[place]]
    assert differing == [at // block]
    (found,) = compare(ours, theirs, participant="fuel")
    assert found.seq == at + 1


@given(st.sets(st.integers(1, 30)), st.sets(st.integers(1, 30)))
def test_every_row_that_only_one_side_has_is_named(ours: set[int], theirs: set[int]) -> None:
    found = compare([row(seq) for seq in ours], [row(seq) for seq in theirs], participant="grocery")
    assert [one.seq for one in found] == sorted(ours ^ theirs)


def test_the_order_of_rows_does_not_matter_and_gaps_do() -> None:
    rows = [row(3), row(1), row(2)]
    assert block_digests(rows, from_seq=1, limit=3, block=3) == block_digests(
        sorted(rows, key=lambda one: one.seq), from_seq=1, limit=3, block=3
    )
    gap = block_digests([row(1), row(3)], from_seq=1, limit=3, block=3)
    assert gap != block_digests(rows, from_seq=1, limit=3, block=3)


def test_rows_beyond_the_limit_do_not_count() -> None:
    rows = [row(seq) for seq in range(1, 11)]
    assert block_digests(rows, from_seq=3, limit=4, block=2) == block_digests(
        rows[2:6], from_seq=3, limit=4, block=2
    )


def test_a_decision_makes_no_row_for_a_stranger() -> None:
    decision = Decision(issuer="grocery", acceptor="fuel", issuer_seq=4, acceptor_seq=9)
    for name, seq in (("grocery", 4), ("fuel", 9)):
        made = row_of(decision, leaf_hash=bytes(32), opening=DecisionOpening(), participant=name)
        assert made.seq == seq
    with pytest.raises(BadStatement):
        row_of(decision, leaf_hash=bytes(32), opening=DecisionOpening(), participant="hotel")
