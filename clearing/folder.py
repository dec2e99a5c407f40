"""The clearing folder: what `init` writes into it, and what a start reads from it.

settings.toml                addresses, limits, the database's URL
log.key                      the log's Ed25519 key
secret.key                   seals sessions
ca.key ca.crt                the operator's certificate authority
tls.key tls.crt              the listeners'
operator.key operator.crt    whom the operator's staff call as
network.json                 what a brand needs to join; no secret
clearing.db head             the ledger, and the last head it signed
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import json_format

from clearing import settings as settings_file
from clearing import tables
from clearing.build import LEDGER, origin_of
from clearing.settings import Settings
from comity import keys
from comity.clock import Clock
from comity.errors import Conflict, Malformed
from comity.keys import Random, SigningKey
from comity.ledger import guard, migrate
from comity.ledger.engine import opened
from comity.ledger.guard import HeadFile
from comity.ledger.signer import LogSigner
from comity.rpc import authority as authorities
from comity.rpc import tls
from comity.rpc.authority import Authority
from comity.rpc.tls import ServerTls
from comity.rpc.tokens import SECRET_BYTES, ServerSecret
from comity.v1.operator_pb2 import NetworkConfig

MIGRATIONS = Path(__file__).parent / "migrations"
OPERATOR = "operator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """The contents of a clearing folder, read."""

    path: Path
    settings: Settings
    signer: LogSigner
    secret: ServerSecret
    authority: Authority
    tls_key: bytes
    tls_certificate: bytes
    config: NetworkConfig

    @property
    def url(self) -> str:
        return self.settings.url(self.path)

    @property
    def head_file(self) -> HeadFile:
        return HeadFile(self.path / "head")

    def server_tls(self, *, peers_only: bool) -> ServerTls:
        """What a listener shows; `peers_only` demands certificates of the network."""
        return ServerTls(
            key_pem=self.tls_key,
            certificate_pem=self.tls_certificate,
            client_roots_pem=self.authority.pem if peers_only else None,
        )


def create(
    path: Path,
    *,
    network: str,
    peer_address: str,
    public_address: str,
    clock: Clock,
    random: Random,
    database_url: str = "",
    operators: Sequence[str] = (OPERATOR,),
) -> Folder:
    """Make a clearing folder with keys, certificates and an empty ledger, and read it.

    The first of `operators` gets `operator.key` and `operator.crt`, any other `<name>.key` and
    `<name>.crt`. Raises Conflict if the folder holds settings already, Malformed for a network
    or address that cannot be one.
    """
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    if (path / settings_file.FILE).exists():
        raise Conflict(f"{path} is a clearing folder already; start it, or name another folder.")
    for address in (peer_address, public_address):
        if not address.rpartition(":")[2].isdigit():
            raise Malformed(f"{address} is no address; write host:port.")
    signer = LogSigner(origin_of(network), _new_log_key(path, random))
    tls.save_private(path / "secret.key", random(SECRET_BYTES))
    authority = authorities.create_ca(network, clock=clock)
    tls.save_private(path / "ca.key", tls.key_pem(authority.key))
    (path / "ca.crt").write_bytes(authority.pem)
    log_key = keys.load(path / "log.key")
    hosts = {
        host.rpartition(":")[0].strip("[]") or "localhost"
        for host in (peer_address, public_address)
    }
    _certify(path, "tls", tls.clearing(network), authority, clock, log_key=log_key, hosts=hosts)
    for place, name in enumerate(operators):
        file = OPERATOR if place == 0 else name
        _certify(path, file, tls.operator(network, name), authority, clock)
    config = NetworkConfig(
        network=network,
        clearing_origin=signer.origin,
        clearing_vkey=signer.vkey,
        clearing_peer_address=peer_address,
        clearing_public_address=public_address,
        ca_certificate=authority.pem,
    )
    (path / "network.json").write_text(json_format.MessageToJson(config), "utf-8")
    url = database_url or f"sqlite:///{path / 'clearing.db'}"
    with opened(url) as engine:
        migrate.create_or_upgrade(engine, tables.metadata, MIGRATIONS)
        guard.init_ledger(
            engine,
            ledger=LEDGER,
            network=network,
            signer=signer,
            now_us=clock(),
            head_file=HeadFile(path / "head"),
        )
    # Last, because this file makes the folder one that can be started.
    _write_settings(path, network, peer_address, public_address, database_url)
    return read(path)


def read(path: Path) -> Folder:
    """A clearing folder. Raises NotFound or Malformed with what is missing or wrong."""
    settings = settings_file.read(path)
    authority = authorities.load_ca(
        certificate_pem=(path / "ca.crt").read_bytes(), key_pem=tls.load_private(path / "ca.key")
    )
    signer = LogSigner(origin_of(settings.network), keys.load(path / "log.key"))
    return Folder(
        path=path,
        settings=settings,
        signer=signer,
        secret=ServerSecret(tls.load_private(path / "secret.key")),
        authority=authority,
        tls_key=tls.load_private(path / "tls.key"),
        tls_certificate=(path / "tls.crt").read_bytes(),
        config=NetworkConfig(
            network=settings.network,
            clearing_origin=signer.origin,
            clearing_vkey=signer.vkey,
            clearing_peer_address=settings.advertised_peer_address or settings.peer_address,
            clearing_public_address=(settings.advertised_public_address or settings.public_address),
            ca_certificate=authority.pem,
        ),
    )


def _new_log_key(path: Path, random: Random) -> SigningKey:
    key = SigningKey.generate(random)
    keys.save(path / "log.key", key, random=random)
    return key


def _certify(
    path: Path,
    name: str,
    subject: tls.Subject,
    authority: Authority,
    clock: Clock,
    *,
    log_key: SigningKey | None = None,
    hosts: set[str] | None = None,
) -> None:
    key = tls.new_tls_key()
    request = authorities.create_request(subject, key, log_key=log_key)
    certificate = authorities.issue_certificate(
        authority,
        request,
        expect=subject,
        log_key=log_key.public if log_key is not None else None,
        clock=clock,
        names=tuple(dict.fromkeys((*authorities.LOCAL_NAMES, *sorted(hosts or ())))),
    )
    tls.save_private(path / f"{name}.key", tls.key_pem(key))
    (path / f"{name}.crt").write_bytes(certificate)


def _write_settings(
    path: Path, network: str, peer_address: str, public_address: str, database_url: str
) -> None:
    lines = {
        "network": network,
        "peer_address": peer_address,
        "public_address": public_address,
    }
    if database_url:
        lines["database_url"] = database_url
    text = "".join(f'{name} = "{value}"\n' for name, value in lines.items())
    partial = path / f".{settings_file.FILE}"
    partial.write_text(text, "utf-8")
    os.replace(partial, path / settings_file.FILE)
