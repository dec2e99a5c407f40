"""Everybody who could call a listener: with real certificates and sessions, and with none.

A *place* is a listener of one organisation, such as `anise/peer`. A *caller* there is a channel
over TLS which sends bytes as they are, so that what no client of ours would send can be sent.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

import pytest
from google.protobuf.message import Message

from clearing import folder as clearing_folders
from cli.access import MANAGER_KEY, peer_address, read_settings
from comity import keys
from comity.client.connection import Server, connect, connect_peer, new_request_id
from comity.client.session import Session, SessionChannel
from comity.clock import MINUTE, Clock, system_clock
from comity.errors import ComityError
from comity.keys import SigningKey
from comity.rpc import authority, tls
from comity.rpc.authority import Authority
from comity.rpc.caller import Caller, CallerKind
from comity.rpc.channel import Channel
from comity.rpc.channel import connect as connect_tls
from comity.rpc.tls import ClientTls, Subject
from comity.rpc.tokens import ServerSecret, TokenIssuer
from comity.v1.log_pb2 import GetCheckpointRequest, GetCheckpointResponse
from tests.e2e.crash_stage import ACCEPTOR, CLEARING, ISSUER, Stage

CALLS_PER_SECOND: Final = 100_000
ORGANISATIONS: Final = (ISSUER, ACCEPTOR, CLEARING)
PLACES: Final = tuple(f"{name}/{kind}" for name in ORGANISATIONS for kind in ("peer", "public"))

PEERS: Final[Mapping[str, CallerKind]] = {
    "brand": CallerKind.BRAND,
    "operator": CallerKind.OPERATOR,
    "clearing": CallerKind.CLEARING,
}
"""Who holds a certificate of the network. `brand` is the other brand of the two."""

STAFF: Final[Mapping[str, CallerKind]] = {
    "anonymous": CallerKind.ANONYMOUS,
    "member": CallerKind.MEMBER,
    "till": CallerKind.TILL,
    "manager": CallerKind.MANAGER,
    "auditor": CallerKind.AUDITOR,
}
"""Who opens sessions at a node's public listener."""

PUBLIC_AT_CLEARING: Final = {name: STAFF[name] for name in ("anonymous", "auditor")}


class Outsider(Enum):
    """Callers whose credentials do not hold; the value says what is wrong with them."""

    NOT_ADMITTED = "a brand certified by the network's authority and never admitted"
    OTHER_KEY = "an admitted brand's name over another key"
    OTHER_NETWORK = "a certificate of the same authority which names another network"
    NO_CERTIFICATE = "nobody: a peer listener asks for a certificate"
    FOREIGN_AUTHORITY = "an admitted brand's name certified by an authority of one's own"
    OTHER_SERVER = "a manager's session of another brand"
    EXPIRED = "a session that has ended"
    INVENTED = "a token sealed with another secret"


@contextlib.contextmanager
def unhurried() -> Iterator[None]:
    """Servers which start meanwhile let everybody ask as often as these tests do."""
    rates = json.dumps({kind.value: CALLS_PER_SECOND for kind in CallerKind})
    with pytest.MonkeyPatch.context() as patch:
        for prefix in ("NODE", "CLEARING"):
            patch.setenv(f"COMITY_{prefix}_CALLS_PER_SECOND", rates)
        yield


NO_HANDSHAKE: Final = frozenset({Outsider.NO_CERTIFICATE, Outsider.FOREIGN_AUTHORITY})
AT_PEER: Final = tuple(Outsider)[:5]
AT_PUBLIC: Final = tuple(Outsider)[5:]


def kinds_at(place: str) -> Mapping[str, CallerKind]:
    """Who can call a place with credentials that hold."""
    name, _, listener = place.partition("/")
    if listener == "peer":
        return PEERS
    return PUBLIC_AT_CLEARING if name == CLEARING else STAFF


def outsiders_at(place: str) -> tuple[Outsider, ...]:
    """Who can call a place with credentials that do not hold."""
    return AT_PEER if place.endswith("/peer") else AT_PUBLIC


