"""A node's folder: what init makes, what join puts in, what settings say."""

from __future__ import annotations

import json
import random as seeded
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from sqlalchemy.exc import OperationalError

from comity import keys
from comity.errors import ComityError, Conflict, Malformed, NotFound
from comity.ledger.engine import open_engine
from comity.log.note import VerifierKey
from comity.rpc.authority import Authority, CertificateRequest, create_ca, issue_certificate
from comity.rpc.caller import CallerKind
from comity.rpc.tls import brand
from comity.v1 import operator_pb2
from node.init import Created, init, join
from node.members import key_name
from node.programme import read_programme
from node.settings import load_settings
from node.store import NodeStore
from tests.brand import LEDGER, NETWORK, ORIGIN, START_US


def create(folder: Path, **changes: Any) -> Created:
    names: dict[str, Any] = {
        "network": NETWORK,
        "participant": LEDGER,
        "display_name": "Grocery",
    } | changes
    return init(folder, **names, clock=lambda: START_US, random=seeded.Random(1).randbytes)


def request_of(folder: Path) -> operator_pb2.AdmitParticipantRequest:
    text = (folder / "request.json").read_text()
    return json_format.Parse(text, operator_pb2.AdmitParticipantRequest())


def admit(
    folder: Path, authority: Authority, *, network: str = NETWORK
) -> operator_pb2.AdmitParticipantResponse:
    """What the operator answers to the folder's request."""
    asked = request_of(folder)
    certificate = issue_certificate(
        authority,
        CertificateRequest(pem=asked.certificate_request, binding=asked.binding),
        expect=brand(NETWORK, LEDGER),
        log_key=VerifierKey.parse(asked.vkey).public,
        clock=lambda: START_US,
    )
    return operator_pb2.AdmitParticipantResponse(
        certificate=certificate,
        network=operator_pb2.NetworkConfig(network=network, ca_certificate=authority.pem),
    )


def test_init_makes_a_folder_that_is_ready_for_admission(tmp_path: Path) -> None:
    folder = tmp_path / "grocery"
    created = create(folder)
    assert created.origin == ORIGIN
    assert {one.name for one in folder.iterdir()} >= {
        "settings.toml",
        "programme.yaml",
        "log.key",
        "secret.key",
        "tls.key",
        "manager.key",
        "request.json",
        "node.db",
    }
    for secret in ("log.key", "secret.key", "tls.key", "manager.key"):
        assert (folder / secret).stat().st_mode & 0o077 == 0
    assert request_of(folder).vkey == created.vkey
    assert created.vkey.startswith(ORIGIN)
    settings = load_settings(folder)
    assert (settings.origin, settings.display_name) == (ORIGIN, "Grocery")
    read_programme((folder / "programme.yaml").read_bytes())


def test_the_first_manager_may_open_a_session(tmp_path: Path) -> None:
    created = create(tmp_path / "grocery")
    assert created.manager_key is not None
    key = keys.load(created.manager_key)
    engine = open_engine(f"sqlite:///{created.folder / 'node.db'}")
    found = NodeStore(engine, LEDGER).registered_key(key_name(key.public.raw))
    engine.dispose()
    assert found is not None
    assert (found.kind.value, found.subject) == ("manager", "owner")


def test_a_node_is_created_once(tmp_path: Path) -> None:
    create(tmp_path)
    before = {one.name: one.read_bytes() for one in tmp_path.iterdir()}
    with pytest.raises(Conflict):
        create(tmp_path)
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    "wrong",
    [
        {"participant": "Grocery"},
        {"network": "no network"},
        {"peer_address": "somewhere"},
        {"database_url": "sqlite:////nowhere/at/all/node.db"},
    ],
)
def test_a_wrong_name_or_address_creates_nothing(tmp_path: Path, wrong: dict[str, str]) -> None:
    with pytest.raises((ComityError, OperationalError)):
        create(tmp_path / "node", **wrong)
    assert [*(tmp_path / "node").iterdir()] == []


def test_join_takes_the_answer_to_its_own_request_only(tmp_path: Path) -> None:
    authority = create_ca(NETWORK, clock=lambda: START_US)
    create(tmp_path / "a")
    answer = admit(tmp_path / "a", authority)
    join(tmp_path / "a", answer)
    assert (tmp_path / "a" / "tls.crt").read_bytes() == answer.certificate
    told = json.loads((tmp_path / "a" / "network.json").read_text())
    assert told["network"] == NETWORK
    init(
        tmp_path / "b",
        network=NETWORK,
        participant=LEDGER,
        clock=lambda: START_US,
        random=seeded.Random(2).randbytes,
    )
    with pytest.raises(Malformed, match="another key"):
        join(tmp_path / "b", answer)
    with pytest.raises(Malformed, match="network"):
        join(tmp_path / "a", admit(tmp_path / "a", authority, network="other.example"))


def test_settings_come_from_the_file_and_the_environment_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(tmp_path)
    assert load_settings(tmp_path).sweep_seconds == 60.0
    monkeypatch.setenv("COMITY_NODE_SWEEP_SECONDS", "5")
    assert load_settings(tmp_path).sweep_seconds == 5.0
    monkeypatch.setenv("COMITY_NODE_CALLS_PER_SECOND", '{"member": 7}')
    assert load_settings(tmp_path).calls_per_second == {CallerKind.MEMBER: 7}
    for name, wrong in (
        ("SWEEP_SECONDS", "0"),
        ("IDLE_PULSE_SECONDS", "0"),
        ("FOLLOW_WAIT_SECONDS", "20.1"),
        ("FAILURES_AT_ONCE", "0"),
        ("CALLS_PER_SECOND", '{"members": 7}'),
        ("CALLS_PER_SECOND", '{"member": 0}'),
    ):
        with monkeypatch.context() as patch:
            patch.setenv(f"COMITY_NODE_{name}", wrong)
            with pytest.raises(Malformed, match=name.lower()):
                load_settings(tmp_path)


def test_a_mistake_in_the_settings_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="node init"):
        load_settings(tmp_path)
    create(tmp_path / "a")
    file = tmp_path / "a" / "settings.toml"
    file.write_text(file.read_text() + "swep_seconds = 3\n")
    with pytest.raises(Malformed, match="swep_seconds"):
        load_settings(tmp_path / "a")
    file.write_text("network = ")
    with pytest.raises(Malformed, match="not TOML"):
        load_settings(tmp_path / "a")
