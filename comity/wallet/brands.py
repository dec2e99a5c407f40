"""The brands and networks a wallet knows: where they are, whose key signs their logs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from google.protobuf import json_format

from comity.errors import BadStatement, Malformed
from comity.log.checkpoint import open_checkpoint
from comity.log.history import KeyHistory
from comity.v1.log_pb2 import GetCheckpointResponse
from comity.v1.operator_pb2 import NetworkConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network as its brands describe it. Empty fields were not told."""

    name: str
    roots_pem: str
    clearing_origin: str = ""
    clearing_vkey: str = ""
    clearing_address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Brand:
    """A brand: known by its log's origin, `<network>/<participant>`.

    `account` is empty while its member has not enrolled there; `enrolment_id` is set before the
    enrolment is sent, so that a retry after a crash finds the same account. While the brand has
    to decide, `awaits` is what it waits for, approval or payment, and `applied` the account that
    the member is going to have.
    """

    origin: str
    vkey: str
    address: str
    server_name: str = ""
    account: str = ""
    key_id: str = ""
    enrolment_id: str = ""
    awaits: str = ""
    applied: str = ""

    @property
    def network(self) -> str:
        return self.origin.rpartition("/")[0]

    @property
    def participant(self) -> str:
        return self.origin.rpartition("/")[2]

    @property
    def enrolled(self) -> bool:
        return bool(self.account)


def introduced(
    answer: GetCheckpointResponse, *, address: str, server_name: str, roots_pem: str
) -> tuple[Brand, Network]:
    """The brand which answers so at `address`, and its network; BadStatement if it contradicts
    itself."""
    network, _, participant = answer.origin.rpartition("/")
    if not network or not participant:
        raise BadStatement(f"{address} names its log {answer.origin!r}, which no brand is.")
    keys = KeyHistory.parse(answer.keys or answer.vkey)
    if answer.checkpoint:
        open_checkpoint(answer.checkpoint, origin=answer.origin, verifier=keys)
    brand = Brand(origin=answer.origin, vkey=str(keys), address=address, server_name=server_name)
    config = NetworkConfig()
    if answer.network.lstrip().startswith("{"):
        try:
            json_format.Parse(answer.network, config, ignore_unknown_fields=True)
        except json_format.ParseError as error:
            raise BadStatement(f"{address} describes its network in no known form.") from error
        if config.network != network:
            raise BadStatement(
                f"{answer.origin} describes the network {config.network}, which is not its own."
            )
    return brand, Network(
        name=network,
        roots_pem=roots_pem,
        clearing_origin=config.clearing_origin,
        clearing_vkey=config.clearing_vkey,
        clearing_address=config.clearing_public_address,
    )


def merged(known: Network | None, told: Network) -> Network:
    """What is known of a network after a brand told of it.

    Raises BadStatement if two brands name different clearing keys: one of them lies, and a
    receipt could then not be judged.
    """
    if known is None:
        return told
    for field in ("clearing_origin", "clearing_vkey"):
        before, now = getattr(known, field), getattr(told, field)
        if before and now and before != now:
            raise BadStatement(
                f"This brand names another {field.replace('_', ' ')} for {told.name} than the "
                "brands before it; ask the network's operator which one is right."
            )
    return Network(
        name=known.name,
        roots_pem=told.roots_pem or known.roots_pem,
        clearing_origin=known.clearing_origin or told.clearing_origin,
        clearing_vkey=known.clearing_vkey or told.clearing_vkey,
        clearing_address=told.clearing_address or known.clearing_address,
    )


def brand_json(brand: Brand) -> dict[str, Any]:
    return asdict(brand)


def read_brand(content: dict[str, Any]) -> Brand:
    try:
        return Brand(**content)
    except TypeError:
        raise _damaged() from None


def network_json(network: Network) -> dict[str, Any]:
    return asdict(network)


def read_network(content: dict[str, Any]) -> Network:
    try:
        return Network(**content)
    except TypeError:
        raise _damaged() from None


def _damaged() -> Malformed:
    return Malformed("The wallet file is damaged; restore it from a copy.")
