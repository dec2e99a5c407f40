"""Connections which many wallets of one program share: a TLS connection for each server.

A member's own device has a few connections of its own. A program which stands for a thousand
members would have thousands, so here sessions differ and connections do not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from comity.client.connection import Server, connect
from comity.client.session import Session, SessionChannel
from comity.clock import Clock, system_clock
from comity.keys import SigningKey
from comity.rpc.channel import Call, Channel


class SharedConnections:
    """Opens channels as `comity.wallet` wants them; close it when the wallets are closed."""

    def __init__(self, clock: Clock = system_clock) -> None:
        self._clock = clock
        self._channels: dict[str, Channel] = {}

    def open(self, server: Server, key: SigningKey | None) -> Channel:
        """A channel to the server; with a key, in a session of that key."""
        if server.address not in self._channels:
            self._channels[server.address] = connect(server)
        channel = _Borrowed(self._channels[server.address])
        if key is None:
            return channel
        session = Session(channel, key=key, origin=server.origin, clock=self._clock)
        return SessionChannel(channel, session)

    async def close(self) -> None:
        """Close all connections."""
        channels, self._channels = list(self._channels.values()), {}
        for channel in channels:
            await channel.close()


class _Borrowed:
    """A channel that outlives its borrower."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def unary_unary(
        self,
        path: str,
        request_serializer: Callable[[Any], bytes],
        response_deserializer: Callable[[bytes], Any],
        _registered_method: bool | None = False,
    ) -> Call:
        return self._channel.unary_unary(
            path,
            request_serializer=request_serializer,
            response_deserializer=response_deserializer,
            _registered_method=_registered_method,
        )

    async def close(self) -> None:
        """Left to the lender."""
