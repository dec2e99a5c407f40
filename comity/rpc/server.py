"""Listeners: endpoints behind gRPC and TLS, with health, reflection and an orderly end.

A listener is a port of its own with its own endpoint and its own idea of TLS, because gRPC can
either demand client certificates on a port or not ask for them at all:

    peer     mutual TLS; brands, clearing and operators, by certificate
    public   TLS; members, tills, managers and auditors, by token

A handler's cancellation stops here. gRPC cancels a handler when its caller hangs up or runs out
of time; the call itself is shielded and goes on to its end, so that a commit is never half
awaited, and a drain waits for it.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from structlog.typing import FilteringBoundLogger

from comity.errors import ComityError
from comity.rpc.caller import Credentials
from comity.rpc.endpoint import MAX_REQUEST_BYTES, Endpoint
from comity.rpc.request_id import REQUEST_ID_KEY, NewRequestId, accepted
from comity.rpc.status import DETAILS_KEY, grpc_code, to_status
from comity.rpc.tls import ServerTls

_FRAME_BYTES: Final = 64 * 1024
_BEARER: Final = "Bearer "

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerSettings:
    """Where a listener listens, and what it takes from the network at most.

    `address` is `host:port`; port 0 lets the system choose.
    """

    name: str
    address: str
    tls: ServerTls
    max_request_bytes: int = MAX_REQUEST_BYTES
    max_response_bytes: int = 16 * 1024 * 1024
    max_concurrent_calls: int = 4_096
    max_connection_idle_ms: int = 15 * 60_000


class Listener:
    """One endpoint on one port."""

    def __init__(
        self,
        settings: ListenerSettings,
        endpoint: Endpoint,
        *,
        new_request_id: NewRequestId,
    ) -> None:
        self.settings = settings
        self.endpoint = endpoint
        self._new_request_id = new_request_id
        self._health = health.aio.HealthServicer()
        self._server: grpc.aio.Server | None = None
        self._running: set[asyncio.Task[bytes]] = set()

    async def start(self, *, serving: bool = True) -> int:
        """Bind and listen; returns the port. OSError if the address is taken or wrong."""
        server = grpc.aio.server(
            options=_options(self.settings),
            maximum_concurrent_rpcs=self.settings.max_concurrent_calls,
        )
        self._register(server)
        await self.set_serving(serving)
        try:
            port = server.add_secure_port(self.settings.address, _credentials(self.settings.tls))
        except RuntimeError as error:
            raise OSError(f"{self.settings.name}: cannot listen on {self.settings.address}") from (
                error
            )
        await server.start()
        self._server = server
        return port

    async def set_serving(self, serving: bool) -> None:
        """What health answers from now on, for the server and each of its services."""
        status = health_pb2.HealthCheckResponse.ServingStatus.Value(
            "SERVING" if serving else "NOT_SERVING"
        )
        for name in ("", *(service.full_name for service in self.endpoint.services)):
            await self._health.set(name, status)

    async def drain(self, grace_s: float) -> None:
        """Say so in health, take no more calls, and let those that run end within the grace."""
        if self._server is None:
            return
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace_s)
        # Calls whose callers have gone away no longer count for gRPC; they do here.
        if self._running:
            await asyncio.wait(self._running, timeout=grace_s)

    def _register(self, server: grpc.aio.Server) -> None:
        names = [health.SERVICE_NAME, reflection.SERVICE_NAME]
        for service in self.endpoint.services:
            names.append(service.full_name)
            handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
                method.name: grpc.unary_unary_rpc_method_handler(
                    self._handler(f"/{service.full_name}/{method.name}")
                )
                for method in service.methods
            }
            server.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler(service.full_name, handlers),)
            )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection.enable_server_reflection(names, server)

    def _handler(self, path: str) -> Callable[[bytes, Context], Awaitable[bytes]]:
        certified = self.settings.tls.client_roots_pem is not None

        async def answer(request: bytes, context: Context) -> bytes:
            metadata = dict(context.invocation_metadata() or ())
            request_id = accepted(metadata.get(REQUEST_ID_KEY)) or self._new_request_id()
            call = asyncio.create_task(
                self.endpoint.handle(
                    path,
                    request,
                    _who(context, metadata, certified=certified),
                    deadline=context.time_remaining(),
                    request_id=request_id,
                )
            )
            self._running.add(call)
            call.add_done_callback(self._finished)
            try:
                return await asyncio.shield(call)
            except ComityError as error:
                await _abort(context, error, request_id)

        return answer

    def _finished(self, call: asyncio.Task[bytes]) -> None:
        self._running.discard(call)
        if not call.cancelled():
            # Looked at, so that a failure nobody waits for any more is not reported as lost.
            call.exception()


async def serve_until(
    stop: asyncio.Event, listeners: Sequence[Listener], *, grace_s: float
) -> None:
    """Wait for `stop`, then drain all listeners at once."""
    await stop.wait()
    await asyncio.gather(*(listener.drain(grace_s) for listener in listeners))


def stop_on_signals(stop: asyncio.Event, log: FilteringBoundLogger) -> None:
    """Set `stop` on SIGTERM and SIGINT."""
    loop = asyncio.get_running_loop()

    def received(name: str) -> None:
        log.info("draining", signal=name)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, received, number.name)


async def _abort(context: Context, error: ComityError, request_id: str) -> NoReturn:
    status = to_status(error)
    await context.abort(
        grpc_code(error),
        status.message,
        ((DETAILS_KEY, status.SerializeToString()), (REQUEST_ID_KEY, request_id)),
    )


def _who(context: Context, metadata: Mapping[str, str | bytes], *, certified: bool) -> Credentials:
    certificates = [*context.auth_context().get("x509_pem_cert", ())] if certified else []
    authorization = metadata.get("authorization")
    token = None
    if isinstance(authorization, str) and authorization.startswith(_BEARER):
        token = authorization.removeprefix(_BEARER)
    return Credentials(
        certificate_pem=certificates[0] if certificates else None,
        bearer_token=token,
        # Without the port, or every connection would be another caller.
        address=context.peer().rpartition(":")[0],
    )


def _credentials(tls: ServerTls) -> grpc.ServerCredentials:
    return grpc.ssl_server_credentials(
        [(tls.key_pem, tls.certificate_pem)],
        root_certificates=tls.client_roots_pem,
        require_client_auth=tls.client_roots_pem is not None,
    )


def _options(settings: ListenerSettings) -> list[tuple[str, int]]:
    return [
        # A little more than the endpoint takes, so that it is the endpoint which says no in words.
        ("grpc.max_receive_message_length", settings.max_request_bytes + _FRAME_BYTES),
        ("grpc.max_send_message_length", settings.max_response_bytes),
        ("grpc.max_metadata_size", 16 * 1024),
        # Two processes on one port would each answer half of the calls.
        ("grpc.so_reuseport", 0),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.max_connection_idle_ms", settings.max_connection_idle_ms),
    ]
