"""Logs and evidence, checked by whoever holds the bytes and the key."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.ledger import statements
from comity.log.merkle import leaf_hash
from comity.v1 import entry_pb2
from comity.verify.evidence import evidence
from comity.verify.log import log as verify_log
from comity.verify.network import network
from comity.verify.report import Report
from tests.unit.replay_log import Clearing, Log, earn, end, failed, hold


def honest() -> Log:
    """Fifty entries: points earned, held, spent."""
    made = Log("grocery")
    for number in range(24):
        earn(made, 100, lot=f"{number}.1")
    for number in range(13):
        held = hold(made, 50, name=f"r{number}", lot=f"{number}.1")
        end(made, entry_pb2.Post, held, 50, name=f"r{number}", lot=f"{number}.1")
    return made


HONEST = honest()


def verify(log: Log, *, opened: bool = True, note: bytes | None = None) -> Report:
    return verify_log(
        log.bodies,
        log.note() if note is None else note,
        log.verifier,
        log.openings if opened else None,
    )


@pytest.mark.parametrize("opened", [False, True])
def test_an_honest_log_passes(opened: bool) -> None:
    report = verify(HONEST, opened=opened)
    assert report.passed
    assert report.figures == {"entries": 50}
    assert report.subject == "comity.example/grocery"
    assert all(row[1] == "ok" for row in report.rows())


@given(st.integers(0, 49), st.data())
def test_no_altered_byte_of_an_entry_goes_unnoticed(index: int, data: st.DataObject) -> None:
    body = bytearray(HONEST.bodies[index])
    at = data.draw(st.integers(0, len(body) - 1))
    body[at] ^= data.draw(st.integers(1, 255))
    altered = [*HONEST.bodies[:index], bytes(body), *HONEST.bodies[index + 1 :]]
    report = verify_log(altered, HONEST.note(), HONEST.verifier, HONEST.openings)
    assert "root" in failed(report.checks)


def test_missing_added_and_reordered_entries_are_noticed() -> None:
    for bodies in (
        HONEST.bodies[:-1],
        HONEST.bodies[1:],
        [*HONEST.bodies, HONEST.bodies[0]],
        [HONEST.bodies[1], HONEST.bodies[0], *HONEST.bodies[2:]],
    ):
        report = verify_log(bodies, HONEST.note(), HONEST.verifier)
        assert "root" in failed(report.checks)


def test_a_head_that_is_not_signed_by_the_key_is_refused() -> None:
    other = Log("fuel")
    assert "signature" in failed(verify_log([], other.note(), HONEST.verifier).checks)
    assert failed(verify_log([], b"no note", HONEST.verifier).checks).keys() == {"signature"}


def test_an_entry_of_another_log_or_kind_has_no_place() -> None:
    log = honest()
    log.bodies[3] = b"\x08\x01"
    assert "Entry 3 of" in failed(verify(log).checks)["entries"]
    log = honest()
    log.append(entry_pb2.Heads())
    assert "no place" in failed(verify(log).checks)["entries"]


def test_an_opening_that_does_not_parse_is_named() -> None:
    log = honest()
    log.openings[2] = b"\xff"
    assert "Entry 2 of" in failed(verify(log).checks)["openings"]


def test_an_empty_log_passes() -> None:
    assert verify(Log("grocery")).passed


def test_reports_are_plain_data() -> None:
    plain = verify(HONEST).plain()
    assert plain["passed"] is True
    assert plain["figures"] == {"entries": 50}
    assert {"name", "passed", "detail"} == plain["checks"][0].keys()


def test_several_logs_are_compared() -> None:
    clearing = Clearing()
    clearing.admit("grocery")
    grocery = verify(HONEST)
    together = network([grocery, verify(clearing.log)])
    assert "not in clearing's log" in failed(together.checks)["I4"]


# --- evidence ---------------------------------------------------------------------------------


def fork() -> Log:
    """The same log up to its last entry."""
    made = honest()
    made.bodies[-1] = made.bodies[0]
    return made


def test_two_roots_of_one_size_are_evidence() -> None:
    found = evidence(HONEST.note(), fork().note(), verifier=HONEST.verifier)
    assert found.passed
    assert "two roots of size 50" in found.checks[0].detail


def test_two_leaves_at_one_index_are_evidence() -> None:
    one, other = (statements.to_tlog_proof(log.statement(49)).encode() for log in (HONEST, fork()))
    assert evidence(one, other, verifier=HONEST.verifier).passed
    assert not evidence(one, one, verifier=HONEST.verifier).passed
    elsewhere = statements.to_tlog_proof(fork().statement(3)).encode()
    assert not evidence(one, elsewhere, verifier=HONEST.verifier).passed


def test_leaves_that_contradict_an_earlier_head_are_evidence() -> None:
    earlier, longer = fork(), honest()
    earn(longer, 1, lot="x.1")
    leaves = [leaf_hash(body) for body in longer.bodies]
    found = evidence(earlier.note(), longer.note(), verifier=longer.verifier, leaves=leaves)
    assert found.passed
    same = evidence(HONEST.note(), longer.note(), verifier=longer.verifier, leaves=leaves)
    assert not same.passed
    wrong = evidence(earlier.note(), longer.note(), verifier=longer.verifier, leaves=leaves[::-1])
    assert not wrong.passed


def test_what_proves_nothing_is_no_evidence() -> None:
    shorter = honest()
    shorter.bodies.pop()
    other = Log("fuel")
    earn(other, 5)
    for second in (HONEST.note(), shorter.note(), other.note(), b"nothing"):
        assert not evidence(HONEST.note(), second, verifier=HONEST.verifier).passed
