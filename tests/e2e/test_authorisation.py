"""Who may call what: the text table against live listeners, every caller on every RPC.

Whoever may not call is given a request that would be done if it came from somebody who may, and
nothing is done. Whoever may call is given an empty one: it is judged for what it says.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import grpc.aio
import pytest
import pytest_asyncio
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2 as reflection
from grpc_reflection.v1alpha import reflection_pb2_grpc

from cli.access import peer_address, read_settings
from comity.errors import Forbidden, Unauthenticated, Unavailable
from comity.rpc.authorisation import permissions
from comity.rpc.caller import CallerKind
from tests.e2e.crash_stage import ACCEPTOR, CLEARING, ISSUER
from tests.e2e.rpc_callers import NO_HANDSHAKE, PLACES, Outsider, kinds_at, outsiders_at
from tests.e2e.rpc_cast import Cast, cast_at
from tests.e2e.rpc_requests import REQUESTS

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVED: Final = {
    "peer at a brand": ("PeerService", "LogService"),
    "public at a brand": (
        "MemberService",
        "MerchantService",
        "OfficeService",
        "ProgrammeService",
        "LogService",
        "SessionService",
    ),
    "peer at clearing": ("ClearingService", "OperatorService", "LogService"),
    "public at clearing": ("LogService", "SessionService"),
}
"""What each kind of listener serves."""

HEALTH: Final = "grpc.health.v1.Health"
REFLECTION: Final = "grpc.reflection.v1alpha.ServerReflection"
ROWS: Final = permissions().rows
VALID: Final = {request.rpc: request for request in REQUESTS}

each_place = pytest.mark.parametrize("place", PLACES)


def services_at(place: str) -> tuple[str, ...]:
    name, _, listener = place.partition("/")
    return SERVED[f"{listener} at {'clearing' if name == CLEARING else 'a brand'}"]


def rpcs_at(place: str) -> list[str]:
    """The RPCs which the table has for the services of a place."""
    wanted = tuple(f"/comity.v1.{service}/" for service in services_at(place))
    return sorted(path[1:] for path in ROWS if path.startswith(wanted))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cast(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cast]:
    async with cast_at(tmp_path_factory.mktemp("authorisation") / "network") as made:
        yield made


# --- the table and what listens --------------------------------------------------------------


def raw_channel(cast: Cast, place: str) -> grpc.aio.Channel:
    """A channel of grpc's own, with a certificate of the network at a peer listener."""
    name, _, listener = place.partition("/")
    network = cast.stage.network
    home, key, certificate = network.home(name), None, None
    address = network.process(name).server.address
    if listener == "peer":
        address = peer_address(read_settings(home))
        key = (network.home(CLEARING) / "operator.key").read_bytes()
        certificate = (network.home(CLEARING) / "operator.crt").read_bytes()
    credentials = grpc.ssl_channel_credentials(network.ca_file.read_bytes(), key, certificate)
    return grpc.aio.secure_channel(address, credentials)


async def reflected(channel: grpc.aio.Channel) -> dict[str, list[str]]:
    """The services a listener tells of, and the RPCs of each."""
    asked = reflection.ServerReflectionRequest
    stub: Any = reflection_pb2_grpc.ServerReflectionStub
    ask = stub(channel).ServerReflectionInfo
    found: dict[str, list[str]] = {}
    async for listed in ask(iter([asked(list_services="")])):
        found = {one.name: [] for one in listed.list_services_response.service}
    requests = [asked(file_containing_symbol=name) for name in found]
    async for answer in ask(iter(requests)):
        for data in answer.file_descriptor_response.file_descriptor_proto:
            file = FileDescriptorProto.FromString(data)
            for service in file.service:
                name = f"{file.package}.{service.name}"
                if name in found:
                    found[name] = [method.name for method in service.method]
    return found


