"""Listeners and channels over real sockets: who gets in, what comes back, how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
import pytest
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from structlog.testing import capture_logs

from comity.clock import DAY, Clock, system_clock
from comity.errors import (
    ComityError,
    InsufficientPoints,
    Malformed,
    Overloaded,
    Unauthenticated,
    Unavailable,
)
from comity.keys import SigningKey
from comity.rpc.authentication import CertificateAuthenticator, TokenAuthenticator
from comity.rpc.authority import Authority, create_ca, create_request, issue_certificate
from comity.rpc.caller import Authenticator, Caller, CallerKind
from comity.rpc.channel import TlsChannel, connect
from comity.rpc.endpoint import INTERNAL_TEXT, Endpoint
from comity.rpc.limits import DEFAULT_LIMITS, CallLimit, CallLimiter
from comity.rpc.metrics import Metrics, serve_metrics
from comity.rpc.request_id import request_ids
from comity.rpc.server import Listener, ListenerSettings, serve_until
from comity.rpc.tls import ClientTls, ServerTls, Subject, brand, key_pem, new_tls_key
from comity.rpc.tokens import TokenIssuer, new_secret
from tests.echo import ECHO, ODD, SERVICE, SLOW, Echo, EchoRequest, EchoResponse, echo_permissions

NETWORK = "comity.example"
GROCERY, CAFE = brand(NETWORK, "grocery"), brand(NETWORK, "cafe")
drawn = random.Random(3)
ids = request_ids(drawn.randbytes)
CA = create_ca(NETWORK, clock=system_clock)
TOKENS = TokenIssuer(
    origin="comity.example/grocery", secret=new_secret(drawn.randbytes), clock=system_clock
)


def pair(
    subject: Subject, *, ca: Authority = CA, clock: Clock = system_clock, life_us: int = DAY
) -> tuple[bytes, bytes]:
    """Key and certificate of a participant."""
    key, log_key = new_tls_key(), SigningKey.generate(drawn.randbytes)
    certificate = issue_certificate(
        ca,
        create_request(subject, key, log_key=log_key),
        expect=subject,
        log_key=log_key.public,
        clock=clock,
        life_us=life_us,
    )
    return key_pem(key), certificate


def client(
    own: tuple[bytes, bytes] | None, *, reach: Subject = GROCERY, roots: bytes = CA.pem
) -> ClientTls:
    key, certificate = own or (None, None)
    return ClientTls(
        roots_pem=roots, server_name=reach.server_name, key_pem=key, certificate_pem=certificate
    )


@dataclass
class Served:
    """One listener which runs, and what it serves."""

    port: int
    echo: Echo
    listener: Listener

    @contextlib.asynccontextmanager
    async def channel(
        self, tls: ClientTls, token: Callable[[], str | None] | None = None
    ) -> AsyncIterator[TlsChannel]:
        channel = connect(
            f"127.0.0.1:{self.port}",
            tls=tls,
            new_request_id=ids,
            bearer_token=token,
            default_timeout_s=5.0,
        )
        try:
            yield channel
        finally:
            await channel.close()

    async def call(self, tls: ClientTls, text: str = "txt_a", method: str = ECHO) -> Any:
        async with self.channel(tls) as channel:
            return await method_of(channel, method)(EchoRequest(text=text))


def method_of(channel: TlsChannel, method: str = ECHO) -> Callable[..., Awaitable[Any]]:
    return channel.unary_unary(method, EchoRequest.SerializeToString, EchoResponse.FromString)


@contextlib.asynccontextmanager
async def serving(
    *,
    authenticator: Authenticator | None = None,
    mutual: bool = True,
    kinds: str = "brand",
    limit: CallLimit | None = None,
) -> AsyncIterator[Served]:
    echo = Echo()
    limits = dict.fromkeys(CallerKind, limit) if limit is not None else DEFAULT_LIMITS
    endpoint = Endpoint(
        {SERVICE: echo},
        authenticator=authenticator
        or CertificateAuthenticator(network=NETWORK, clock=system_clock),
        permissions=echo_permissions(kinds),
        limiter=CallLimiter(system_clock, limits),
        clock=system_clock,
        log=structlog.get_logger(),
        metrics=Metrics(),
        max_request_bytes=10_000,
    )
    key, certificate = pair(GROCERY)
    tls = ServerTls(
        key_pem=key, certificate_pem=certificate, client_roots_pem=CA.pem if mutual else None
    )
    settings = ListenerSettings(name="peer", address="127.0.0.1:0", tls=tls)
    listener = Listener(settings, endpoint, new_request_id=ids)
    port = await listener.start()
    try:
        yield Served(port, echo, listener)
    finally:
        await listener.drain(0.2)


async def test_a_participant_with_its_certificate_gets_in_and_is_named() -> None:
    async with serving() as served:
        answer = await served.call(client(pair(CAFE)))
    assert answer.caller == "brand:cafe"


async def test_without_a_certificate_nobody_gets_in() -> None:
    async with serving() as served:
        with pytest.raises(Unavailable):
            await served.call(client(None))


async def test_a_certificate_of_a_foreign_authority_does_not_get_in() -> None:
    foreign = create_ca(NETWORK, clock=system_clock)
    async with serving() as served:
        with pytest.raises(Unavailable):
            await served.call(client(pair(CAFE, ca=foreign)))


async def test_an_expired_certificate_does_not_get_in() -> None:
    expired = pair(CAFE, clock=lambda: system_clock() - 2 * DAY, life_us=DAY)
    async with serving() as served:
        with pytest.raises(Unavailable):
            await served.call(client(expired))


async def test_a_server_which_is_somebody_else_is_not_talked_to() -> None:
    async with serving() as served:
        with pytest.raises(Unavailable):
            await served.call(client(pair(CAFE), reach=brand(NETWORK, "bank")))
        foreign = create_ca(NETWORK, clock=system_clock)
        with pytest.raises(Unavailable):
            await served.call(client(pair(CAFE), roots=foreign.pem))


async def test_a_public_listener_knows_callers_by_token_and_asks_for_no_certificate() -> None:
    member = Caller(kind=CallerKind.MEMBER, id="acc_1", key_hash=bytes(32))
    token = TOKENS.issue(member).text
    authenticator = TokenAuthenticator(TOKENS)
    async with serving(mutual=False, authenticator=authenticator, kinds="member") as served:
        async with served.channel(client(None), lambda: token) as channel:
            answer = await method_of(channel)(EchoRequest(text="txt_a"))
        assert answer.caller == "member:acc_1"
        with pytest.raises(Unauthenticated, match="not open to anonymous"):
            await served.call(client(None))
        async with served.channel(client(pair(CAFE)), lambda: token + "x") as channel:
            with pytest.raises(Unauthenticated, match="not issued by this server"):
                await method_of(channel)(EchoRequest(text="txt_a"))


async def test_a_refusal_arrives_as_the_same_class_with_field_and_metadata() -> None:
    async with serving() as served:
        with pytest.raises(InsufficientPoints) as caught:
            await served.call(client(pair(CAFE)), "txt_refuse")
    error = caught.value
    assert error.message == "You have 3 points; choose a cheaper reward."
    assert error.field == "items[0].digest"
    assert error.metadata == {"available": "3"}


async def test_a_bad_field_arrives_with_its_path() -> None:
    async with serving() as served:
        with pytest.raises(Malformed) as caught:
            await served.call(client(pair(CAFE)), "no_prefix")
    assert caught.value.field == "text"


async def test_a_failure_of_the_server_does_not_leak() -> None:
    with capture_logs() as lines:
        async with serving() as served:
            with pytest.raises(ComityError) as caught:
                await served.call(client(pair(CAFE)), "txt_s3cret", ODD)
    error = caught.value
    assert error.message == INTERNAL_TEXT
    assert "s3cret" not in str(error.__cause__)
    assert [line["request_id"] for line in lines] == [error.metadata["request_id"]]


async def test_a_caller_beyond_its_limit_is_told_to_wait() -> None:
    async with serving(limit=CallLimit(per_second=1, burst=1, in_flight=1)) as served:
        tls = client(pair(CAFE))
        await served.call(tls)
        with pytest.raises(Overloaded) as caught:
            await served.call(tls)
    assert 0 < int(caught.value.metadata["retry_after_ms"]) <= 1_000


async def test_a_request_which_is_too_large_is_refused_in_words() -> None:
    async with serving() as served:
        with pytest.raises(Malformed, match="10000"):
            await served.call(client(pair(CAFE)), "x" * 20_000)


async def test_a_call_goes_on_when_its_caller_gives_up() -> None:
    async with serving() as served:
        async with served.channel(client(pair(CAFE))) as channel:
            with pytest.raises(Unavailable):
                await method_of(channel, SLOW)(EchoRequest(text="txt_a"), timeout=0.3)
        drain = asyncio.create_task(served.listener.drain(5.0))
        await asyncio.sleep(0.05)
        assert not drain.done()
        served.echo.let_go.set()
        await drain
    assert served.echo.finished == 1


async def test_a_drain_lets_the_running_call_finish_and_takes_no_new_one() -> None:
    async with serving() as served, served.channel(client(pair(CAFE))) as channel:
        running = asyncio.ensure_future(method_of(channel, SLOW)(EchoRequest(text="txt_a")))
        await served.echo.entered.wait()
        stop = asyncio.Event()
        stop.set()
        drained = asyncio.create_task(serve_until(stop, [served.listener], grace_s=5.0))
        await asyncio.sleep(0.05)
        with pytest.raises(Unavailable):
            await served.call(client(pair(CAFE)))
        served.echo.let_go.set()
        assert (await running).text == "txt_a"
        await drained


async def test_health_speaks_for_the_server_and_each_service() -> None:
    async with serving(mutual=False) as served:
        credentials = grpc.ssl_channel_credentials(CA.pem)
        async with grpc.aio.secure_channel(f"127.0.0.1:{served.port}", credentials) as channel:
            ask: Any = health_pb2_grpc.HealthStub(channel)

            async def status(service: str) -> int:
                answer = await ask.Check(health_pb2.HealthCheckRequest(service=service))
                return int(answer.status)

            for service in ("", SERVICE.full_name):
                assert await status(service) == health_pb2.HealthCheckResponse.SERVING
            await served.listener.set_serving(False)
            for service in ("", SERVICE.full_name):
                assert await status(service) == health_pb2.HealthCheckResponse.NOT_SERVING


async def test_a_port_is_not_shared_with_another_listener() -> None:
    async with serving() as served:
        settings = ListenerSettings(
            name="second",
            address=f"127.0.0.1:{served.port}",
            tls=served.listener.settings.tls,
        )
        second = Listener(settings, served.listener.endpoint, new_request_id=ids)
        with pytest.raises(OSError, match="second: cannot listen"):
            await second.start()


async def test_metrics_are_served_on_the_loopback_address() -> None:
    metrics = Metrics()
    metrics.call(ECHO, "OK", 1_500)
    page = serve_metrics(metrics, port=0)
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", page.port)
        writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
        text = (await reader.read()).decode()
        writer.close()
        await writer.wait_closed()
    finally:
        page.close()
    assert f'comity_rpc_calls_total{{code="OK",method="{ECHO}"}} 1.0' in text
