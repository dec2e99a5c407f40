"""The log keys in a node's folder: found by what they are, exchanged without a moment between."""

from __future__ import annotations

import os
import random as seeded
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

from comity import keys
from comity.errors import BadStatement, Conflict, ForeignLedger, LeaseHeld, LedgerFault, Malformed
from comity.keys import SigningKey
from comity.ledger import entries, exchange, guard, statements
from comity.ledger.engine import open_engine, writer
from comity.ledger.lease import this_process
from comity.ledger.store import LedgerStore
from comity.log.history import KeyHistory, rotation_message
from comity.log.merkle import leaf_hash
from comity.log.note import VerifierKey
from comity.log.tiles import TileTree
from comity.v1.entry_pb2 import Rotate
from comity.v1.operator_pb2 import (
    AdmitParticipantRequest,
    NetworkConfig,
    RotateParticipantKeyRequest,
)
from comity.v1.operator_pb2 import RotateParticipantKeyResponse as Answer
from node import rotation
from node.init import init
from node.log_keys import LogKeys
from node.settings import load_settings
from tests.brand import LEDGER, NETWORK, ORIGIN, START_US
from tests.unit.replay_log import Log

RANDOM = seeded.Random(7).randbytes
CLEARING = Log("clearing")


def made(folder: Path, **changes: Any) -> Path:
    init(
        folder,
        network=NETWORK,
        participant=LEDGER,
        clock=lambda: START_US,
        random=RANDOM,
        **changes,
    )
    config = NetworkConfig(network=NETWORK, clearing_vkey=CLEARING.signer.vkey)
    (folder / "network.json").write_text(json_format.MessageToJson(config))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return made(tmp_path / "node")


def prepare(folder: Path, **more: Any) -> RotateParticipantKeyRequest:
    plain: dict[str, Any] = {"passphrase": None, "random": RANDOM}
    found = rotation.prepare(folder, **(plain | more))
    return json_format.Parse(found.file.read_text(), RotateParticipantKeyRequest())


def told(asked: RotateParticipantKeyRequest, *, last_size: int, by: Log = CLEARING) -> Answer:
    """What the operator answers: ROTATE, proven in clearing's log."""
    body = Rotate(participant=LEDGER, vkey=asked.vkey, last_size=last_size)
    data = entries.encode(body, origin=by.origin, at_us=START_US)
    tree = TileTree(0, lambda level, index: b"")
    tree.append([leaf_hash(data)])
    note = by.signer.sign(1, tree.root())
    rotate = statements.make(data, index=0, hashes=(), checkpoint=note)
    return Answer(rotate=rotate, last_size=last_size)


def history_of(folder: Path) -> KeyHistory:
    engine = open_engine(load_settings(folder).url(folder))
    try:
        return exchange.keys_of(engine, LEDGER)
    finally:
        engine.dispose()


def opened(folder: Path, passphrase: str | None = None) -> int:
    """The size of the ledger, opened as a start does, with the next head signed."""
    files = LogKeys(folder, passphrase)
    signer = files.signer(ORIGIN)
    engine = open_engine(load_settings(folder).url(folder))
    try:
        guard.open_ledger(
            engine,
            ledger=LEDGER,
            network=NETWORK,
            signer=signer,
            holder="test",
            now_us=START_US,
            is_dead=lambda _: True,
            head_file=guard.HeadFile(folder / "head"),
        )
        size = LedgerStore(engine, LEDGER).head().size
    finally:
        engine.dispose()
    signer.verify(signer.sign(size + 1, bytes(32)))
    return size


def answer(folder: Path, given: Answer, passphrase: str | None = None) -> int:
    return rotation.answer(folder, given, passphrase=passphrase, clock=lambda: START_US)


def test_the_request_is_signed_by_both_keys_and_the_same_when_asked_again(folder: Path) -> None:
    asked = prepare(folder)
    assert prepare(folder) == asked
    before = history_of(folder).current
    assert before is not None
    message = rotation_message(str(before), asked.vkey)
    assert VerifierKey.parse(asked.vkey).verify(message, asked.new_signature)
    assert before.verify(message, asked.old_signature)
    assert not asked.HasField("last_size")
    assert asked.participant == LEDGER
    assert keys.look_at(folder / "log.key")[0] == before.public, "the old key signs as ever"


def test_a_stolen_key_signs_nothing_and_the_request_names_the_size(folder: Path) -> None:
    asked = prepare(folder, distrust=True)
    assert asked.old_signature == b""
    assert asked.HasField("last_size")
    assert asked.last_size == 0


def test_a_node_that_lost_its_key_goes_on_with_the_operators_answer(folder: Path) -> None:
    (folder / "log.key").unlink()
    asked = prepare(folder)
    assert asked.old_signature == b""
    with pytest.raises(ForeignLedger):
        opened(folder)
    given = told(asked, last_size=0)
    assert answer(folder, given) == 0
    assert answer(folder, given) == 0, "twice changes nothing"
    assert str(history_of(folder).current) == asked.vkey
    assert keys.look_at(folder / "log.key")[0] == VerifierKey.parse(asked.vkey).public
    assert opened(folder) == 0


