"""Channels to call generated stubs through: over TLS, or straight into an endpoint.

A stub needs one thing of a channel, `unary_unary`. Both channels here have it, raise the same
`ComityError` classes which the server raised, and give every call a deadline. Nothing is retried
here: whoever holds the id of a write repeats it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar, cast

import grpc
import grpc.aio

from comity.rpc.caller import Credentials
from comity.rpc.endpoint import Endpoint
from comity.rpc.request_id import REQUEST_ID_KEY, NewRequestId
from comity.rpc.status import from_rpc_error
from comity.rpc.tls import ClientTls

DEFAULT_TIMEOUT_S = 10.0
AUTHORIZATION_KEY = "authorization"
MAX_MESSAGE_BYTES = 16 * 1024 * 1024

Metadata = Sequence[tuple[str, str | bytes]]
StubT = TypeVar("StubT")


class Call(Protocol):
    """One RPC of a stub: `await call(request, timeout=…)`."""

    async def __call__(
        self, request: Any, *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> Any: ...


class Channel(Protocol):
    """What stubs are made from."""

    def unary_unary(
        self,
        path: str,
        request_serializer: Callable[[Any], bytes],
        response_deserializer: Callable[[bytes], Any],
        _registered_method: bool | None = False,
    ) -> Call: ...

    async def close(self) -> None: ...


def stub(kind: Callable[[grpc.aio.Channel], StubT], channel: Channel) -> StubT:
    """A generated stub on any channel, e.g. `stub(PeerServiceStub, channel)`."""
    return kind(cast(grpc.aio.Channel, channel))


class LocalChannel:
    """A channel into an endpoint of this process; requests and answers still pass as bytes.

    The deadline is told to the endpoint; waiting for the answer is not cut short by it.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        credentials: Credentials,
        *,
        default_timeout_s: float = DEFAULT_TIMEOUT_S,
        new_request_id: NewRequestId = lambda: "",
    ) -> None:
        self._endpoint = endpoint
        self._credentials = credentials
        self._default_timeout_s = default_timeout_s
        self._new_request_id = new_request_id

    def unary_unary(
        self,
        path: str,
        request_serializer: Callable[[Any], bytes],
        response_deserializer: Callable[[bytes], Any],
        _registered_method: bool | None = False,
    ) -> Call:
        async def call(
            request: Any, *, timeout: float | None = None, metadata: Metadata | None = None
        ) -> Any:
            answer = await self._endpoint.handle(
                path,
                request_serializer(request),
                self._showing(metadata or ()),
                deadline=self._default_timeout_s if timeout is None else timeout,
                request_id=self._new_request_id(),
            )
            return response_deserializer(answer)

        return call

    def _showing(self, metadata: Metadata) -> Credentials:
        """The channel's credentials, with the token which this one call carries, if any."""
        for name, value in metadata:
            if name == AUTHORIZATION_KEY and isinstance(value, str):
                return replace(self._credentials, bearer_token=value.removeprefix("Bearer "))
        return self._credentials

    async def close(self) -> None:
        """Nothing is open."""


class TlsChannel:
    """A channel over TLS which gives each call a deadline, a request id and, if any, a token."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        new_request_id: NewRequestId,
        bearer_token: Callable[[], str | None] | None = None,
        default_timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        self._channel = channel
        self._new_request_id = new_request_id
        self._bearer_token = bearer_token
        self._default_timeout_s = default_timeout_s

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
        )

        async def call(
            request: Any, *, timeout: float | None = None, metadata: Metadata | None = None
        ) -> Any:
            try:
                return await inner(
                    request,
                    timeout=self._default_timeout_s if timeout is None else timeout,
                    metadata=(*self._metadata(), *(metadata or ())),
                )
            except grpc.aio.AioRpcError as error:
                raise from_rpc_error(error) from error

        return call

    def _metadata(self) -> Metadata:
        own: list[tuple[str, str | bytes]] = [(REQUEST_ID_KEY, self._new_request_id())]
        token = self._bearer_token() if self._bearer_token is not None else None
        if token is not None:
            own.append((AUTHORIZATION_KEY, f"Bearer {token}"))
        return own

    async def close(self) -> None:
        await self._channel.close()


def connect(
    target: str,
    *,
    tls: ClientTls,
    new_request_id: NewRequestId,
    bearer_token: Callable[[], str | None] | None = None,
    default_timeout_s: float = DEFAULT_TIMEOUT_S,
    max_message_bytes: int = MAX_MESSAGE_BYTES,
) -> TlsChannel:
    """A channel to `host:port`; connects when first used.

    With `tls.server_name` the server must also hold a certificate for that name, which is how a
    caller makes sure to talk to one participant and not merely to a member of the network.
    """
    options: list[tuple[str, Any]] = [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.initial_reconnect_backoff_ms", 200),
        # How long one attempt may take, handshake included; one that is refused ends at once.
        ("grpc.min_reconnect_backoff_ms", 5_000),
        ("grpc.max_reconnect_backoff_ms", 1_000),
        ("grpc.enable_retries", 0),
    ]
    if tls.server_name:
        options.append(("grpc.ssl_target_name_override", tls.server_name))
    credentials = grpc.ssl_channel_credentials(
        root_certificates=tls.roots_pem,
        private_key=tls.key_pem,
        certificate_chain=tls.certificate_pem,
    )
    return TlsChannel(
        grpc.aio.secure_channel(target, credentials, options=options),
        new_request_id=new_request_id,
        bearer_token=bearer_token,
        default_timeout_s=default_timeout_s,
    )