async def test_live_reflection_and_the_table_name_the_same_rpcs(cast: Cast) -> None:
    live: set[str] = set()
    for place in PLACES:
        async with raw_channel(cast, place) as channel:
            found = await reflected(channel)
        assert found.pop(HEALTH)
        assert found.pop(REFLECTION)
        assert set(found) == {f"comity.v1.{service}" for service in services_at(place)}
        paths = {f"{service}/{rpc}" for service, rpcs in found.items() for rpc in rpcs}
        assert paths == set(rpcs_at(place)), place
        live |= paths
    assert live == {path[1:] for path in ROWS}


@each_place
async def test_health_is_open_to_whoever_gets_in(cast: Cast, place: str) -> None:
    for name in ("", *(f"comity.v1.{service}" for service in services_at(place))):
        asked = health_pb2.HealthCheckRequest(service=name).SerializeToString()
        everybody: tuple[str | Outsider, ...] = (*kinds_at(place), *outsiders_at(place))
        for who in everybody:
            if who in NO_HANDSHAKE:
                continue
            answer = await cast.callers.send(place, who, f"{HEALTH}/Check", asked)
            status = health_pb2.HealthCheckResponse.FromString(answer).status
            assert status == health_pb2.HealthCheckResponse.SERVING


# --- every caller on every RPC ---------------------------------------------------------------


async def valid(cast: Cast, rpc: str) -> bytes:
    """A request that would be done for somebody who may."""
    return (await VALID[rpc].build(cast)).SerializeToString()


@each_place
async def test_whoever_may_call_is_let_in(cast: Cast, place: str) -> None:
    before = await cast.callers.sizes()
    for rpc in rpcs_at(place):
        for who, kind in kinds_at(place).items():
            if kind in ROWS[f"/{rpc}"]:
                error = await cast.callers.refusal(place, who, rpc, b"")
                assert not isinstance(error, Forbidden | Unauthenticated), f"{who} on {rpc}"
                assert error is None or error.code != "COMITY", f"{who} on {rpc}: {error}"
    assert await cast.callers.sizes() == before


@each_place
async def test_whoever_may_not_call_is_refused_and_nothing_is_done(cast: Cast, place: str) -> None:
    before = await cast.callers.sizes()
    tried = 0
    for rpc in rpcs_at(place):
        request = await valid(cast, rpc)
        for who, kind in kinds_at(place).items():
            if kind not in ROWS[f"/{rpc}"]:
                error = await cast.callers.refusal(place, who, rpc, request)
                expected = Unauthenticated if kind is CallerKind.ANONYMOUS else Forbidden
                assert type(error) is expected, f"{who} on {rpc}: {error}"
                assert rpc in error.message, "the refusal names the rule"
                tried += 1
    assert tried, "somebody may not do everything"
    assert await cast.callers.sizes() == before


@each_place
async def test_credentials_that_do_not_hold_open_nothing(cast: Cast, place: str) -> None:
    before = await cast.callers.sizes()
    for rpc in rpcs_at(place):
        request = await valid(cast, rpc)
        for who in outsiders_at(place):
            error = await cast.callers.refusal(place, who, rpc, request)
            expected = Unavailable if who in NO_HANDSHAKE else (Unauthenticated, Forbidden)
            assert isinstance(error, expected), f"{who.value} on {rpc}: {error}"
    assert await cast.callers.sizes() == before


@pytest.mark.parametrize("brand", [ISSUER, ACCEPTOR])
async def test_a_brand_is_not_its_own_neighbour(cast: Cast, brand: str) -> None:
    for rpc in ("PlaceHolds", "DeliverPledges", "OfferAgreement", "ExchangeHeads"):
        path = f"comity.v1.PeerService/{rpc}"
        error = await cast.callers.refusal(f"{brand}/peer", brand, path, await valid(cast, path))
        assert isinstance(error, Forbidden)


async def test_every_kind_of_caller_was_somewhere() -> None:
    kinds = {kind for place in PLACES for kind in kinds_at(place).values()}
    assert kinds == set(CallerKind)
    assert {who for place in PLACES for who in outsiders_at(place)} == set(Outsider)
