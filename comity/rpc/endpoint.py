"""The pipeline in front of every method, free of any transport.

A call passes these steps, and a method's own code sees only calls which passed them all:

 1. find the method; refuse a request that is too large or whose deadline is over
 2. authenticate: credentials become a caller, unless its address has failed too often
 3. authorise: the table says whether this kind of caller may call this method
 4. limit: the caller's rate and calls in flight
 5. parse, and validate against the limits in the proto
 6. call the implementation
 7. answer with bytes, or with one `ComityError`; anything else becomes INTERNAL and a log line

Limits come before parsing because refusing must be cheaper than asking.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from structlog.contextvars import bind_contextvars, reset_contextvars
from structlog.typing import FilteringBoundLogger

from comity.clock import Clock
from comity.errors import ComityError, Malformed, NotFound, Unauthenticated, Unavailable
from comity.rpc.authorisation import Permissions
from comity.rpc.caller import Authenticator, Caller, Credentials
from comity.rpc.limits import CallLimiter, FailureLimiter
from comity.rpc.metrics import Metrics
from comity.validation import validate

MAX_REQUEST_BYTES = 4 * 1024 * 1024
INTERNAL_TEXT = "The server failed while it answered; give its operator the request id."

Method = Callable[[Caller, Any], Awaitable[Message]]


@dataclass(frozen=True, slots=True)
class _Route:
    """One RPC: how to read its request and what answers it."""

    path: str
    request: type[Message]
    response: type[Message]
    call: Method


class Endpoint:
    """Services with their implementations behind one pipeline.

    An implementation has one method for each RPC, the RPC's name in snake_case:
    `async def place_holds(self, caller, request) -> response`.
    """

    def __init__(
        self,
        services: Mapping[ServiceDescriptor, object],
        *,
        authenticator: Authenticator,
        permissions: Permissions,
        limiter: CallLimiter,
        clock: Clock,
        log: FilteringBoundLogger,
        metrics: Metrics,
        max_request_bytes: int = MAX_REQUEST_BYTES,
        failures: FailureLimiter | None = None,
    ) -> None:
        permissions.check_covers(services)
        self._routes = {route.path: route for route in _routes(services)}
        self._authenticate = authenticator
        self._permissions = permissions
        self._limiter = limiter
        self._clock = clock
        self._log = log
        self._metrics = metrics
        self._max_request_bytes = max_request_bytes
        self._failures = failures or FailureLimiter(clock)
        self.services = tuple(services)

    async def handle(
        self,
        method: str,
        request: bytes,
        credentials: Credentials,
        *,
        deadline: float | None = None,
        request_id: str = "",
    ) -> bytes:
        """Answer one call; raises only `ComityError`, and lets a cancellation through.

        `method` is `/<service>/<rpc>`, `deadline` the seconds the caller is going to wait.
        """
        began_us = self._clock()
        code = "OK"
        try:
            return await self._answer(method, request, credentials, deadline, request_id)
        except ComityError as error:
            code = error.code
            raise
        except Exception as error:  # noqa: BLE001 the boundary where every failure ends
            # 7. A failure of ours: the caller learns that it happened, the log learns what.
            code = "INTERNAL"
            self._log.error("call_failed", method=method, request_id=request_id, exc_info=error)
            raise ComityError(INTERNAL_TEXT, metadata={"request_id": request_id}) from None
        finally:
            label = method if method in self._routes else "unknown"
            self._metrics.call(label, code, self._clock() - began_us)

    async def _answer(
        self,
        method: str,
        request: bytes,
        credentials: Credentials,
        deadline: float | None,
        request_id: str,
    ) -> bytes:
        # 1. The method, the size, the time that is left.
        route = self._routes.get(method)
        if route is None:
            raise NotFound(f"This server has no method {method}; ask its reflection for the list.")
        if len(request) > self._max_request_bytes:
            raise Malformed(
                f"The request has {len(request)} bytes and may have {self._max_request_bytes}; "
                "send it in parts."
            )
        if deadline is not None and deadline <= 0:
            raise Unavailable("The call's deadline was over when it arrived; allow more time.")
        # 2. and 3. Who calls, and whether it may.
        self._failures.require(credentials.address)
        try:
            caller = self._authenticate(credentials)
        except Unauthenticated:
            self._failures.failed(credentials.address)
            raise
        self._permissions.require(caller, method)
        # 4. How much of the server this caller may take.
        with self._limiter.admit(caller), _logged_under(request_id):
            # 5. What it asks.
            message = _parse(route.request, request)
            validate(message)
            # 6. The answer.
            try:
                response = await route.call(caller, message)
            except Unauthenticated:
                # A signature which opens no session counts like a token which is none.
                self._failures.failed(credentials.address)
                raise
            if not isinstance(response, route.response):
                raise TypeError(f"{method} answered with a {type(response).__name__}")
            return response.SerializeToString()


@contextmanager
def _logged_under(request_id: str) -> Iterator[None]:
    """Log lines of the block carry the id. (`bound_contextvars` reads the whole context first.)"""
    tokens = bind_contextvars(request_id=request_id)
    try:
        yield
    finally:
        reset_contextvars(**tokens)


def _parse(kind: type[Message], data: bytes) -> Message:
    message = kind()
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise Malformed(
            f"The request is not a {kind.DESCRIPTOR.full_name} message; send it as protobuf."
        ) from error
    return message


def _routes(services: Mapping[ServiceDescriptor, object]) -> Iterable[_Route]:
    for service, implementation in services.items():
        for rpc in service.methods:
            yield _route(service, rpc, implementation)


def _route(service: ServiceDescriptor, rpc: MethodDescriptor, implementation: object) -> _Route:
    call = getattr(implementation, snake_case(rpc.name), None)
    if not callable(call):
        raise ValueError(
            f"{type(implementation).__name__} has no method {snake_case(rpc.name)} "
            f"for {service.full_name}/{rpc.name}"
        )
    if rpc.client_streaming or rpc.server_streaming:
        raise ValueError(f"{service.full_name}/{rpc.name} is a stream; every RPC here is unary")
    return _Route(
        path=f"/{service.full_name}/{rpc.name}",
        request=GetMessageClass(rpc.input_type),
        response=GetMessageClass(rpc.output_type),
        call=call,
    )


def snake_case(name: str) -> str:
    """`PlaceHolds` as `place_holds`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