@dataclass(slots=True)
class Callers:
    """The callers of one network; `made` makes it, once staff and auditors are registered."""

    stage: Stage
    staff: dict[tuple[str, str], SigningKey]
    """Keys by organisation and role."""
    _channels: dict[tuple[str, str], Channel] = field(default_factory=dict)

    @classmethod
    async def made(cls, stage: Stage) -> Callers:
        """Registers a till and an auditor at both brands, and an auditor at clearing."""
        network, staff = stage.network, {}
        for brand in (ISSUER, ACCEPTOR):
            staff[brand, "manager"] = keys.load(network.home(brand) / MANAGER_KEY)
            staff[brand, "member"] = stage.wallet.store.key(stage.brands[brand])
            for role in ("till", "auditor"):
                key = staff[brand, role] = SigningKey.generate(secrets.token_bytes)
                await network.add_staff(brand, role=role, name=f"{role}-one", key=key)
        key = staff[CLEARING, "auditor"] = SigningKey.generate(secrets.token_bytes)
        await network.operator.admit_auditor(
            id="auditor", auditor="auditor-one", public_key=key.public.raw
        )
        return cls(stage, staff)

    async def send(
        self, place: str, who: str | Outsider, rpc: str, request: bytes, *, timeout: float = 20.0
    ) -> bytes:
        """The answer to `comity.v1.<Service>/<Rpc>`; raises the ComityError it was refused with."""
        call = self.channel(place, who).unary_unary(f"/{rpc}", _as_it_is, _as_it_is)
        return bytes(await call(request, timeout=timeout))

    async def refusal(
        self, place: str, who: str | Outsider, rpc: str, request: bytes
    ) -> ComityError | None:
        """What the call was refused with; None if it was answered."""
        try:
            await self.send(place, who, rpc, request)
        except ComityError as error:
            return error
        return None

    async def sizes(self) -> dict[str, int]:
        """How many entries each log has, by its newest published checkpoint."""
        found = {}
        for name in ORGANISATIONS:
            answer = await self.send(
                f"{name}/public",
                "anonymous",
                "comity.v1.LogService/GetCheckpoint",
                GetCheckpointRequest().SerializeToString(),
            )
            checkpoint = GetCheckpointResponse.FromString(answer).checkpoint
            found[name] = int(checkpoint.split(b"\n")[1])
        return found

    # --- channels ---------------------------------------------------------------------

    def channel(self, place: str, who: str | Outsider) -> Channel:
        """The channel of a caller at a place; it is closed with the network."""
        at = (place, who if isinstance(who, str) else who.name)
        if at not in self._channels:
            name, _, listener = place.partition("/")
            open_it = self._peer if listener == "peer" else self._public
            self._channels[at] = self.stage.network.closed_at_end(open_it(name, who))
        return self._channels[at]

    def _public(self, name: str, who: str | Outsider) -> Channel:
        server = self.stage.network.server(name)
        if isinstance(who, Outsider):
            return self._with_token(server, self._bad_token(name, who))
        if who == "anonymous":
            return connect(server)
        channel = connect(server)
        session = Session(
            channel, key=self.staff[name, who], origin=server.origin, clock=system_clock
        )
        return SessionChannel(channel, session)

    def _with_token(self, server: Server, token: str) -> Channel:
        return connect_tls(
            server.address,
            tls=ClientTls(roots_pem=server.roots_pem),
            new_request_id=new_request_id,
            bearer_token=lambda: token,
        )

    def _bad_token(self, name: str, who: Outsider) -> str:
        other = ACCEPTOR if name != ACCEPTOR else ISSUER
        if who is Outsider.OTHER_SERVER:
            return self._token(other, system_clock)
        if who is Outsider.EXPIRED:
            return self._token(name, lambda: system_clock() - 30 * MINUTE)
        return self._token(name, system_clock, ServerSecret(secrets.token_bytes(32)))

    def _token(self, name: str, clock: Clock, secret: ServerSecret | None = None) -> str:
        """A manager's token as the named server issues it, from its own secret if none is given."""
        secret = secret or self.secret(name)
        issuer = TokenIssuer(origin=self.stage.network.origin(name), secret=secret, clock=clock)
        caller = Caller(kind=CallerKind.MANAGER, id="manager", key_hash=bytes(32))
        return issuer.issue(caller).text

    def secret(self, name: str) -> ServerSecret:
        """The secret with which a server seals what it wants to know again."""
        return ServerSecret(tls.load_private(self.stage.network.home(name) / "secret.key"))

    def _peer(self, name: str, who: str | Outsider) -> Channel:
        network = self.stage.network
        subject = tls.clearing(network.name) if name == CLEARING else tls.brand(network.name, name)
        address = peer_address(read_settings(network.home(name)))
        if who is Outsider.NO_CERTIFICATE:
            return connect_tls(
                address,
                tls=ClientTls(
                    roots_pem=network.ca_file.read_bytes(), server_name=subject.server_name
                ),
                new_request_id=new_request_id,
            )
        key_pem, certificate_pem = self._certified(name, who)
        return connect_peer(
            address,
            tls=ClientTls(
                roots_pem=network.ca_file.read_bytes(),
                server_name=subject.server_name,
                key_pem=key_pem,
                certificate_pem=certificate_pem,
            ),
        )

    def _certified(self, name: str, who: str | Outsider) -> tuple[bytes, bytes]:
        """Key and certificate of a caller at the peer listener of `name`."""
        network = self.stage.network
        other = ACCEPTOR if name == ISSUER else ISSUER
        folders = {"brand": other, "clearing": CLEARING, "operator": CLEARING}
        if isinstance(who, str):
            file = "operator" if who == "operator" else "tls"
            home = network.home(folders.get(who, who))
            return (home / f"{file}.key").read_bytes(), (home / f"{file}.crt").read_bytes()
        ca = clearing_folders.read(network.home(CLEARING)).authority
        match who:
            case Outsider.NOT_ADMITTED:
                return _issued(ca, tls.brand(network.name, "stranger"))
            case Outsider.OTHER_KEY:
                return _issued(ca, tls.brand(network.name, other))
            case Outsider.OTHER_NETWORK:
                return _issued(ca, tls.operator("elsewhere.example", "operator"))
            case _:
                own = authority.create_ca(network.name, clock=system_clock)
                return _issued(own, tls.brand(network.name, other))


def _issued(ca: Authority, subject: Subject) -> tuple[bytes, bytes]:
    """A new key, and its certificate for `subject` by this authority."""
    tls_key = tls.new_tls_key()
    log_key = SigningKey.generate(secrets.token_bytes)
    certificate = authority.issue_certificate(
        ca,
        authority.create_request(subject, tls_key, log_key=log_key),
        expect=subject,
        log_key=log_key.public,
        clock=system_clock,
    )
    return tls.key_pem(tls_key), certificate


def _as_it_is(data: bytes | Message) -> bytes:
    assert isinstance(data, bytes)
    return data
