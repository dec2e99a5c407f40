"""A session: a device or staff key proves itself once, and every call carries its token.

 1. `BeginSession` answers a challenge for the key
 2. the key signs it together with the origin, so no other server can use the answer
 3. `OpenSession` answers a token, which is renewed before it ends

A call whose token the server no longer knows (it was restarted with a new secret, say) is made
once more with a new one: `Unauthenticated` means that nothing was done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from comity.clock import MINUTE, Clock
from comity.errors import Unauthenticated
from comity.keys import SigningKey
from comity.rpc.channel import AUTHORIZATION_KEY, Call, Channel, Metadata, stub
from comity.rpc.tokens import challenge_message
from comity.v1.log_pb2 import BeginSessionRequest, OpenSessionRequest, OpenSessionResponse
from comity.v1.log_pb2_grpc import SessionServiceStub

RENEW_BEFORE_US: Final = MINUTE
"""A token is renewed when it has less than this left."""


def key_name(key: SigningKey) -> str:
    """The id a server knows a key by: `key_` and 16 hexadecimal digits."""
    return f"key_{key.key_id}"


class Session:
    """Tokens of one key at one server, opened when first needed and renewed in time."""

    def __init__(self, channel: Channel, *, key: SigningKey, origin: str, clock: Clock) -> None:
        self._stub = stub(SessionServiceStub, channel)
        self._key = key
        self._origin = origin
        self._clock = clock
        self._opened: OpenSessionResponse | None = None
        self._lock = asyncio.Lock()

    async def open(self) -> OpenSessionResponse:
        """The running session: its token, its end, and the role and subject of the key."""
        async with self._lock:
            opened = self._opened
            if opened is None or self._clock() + RENEW_BEFORE_US >= opened.expires_at_us:
                opened = await self._prove()
                self._opened = opened
            return opened

    def forget(self, token: str) -> None:
        """Drop the token, if it is still the current one, because its server refused it."""
        if self._opened is not None and self._opened.token == token:
            self._opened = None

    async def _prove(self) -> OpenSessionResponse:
        name = key_name(self._key)
        # 1. A challenge for this key.
        begun = await self._stub.BeginSession(BeginSessionRequest(key_id=name))
        # 2. and 3. Its answer, for this server alone, buys the token.
        signature = self._key.sign(challenge_message(self._origin, begun.challenge))
        return await self._stub.OpenSession(
            OpenSessionRequest(key_id=name, challenge=begun.challenge, signature=signature)
        )


class SessionChannel:
    """A channel whose every call carries the session's token."""

    def __init__(self, channel: Channel, session: Session) -> None:
        self._channel = channel
        self.session = session

    def unary_unary(
        self,
        path: str,
        request_serializer: Callable[[Any], bytes],
        response_deserializer: Callable[[bytes], Any],
        _registered_method: bool | None = False,
    ) -> Call:
        inner = self._channel.unary_unary(
            path,
            request_serializer=request_serializer,
            response_deserializer=response_deserializer,
            _registered_method=_registered_method,
        )

        async def call(
            request: Any, *, timeout: float | None = None, metadata: Metadata | None = None
        ) -> Any:
            opened = await self.session.open()
            try:
                return await inner(request, timeout=timeout, metadata=_with(opened.token, metadata))
            except Unauthenticated:
                self.session.forget(opened.token)
            opened = await self.session.open()
            return await inner(request, timeout=timeout, metadata=_with(opened.token, metadata))

        return call

    async def close(self) -> None:
        await self._channel.close()


def _with(token: str, metadata: Metadata | None) -> Metadata:
    return ((AUTHORIZATION_KEY, f"Bearer {token}"), *(metadata or ()))
