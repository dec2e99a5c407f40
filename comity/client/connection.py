"""Channels to a public listener (TLS, with or without a session) and to a peer listener (mTLS)."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from comity.client.session import Session, SessionChannel
from comity.clock import Clock, system_clock
from comity.keys import SigningKey
from comity.rpc.channel import DEFAULT_TIMEOUT_S, Channel, TlsChannel
from comity.rpc.channel import connect as connect_tls
from comity.rpc.tls import ClientTls


def new_request_id() -> str:
    """A fresh id by which a call is found in the logs of both sides."""
    return f"req_{secrets.token_hex(8)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where a public listener answers and how to know it.

    `address` is `host:port`. With `server_name` (such as `grocery.brand.comity.example`) the
    certificate must be for that name, else for the address's host. `origin` is the name of the
    server's log, which session keys sign; empty where no session will be opened.
    """

    address: str
    roots_pem: bytes
    server_name: str = ""
    origin: str = ""


def connect(
    server: Server,
    *,
    key: SigningKey | None = None,
    clock: Clock = system_clock,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> Channel:
    """A channel to a public listener; with `key`, every call is made in a session of that key."""
    channel = connect_tls(
        server.address,
        tls=ClientTls(roots_pem=server.roots_pem, server_name=server.server_name),
        new_request_id=new_request_id,
        default_timeout_s=timeout_s,
    )
    if key is None:
        return channel
    if not server.origin:
        raise ValueError("a session is opened under the server's origin")
    return SessionChannel(channel, Session(channel, key=key, origin=server.origin, clock=clock))


def connect_peer(
    address: str, *, tls: ClientTls, timeout_s: float = DEFAULT_TIMEOUT_S
) -> TlsChannel:
    """A channel to a peer listener, showing the certificate in `tls`."""
    if tls.certificate_pem is None or tls.key_pem is None:
        raise ValueError("a peer listener asks for a certificate and its key")
    return connect_tls(address, tls=tls, new_request_id=new_request_id, default_timeout_s=timeout_s)


@asynccontextmanager
async def closing(channel: Channel) -> AsyncIterator[Channel]:
    """The channel, closed at the end of the block."""
    try:
        yield channel
    finally:
        await channel.close()
