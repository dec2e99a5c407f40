"""Statements: an entry with its proof, the same on the wire and in a tlog-proof file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.errors import BadStatement
from comity.ledger import entries, statements
from comity.log import proof
from comity.log.checkpoint import CheckpointCache
from comity.v1 import common_pb2
from tests.unit.replay_log import Log, earn


def grown(participant: str = "grocery", size: int = 11) -> Log:
    log = Log(participant)
    for number in range(size):
        earn(log, 10 + number, lot=f"{number}.1")
    return log


LOG = grown()


def verify(statement: common_pb2.Statement, *, log: Log = LOG) -> statements.Proven:
    return statements.verify(
        statement, origin=log.origin, verifier=log.verifier, cache=CheckpointCache(4)
    )


@pytest.mark.parametrize("index", range(11))
def test_a_statement_proves_its_entry(index: int) -> None:
    proven = verify(LOG.statement(index))
    assert proven.data == LOG.bodies[index]
    assert proven.entry == entries.decode(LOG.bodies[index])
    assert entries.same(proven.citation, LOG.cite(index))
    assert (proven.head.size, proven.note) == (11, LOG.note())


@given(st.integers(0, 10), st.data())
def test_no_changed_statement_verifies(index: int, data: st.DataObject) -> None:
    statement = LOG.statement(index)
    part = data.draw(st.sampled_from(["entry", "index", "hash", "checkpoint", "missing hash"]))
    if part == "entry":
        at = data.draw(st.integers(0, len(statement.entry) - 1))
        changed = bytearray(statement.entry)
        changed[at] ^= data.draw(st.integers(1, 255))
        statement.entry = bytes(changed)
    elif part == "index":
        statement.index = data.draw(st.integers(0, 2**64 - 1).filter(lambda at: at != index))
    elif part == "hash":
        statement.hashes[0] = bytes(32)
    elif part == "checkpoint":
        statement.checkpoint = grown(size=12).note()
    else:
        del statement.hashes[0]
    with pytest.raises(BadStatement):
        verify(statement)


def test_a_statement_of_another_log_or_key_is_refused() -> None:
    other = grown("fuel")
    with pytest.raises(BadStatement):
        verify(other.statement(3))
    with pytest.raises(BadStatement):
        verify(LOG.statement(3), log=other)


def test_an_entry_that_names_another_log_is_refused_even_under_a_good_proof() -> None:
    log = grown()
    log.bodies[4] = grown("fuel").bodies[4]
    with pytest.raises(BadStatement, match="belongs to"):
        verify(log.statement(4), log=log)


def test_a_proof_file_holds_the_same_statement() -> None:
    statement = LOG.statement(5)
    text = statements.to_tlog_proof(statement)
    assert text.startswith("c2sp.org/tlog-proof@v1\nextra ")
    for form in (text, text.encode()):
        assert statements.from_tlog_proof(form) == statement
    verify(statements.from_tlog_proof(text))


def test_a_proof_file_without_its_entry_proves_nothing_of_ours() -> None:
    statement = LOG.statement(5)
    bare = proof.format(proof.TlogProof(5, tuple(statement.hashes), statement.checkpoint))
    with pytest.raises(BadStatement, match="extra"):
        statements.from_tlog_proof(bare)
    with pytest.raises(BadStatement):
        statements.from_tlog_proof("no proof")


def test_one_signature_is_checked_once_for_a_whole_batch() -> None:
    cache = CheckpointCache(4)
    for index in range(11):
        statements.verify(
            LOG.statement(index), origin=LOG.origin, verifier=LOG.verifier, cache=cache
        )
    assert len(cache) == 1