def test_an_answer_that_clearing_did_not_sign_or_about_another_key_is_refused(
    folder: Path,
) -> None:
    asked = prepare(folder)
    with pytest.raises(BadStatement):
        answer(folder, told(asked, last_size=0, by=Log("fuel")))
    other = VerifierKey.of(ORIGIN, SigningKey(bytes(32)).public)
    stranger = RotateParticipantKeyRequest(vkey=str(other))
    with pytest.raises(Malformed, match="no such key"):
        answer(folder, told(stranger, last_size=0))
    elsewhere = VerifierKey.of("comity.example/fuel", SigningKey(bytes(32)).public)
    with pytest.raises(Malformed, match="no key of"):
        answer(folder, told(RotateParticipantKeyRequest(vkey=str(elsewhere)), last_size=0))
    assert not history_of(folder).retired


def test_without_the_old_key_an_exchange_beyond_the_log_is_refused(folder: Path) -> None:
    (folder / "log.key").unlink()
    with pytest.raises(Malformed, match="exchange the key at 0"):
        answer(folder, told(prepare(folder), last_size=50))


def test_a_node_that_serves_takes_no_answer(folder: Path) -> None:
    asked = prepare(folder)
    engine = open_engine(load_settings(folder).url(folder))
    guard.open_ledger(
        engine,
        ledger=LEDGER,
        network=NETWORK,
        signer=LogKeys(folder).signer(ORIGIN),
        holder=this_process("serving"),
        now_us=START_US,
        head_file=guard.HeadFile(folder / "head"),
    )
    with pytest.raises(LeaseHeld):
        answer(folder, told(asked, last_size=0))
    engine.dispose()


def test_the_next_exchange_waits_until_the_last_one_has_come_about(folder: Path) -> None:
    answer(folder, told(prepare(folder), last_size=5))
    with pytest.raises(Conflict, match="waits until"):
        prepare(folder)


def test_sealed_keys_are_exchanged_by_their_passphrase(tmp_path: Path) -> None:
    folder = made(tmp_path / "sealed", passphrase="correct horse")
    assert keys.look_at(folder / "log.key")[1]
    with pytest.raises(Malformed, match="COMITY_LOG_PASSPHRASE"):
        prepare(folder)
    asked = prepare(folder, passphrase="correct horse")
    assert keys.look_at(folder / "log.next.key")[1]
    answer(folder, told(asked, last_size=0), "correct horse")
    assert opened(folder, "correct horse") == 0


def test_an_exchange_that_dies_anywhere_between_two_renames_is_finished_by_the_next_start(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = prepare(folder)
    old = keys.look_at(folder / "log.key")[0]
    engine = open_engine(load_settings(folder).url(folder))
    history = history_of(folder).rotated(VerifierKey.parse(asked.vkey), 3)
    with writer(engine).begin() as connection:
        connection.exec_driver_sql("UPDATE ledgers SET vkey = ?", (str(history),))
    engine.dispose()

    class Killed(BaseException):
        pass

    def dying(call: Callable[..., object]) -> Callable[..., object]:
        def die(*arguments: object) -> None:
            raise Killed

        return die

    for name in ("link", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, dying(getattr(os, name)))
            with pytest.raises(Killed):
                LogKeys(folder).settle(history)
        assert opened(folder) == 0, f"killed at {name}"
        assert LogKeys(folder).holds(old)
    LogKeys(folder).settle(history)
    LogKeys(folder).settle(history)
    assert sorted(path.name for path in folder.glob("log*.key")) == [
        f"log.{old.key_id}.key",
        "log.key",
    ]
    signer = LogKeys(folder).signer(ORIGIN)
    signer.learn(history)
    assert (signer.can_sign(3), signer.can_sign(4)) == (True, True)
    (folder / f"log.{old.key_id}.key").unlink()
    signer = LogKeys(folder).signer(ORIGIN)
    signer.learn(history)
    assert signer.can_sign(4)
    with pytest.raises(LedgerFault, match="put its file back"):
        signer.sign(3, bytes(32))


def test_certificates_are_renewed_by_the_key_that_signs_now(folder: Path) -> None:
    before = json_format.Parse((folder / "request.json").read_text(), AdmitParticipantRequest())
    asked = prepare(folder)
    answer(folder, told(asked, last_size=0))
    for _ in range(2):
        rotation.renew_request(folder, LogKeys(folder), history_of(folder))
    after = json_format.Parse((folder / "request.json").read_text(), AdmitParticipantRequest())
    assert (after.vkey, after.peer_address) == (asked.vkey, before.peer_address)
    assert after.id != before.id
    assert after.binding != before.binding
