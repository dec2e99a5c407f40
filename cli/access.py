"""How staff reach their servers: from a node's or clearing's folder, or from files given by hand.

A till on another machine has no node folder: it names address, CA certificate, origin and key.
The origin is never taken from the server, because the session key signs it.
"""

from __future__ import annotations

import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from google.protobuf import json_format

from comity import keys
from comity.client.connection import Server, connect, connect_peer
from comity.client.merchant import MerchantClient
from comity.client.office import OfficeClient
from comity.client.operator import OperatorClient
from comity.client.programme import ProgrammeClient
from comity.errors import Malformed, NotFound
from comity.rpc.channel import Channel
from comity.rpc.tls import ClientTls, load_private
from comity.rpc.tls import clearing as clearing_subject
from comity.v1.operator_pb2 import NetworkConfig

SETTINGS: Final = "settings.toml"
NETWORK: Final = "network.json"
MANAGER_KEY: Final = "manager.key"
OPERATOR_KEY: Final = "operator.key"
OPERATOR_CERTIFICATE: Final = "operator.crt"
CA_CERTIFICATE: Final = "ca.crt"

Key = Annotated[
    Path | None,
    typer.Option("--key", envvar="COMITY_KEY", help="A till's or manager's key file."),
]
Address = Annotated[
    str, typer.Option("--address", help="The node's public address, without its folder.")
]
Ca = Annotated[
    Path | None, typer.Option("--ca", help="The network's CA certificate, without a folder.")
]
Origin = Annotated[
    str, typer.Option("--origin", help="The brand's log, network/brand, without its folder.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Staff:
    """Where a merchant command goes, as the options say."""

    node: Path
    key: Path | None = None
    address: str = ""
    ca: Path | None = None
    origin: str = ""


def read_settings(folder: Path) -> dict[str, Any]:
    """The settings of a node or of clearing. Raises NotFound, or Malformed."""
    path = folder / SETTINGS
    if not path.is_file():
        raise NotFound(
            f"{folder} is no folder of a node or of clearing: it has no {SETTINGS}. Name the "
            "right one, or make one with `init`."
        )
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise Malformed(f"{path} is not TOML: {error}.") from None


def read_network(folder: Path) -> NetworkConfig:
    """The network a node has joined. Raises NotFound before it has."""
    path = folder / NETWORK
    if not path.is_file():
        raise NotFound(
            f"The node in {folder} has joined no network yet; run `comity node join` with what "
            "the operator sent."
        )
    try:
        return json_format.Parse(path.read_text("utf-8"), NetworkConfig())
    except json_format.ParseError as error:
        raise Malformed(f"{path} is damaged: {error}") from None


def dialled(listen: str) -> str:
    """The address to call a listener of this machine at."""
    host, _, port = listen.rpartition(":")
    return f"localhost:{port}" if host in ("", "0.0.0.0", "[::]", "::") else listen  # noqa: S104


def node_server(staff: Staff) -> Server:
    """The public listener of a merchant command's node."""
    if staff.address and staff.ca and staff.origin:
        return Server(address=staff.address, roots_pem=staff.ca.read_bytes(), origin=staff.origin)
    settings = read_settings(staff.node)
    network = read_network(staff.node)
    return Server(
        address=staff.address or dialled(public_address(settings)),
        roots_pem=network.ca_certificate,
        origin=staff.origin or f"{network.network}/{participant(settings)}",
    )


def participant(settings: dict[str, Any]) -> str:
    """The brand's id in a node's settings."""
    return str(settings["participant"])


def public_address(settings: dict[str, Any]) -> str:
    """Where a node's or clearing's public listener listens."""
    return str(settings["public_address"])


def peer_address(settings: dict[str, Any]) -> str:
    """Where a node's or clearing's peer listener listens."""
    return str(settings["peer_address"])


def database_of(folder: Path, settings: dict[str, Any]) -> str:
    """The database of a node's or clearing's folder: a URL or a SQLite file."""
    file = "node.db" if "participant" in settings else "clearing.db"
    return str(settings.get("database_url") or folder / file)


@asynccontextmanager
async def merchant(staff: Staff) -> AsyncIterator[MerchantClient]:
    """A client in a session of the staff key."""
    channel = _session(staff)
    try:
        yield MerchantClient(channel)
    finally:
        await channel.close()


@asynccontextmanager
async def office(staff: Staff) -> AsyncIterator[OfficeClient]:
    """A client for operating the programme, in a session of the staff key."""
    channel = _session(staff)
    try:
        yield OfficeClient(channel)
    finally:
        await channel.close()


@asynccontextmanager
async def programme(staff: Staff) -> AsyncIterator[ProgrammeClient]:
    """A client for the programme at work, in a session of the staff key."""
    channel = _session(staff)
    try:
        yield ProgrammeClient(channel)
    finally:
        await channel.close()


def _session(staff: Staff) -> Channel:
    key = keys.load(staff.key or staff.node / MANAGER_KEY)
    return connect(node_server(staff), key=key)


@asynccontextmanager
async def operator(folder: Path, address: str = "") -> AsyncIterator[OperatorClient]:
    """A client with the operator's certificate in the clearing folder."""
    channel = operator_channel(folder, address)
    try:
        yield OperatorClient(channel)
    finally:
        await channel.close()


def operator_channel(folder: Path, address: str = "") -> Channel:
    settings = read_settings(folder)
    tls = ClientTls(
        roots_pem=(folder / CA_CERTIFICATE).read_bytes(),
        server_name=clearing_subject(str(settings["network"])).server_name,
        key_pem=load_private(folder / OPERATOR_KEY),
        certificate_pem=(folder / OPERATOR_CERTIFICATE).read_bytes(),
    )
    return connect_peer(address or dialled(peer_address(settings)), tls=tls)
