"""A node's folder, read: what a start needs, or which piece is missing (see `node.init`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from google.protobuf import json_format

from comity.errors import Malformed, NotFound
from comity.ledger.guard import HeadFile
from comity.ledger.signer import LogSigner
from comity.rpc import tls
from comity.rpc.limits import Rates
from comity.rpc.tls import ClientTls, ServerTls
from comity.rpc.tokens import ServerSecret
from comity.v1.operator_pb2 import NetworkConfig
from node.build import Brand, Limits
from node.log_keys import LogKeys, passphrase_from
from node.open_holds import HoldLimits
from node.programme import ProgrammeFile, read_programme
from node.sandbox import check_sandbox
from node.settings import NodeSettings, load_settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """The contents of the folder of a node that has joined a network."""

    path: Path
    settings: NodeSettings
    programme: ProgrammeFile
    signer: LogSigner
    log_keys: LogKeys
    secret: ServerSecret
    config: NetworkConfig
    tls_key: bytes
    tls_certificate: bytes

    @property
    def url(self) -> str:
        """The database's URL."""
        return self.settings.url(self.path)

    @property
    def head_file(self) -> HeadFile:
        """Where the last signed head is kept."""
        return HeadFile(self.path / "head")

    @property
    def brand(self) -> Brand:
        """Who this node is."""
        return Brand(
            network=self.settings.network,
            participant=self.settings.participant,
            programme=self.programme,
            clearing_vkey=self.config.clearing_vkey,
        )

    @property
    def limits(self) -> Limits:
        """What the settings allow it."""
        settings = self.settings
        return Limits(
            sweep_s=settings.sweep_seconds,
            redeem_wait_s=settings.redeem_wait_seconds,
            follow_wait_s=settings.follow_wait_seconds,
            open_redemptions=settings.open_redemptions,
            open_holds=HoldLimits(
                per_member=settings.open_holds_per_member,
                per_acceptor=settings.open_holds_per_acceptor,
            ),
            batch=settings.batch_limit,
            queue=settings.queue_limit,
            idle_pulse_s=settings.idle_pulse_seconds,
            rates=Rates(
                calls_per_second=settings.calls_per_second,
                failures_per_second=settings.failures_per_second,
                failures_at_once=settings.failures_at_once,
            ),
        )

    def server_tls(self, *, peers_only: bool) -> ServerTls:
        """What a listener shows; `peers_only` demands certificates of the network."""
        return ServerTls(
            key_pem=self.tls_key,
            certificate_pem=self.tls_certificate,
            client_roots_pem=self.config.ca_certificate if peers_only else None,
        )

    def client_tls(self, server: tls.Subject) -> ClientTls:
        """How to call one organisation's peer listener, and no other."""
        return ClientTls(
            roots_pem=self.config.ca_certificate,
            server_name=server.server_name,
            key_pem=self.tls_key,
            certificate_pem=self.tls_certificate,
        )


def read(path: Path) -> Folder:
    """The folder at `path`. Raises NotFound or Malformed with what is missing or wrong."""
    settings = load_settings(path)
    for name in ("tls.crt", "network.json"):
        if not (path / name).is_file():
            raise NotFound(
                f"{path} has no {name}: this node has not joined its network. Send request.json "
                "to the operator, and give the answer to `comity node join`."
            )
    programme = path / "programme.yaml"
    if not programme.is_file():
        raise NotFound(f"{path} has no programme.yaml; restore it, or write the programme anew.")
    try:
        config = json_format.Parse((path / "network.json").read_text("utf-8"), NetworkConfig())
    except json_format.ParseError as error:
        raise Malformed(f"{path / 'network.json'} is damaged; join the network again.") from error
    log_keys = LogKeys(path, passphrase_from())
    stated = read_programme(programme.read_bytes())
    check_sandbox(stated.programme, settings.network)
    return Folder(
        path=path,
        settings=settings,
        programme=stated,
        signer=log_keys.signer(settings.origin),
        log_keys=log_keys,
        secret=ServerSecret(tls.load_private(path / "secret.key")),
        config=config,
        tls_key=tls.load_private(path / "tls.key"),
        tls_certificate=(path / "tls.crt").read_bytes(),
    )
