"""The clearing process over real sockets: its folder, its listeners, its settings."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import stat
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

from clearing import folder as folders
from clearing import main
from clearing import settings as settings_file
from comity.clock import SECOND, system_clock
from comity.errors import Conflict, LeaseHeld, Malformed, NotFound
from comity.keys import SigningKey
from comity.ledger.signer import LogSigner
from comity.rpc import authority as authorities
from comity.rpc import tls
from comity.rpc.channel import Channel, connect, stub
from comity.rpc.request_id import request_ids
from comity.rpc.tls import ClientTls
from comity.v1 import clearing_pb2, common_pb2, log_pb2, operator_pb2
from comity.v1.clearing_pb2_grpc import ClearingServiceStub
from comity.v1.log_pb2_grpc import LogServiceStub
from comity.v1.operator_pb2_grpc import OperatorServiceStub

NETWORK = "comity.example"


def made(path: Path) -> folders.Folder:
    return folders.create(
        path,
        network=NETWORK,
        peer_address="127.0.0.1:0",
        public_address="127.0.0.1:0",
        clock=system_clock,
        random=secrets.token_bytes,
    )


def test_a_folder_is_created_once_and_keeps_its_secrets(tmp_path: Path) -> None:
    folder = made(tmp_path / "clearing")
    again = folders.read(folder.path)
    assert again.signer.vkey == folder.signer.vkey
    assert again.config == folder.config
    for name in ("log.key", "ca.key", "tls.key", "operator.key", "secret.key"):
        assert not stat.S_IMODE((folder.path / name).stat().st_mode) & 0o077, name
    network = json_format.Parse(
        (folder.path / "network.json").read_text(), operator_pb2.NetworkConfig()
    )
    assert network == folder.config
    with pytest.raises(Conflict):
        made(folder.path)


def test_settings_come_from_the_folder_and_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made(tmp_path)
    assert folder.settings.rules.skew_us == 5 * SECOND
    monkeypatch.setenv("COMITY_CLEARING_SKEW_SECONDS", "7")
    assert settings_file.read(tmp_path).rules.skew_us == 7 * SECOND
    with pytest.raises(NotFound):
        settings_file.read(tmp_path / "nowhere")


def test_settings_nobody_knows_are_refused(tmp_path: Path) -> None:
    made(tmp_path)
    with (tmp_path / "settings.toml").open("a") as file:
        file.write('port = "7"\n')
    with pytest.raises(Malformed):
        settings_file.read(tmp_path)


class Running:
    """A clearing process inside this one."""

    def __init__(self, folder: folders.Folder, ports: Mapping[str, int]) -> None:
        self.folder = folder
        self.ports = ports

    def channel(self, *, key: Path | bytes | None = None, certificate: bytes = b"") -> Channel:
        listener = "peer" if certificate else "public"
        pem = key.read_bytes() if isinstance(key, Path) else key
        return connect(
            f"127.0.0.1:{self.ports[listener]}",
            tls=ClientTls(
                roots_pem=self.folder.authority.pem,
                server_name=tls.clearing(NETWORK).server_name,
                key_pem=pem,
                certificate_pem=certificate or None,
            ),
            new_request_id=request_ids(secrets.token_bytes),
        )

    def operator(self) -> Channel:
        path = self.folder.path
        return self.channel(
            key=path / "operator.key", certificate=(path / "operator.crt").read_bytes()
        )


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    folder = made(tmp_path / "clearing")
    ports: asyncio.Future[Mapping[str, int]] = asyncio.get_running_loop().create_future()
    process = asyncio.create_task(main.run(folder.path, ready=ports.set_result))
    either: list[asyncio.Future[Any]] = [process, ports]
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED, timeout=30)
    yield Running(folder, ports.result())
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(process, 30)


async def test_an_operator_admits_a_brand_which_then_pulses(running: Running) -> None:
    key = SigningKey.generate(secrets.token_bytes)
    signer = LogSigner(f"{NETWORK}/grocery", key)
    tls_key = tls.new_tls_key()
    request = authorities.create_request(tls.brand(NETWORK, "grocery"), tls_key, log_key=key)
    operator = running.operator()
    admitted = await stub(OperatorServiceStub, operator).AdmitParticipant(
        operator_pb2.AdmitParticipantRequest(
            id="1",
            certificate_request=request.pem,
            vkey=signer.vkey,
            binding=request.binding,
            peer_address="localhost:7500",
        )
    )
    assert admitted.network == running.folder.config
    brand = running.channel(key=tls.key_pem(tls_key), certificate=admitted.certificate)
    response = await stub(ClearingServiceStub, brand).Pulse(
        clearing_pb2.PulseRequest(heads=common_pb2.HeadExchange(now_us=system_clock()))
    )
    assert running.folder.signer.verify(response.heads.checkpoint)[0] >= 1
    anyone = running.channel()
    seen = await stub(LogServiceStub, anyone).GetCheckpoint(log_pb2.GetCheckpointRequest())
    assert seen.origin == running.folder.signer.origin
    for channel in (operator, brand, anyone):
        await channel.close()


async def test_a_second_process_on_the_same_folder_is_refused(running: Running) -> None:
    with pytest.raises(LeaseHeld):
        await main.run(running.folder.path)
