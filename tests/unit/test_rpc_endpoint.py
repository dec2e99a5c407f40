"""The pipeline in front of every method, without any transport."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from comity.clock import SECOND
from comity.errors import (
    ComityError,
    Forbidden,
    InsufficientPoints,
    Malformed,
    NotFound,
    Overloaded,
    Unauthenticated,
    Unavailable,
)
from comity.rpc.authentication import anonymous
from comity.rpc.authorisation import Permissions
from comity.rpc.caller import Authenticator, Caller, CallerKind, Credentials
from comity.rpc.channel import LocalChannel
from comity.rpc.endpoint import INTERNAL_TEXT, Endpoint, snake_case
from comity.rpc.limits import DEFAULT_LIMITS, CallLimit, CallLimiter, FailureLimiter
from comity.rpc.metrics import Metrics
from tests.echo import ECHO, ODD, SERVICE, SLOW, Echo, EchoItem, EchoRequest, EchoResponse
from tests.echo import echo_permissions as permitted

NOBODY = Credentials(address="ipv4:192.0.2.1")
HELLO = EchoRequest(text="txt_hello").SerializeToString()


class Time:
    """A clock which moves when told."""

    def __init__(self) -> None:
        self.now_us = 1_000 * SECOND

    def __call__(self) -> int:
        return self.now_us


def as_brand(_credentials: Credentials) -> Caller:
    return Caller(kind=CallerKind.BRAND, id="grocery")


def endpoint(
    implementation: object | None = None,
    *,
    authenticator: Authenticator = anonymous,
    permissions: Permissions | None = None,
    limit: CallLimit | None = None,
    metrics: Metrics | None = None,
) -> Endpoint:
    clock = Time()
    limits = dict.fromkeys(CallerKind, limit) if limit is not None else DEFAULT_LIMITS
    return Endpoint(
        {SERVICE: implementation if implementation is not None else Echo()},
        authenticator=authenticator,
        permissions=permissions if permissions is not None else permitted(),
        limiter=CallLimiter(clock, limits),
        clock=clock,
        log=structlog.get_logger(),
        metrics=metrics if metrics is not None else Metrics(),
        max_request_bytes=1_000,
    )


async def test_a_call_is_answered_and_the_method_knows_its_caller() -> None:
    answer = EchoResponse.FromString(
        await endpoint(authenticator=as_brand).handle(ECHO, HELLO, NOBODY)
    )
    assert (answer.text, answer.caller) == ("txt_hello", "brand:grocery")


async def test_a_refusal_passes_through_as_it_was_raised() -> None:
    with pytest.raises(InsufficientPoints) as caught:
        await endpoint().handle(ECHO, EchoRequest(text="txt_refuse").SerializeToString(), NOBODY)
    assert caught.value.field == "items[0].digest"


async def test_a_failure_of_the_server_tells_the_caller_nothing_but_the_request_id() -> None:
    with capture_logs() as lines, pytest.raises(ComityError) as caught:
        await endpoint().handle(
            ODD, EchoRequest(text="txt_s3cret").SerializeToString(), NOBODY, request_id="req1"
        )
    error = caught.value
    assert type(error) is ComityError
    assert error.message == INTERNAL_TEXT
    assert error.metadata == {"request_id": "req1"}
    assert error.__cause__ is None
    (line,) = lines
    assert (line["event"], line["request_id"], line["method"]) == ("call_failed", "req1", ODD)
    assert "txt_s3cret" in str(line["exc_info"])


async def test_an_answer_of_another_type_is_a_failure_of_the_server() -> None:
    class Wrong(Echo):
        async def echo(self, caller: Caller, request: Any) -> Any:
            return request

    with capture_logs(), pytest.raises(ComityError, match="The server failed"):
        await endpoint(Wrong()).handle(ECHO, HELLO, NOBODY)


async def test_a_cancellation_passes_through() -> None:
    echo = Echo()
    call = asyncio.create_task(endpoint(echo).handle(SLOW, HELLO, NOBODY))
    await echo.entered.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_an_unknown_method_is_not_found() -> None:
    with pytest.raises(NotFound):
        await endpoint().handle("/comity.test.EchoService/Nothing", b"", NOBODY)


async def test_a_request_must_be_small_enough_and_parse_and_keep_its_limits() -> None:
    for request in (b"x" * 1_001, b"\xff\xff\xff", b""):
        with pytest.raises(Malformed):
            await endpoint().handle(ECHO, request, NOBODY)


async def test_a_field_which_breaks_its_limit_is_named_with_its_index() -> None:
    items = [EchoItem(digest=b"good"), EchoItem(digest=b"bad")]
    with pytest.raises(Malformed) as caught:
        await endpoint().handle(
            ECHO, EchoRequest(text="txt_a", items=items).SerializeToString(), NOBODY
        )
    assert caught.value.field == "items[1].digest"


async def test_unknown_fields_of_a_newer_caller_are_tolerated() -> None:
    await endpoint().handle(ECHO, HELLO + b"\xf8\x07\x01", NOBODY)


async def test_a_call_whose_time_is_over_is_not_begun() -> None:
    with pytest.raises(Unavailable):
        await endpoint().handle(ECHO, HELLO, NOBODY, deadline=0.0)


async def test_an_anonymous_caller_is_asked_to_authenticate_and_a_wrong_kind_is_forbidden() -> None:
    members_only = permitted("member")
    with pytest.raises(Unauthenticated):
        await endpoint(permissions=members_only).handle(ECHO, HELLO, NOBODY)
    with pytest.raises(Forbidden, match="member only; a brand may not"):
        await endpoint(permissions=members_only, authenticator=as_brand).handle(ECHO, b"", NOBODY)


async def test_a_caller_beyond_its_limit_is_refused_before_its_request_is_read() -> None:
    served = endpoint(limit=CallLimit(per_second=1, burst=1, in_flight=1))
    await served.handle(ECHO, HELLO, NOBODY)
    with pytest.raises(Overloaded):
        await served.handle(ECHO, b"\xff", NOBODY)
    await served.handle(ECHO, HELLO, Credentials(address="ipv4:192.0.2.2"))


async def test_calls_are_counted_by_method_and_outcome() -> None:
    metrics = Metrics()
    served = endpoint(metrics=metrics)
    await served.handle(ECHO, HELLO, NOBODY)
    for method, request in ((ECHO, b""), ("/no/method", b"")):
        with pytest.raises(ComityError):
            await served.handle(method, request, NOBODY)

    def count(method: str, code: str) -> float | None:
        labels = {"method": method, "code": code}
        return metrics.registry.get_sample_value("comity_rpc_calls_total", labels)

    assert count(ECHO, "OK") == 1
    assert count(ECHO, "MALFORMED") == 1
    assert count("unknown", "NOT_FOUND") == 1


def test_an_implementation_without_a_method_for_an_rpc_is_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match="echo_slowly"):
        endpoint(object.__new__(type("Half", (), {"echo": Echo.echo})))


def test_an_rpc_without_a_row_is_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match="EchoService/Echo"):
        endpoint(permissions=Permissions({}))


async def test_a_local_channel_carries_bytes_and_raises_what_the_endpoint_raised() -> None:
    channel = LocalChannel(endpoint(), NOBODY)
    call = channel.unary_unary(ECHO, EchoRequest.SerializeToString, EchoResponse.FromString)
    assert (await call(EchoRequest(text="txt_a"))).text == "txt_a"
    with pytest.raises(InsufficientPoints):
        await call(EchoRequest(text="txt_refuse"))
    with pytest.raises(Unavailable):
        await call(EchoRequest(text="txt_a"), timeout=0)


@pytest.mark.parametrize(
    ("name", "snake"),
    [("PlaceHolds", "place_holds"), ("Claim", "claim"), ("GetURLOf", "get_url_of")],
)
def test_a_method_is_named_like_its_rpc(name: str, snake: str) -> None:
    assert snake_case(name) == snake


async def test_an_address_that_fails_too_often_is_refused_before_its_credentials_are_read() -> None:
    looked_at: list[str] = []

    def doubtful(credentials: Credentials) -> Caller:
        looked_at.append(credentials.address)
        if credentials.bearer_token != "good":
            raise Unauthenticated("The token was not issued by this server; open a session here.")
        return as_brand(credentials)

    clock = Time()
    guarded = Endpoint(
        {SERVICE: Echo()},
        authenticator=doubtful,
        permissions=permitted(),
        limiter=CallLimiter(clock),
        clock=clock,
        log=structlog.get_logger(),
        metrics=Metrics(),
        failures=FailureLimiter(clock, CallLimit(per_second=1, burst=3, in_flight=1)),
    )
    forged = Credentials(bearer_token="forged", address="10.0.0.1")
    for _ in range(3):
        with pytest.raises(Unauthenticated):
            await guarded.handle(ECHO, HELLO, forged)
    with pytest.raises(Overloaded, match="credentials that do not hold"):
        await guarded.handle(ECHO, HELLO, forged)
    assert len(looked_at) == 3
    # Another address is none the worse for it, and a second later neither is this one.
    await guarded.handle(ECHO, HELLO, Credentials(bearer_token="good", address="10.0.0.2"))
    clock.now_us += SECOND
    await guarded.handle(ECHO, HELLO, Credentials(bearer_token="good", address="10.0.0.1"))
