"""Whatever is wrong with a request, its sender is told what, and nothing changes.

Two tables walk every RPC of a real network: the limits of the protos, broken one by one
(`tests.e2e.rpc_mutations`), and below, by hand, what no single message can show: what has
expired, is somebody else's, was used before, or carries a signature that is not one.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any, Final

import pytest
import pytest_asyncio
from google.protobuf.message import Message

from clearing.rules import Rules
from cli.demo.patience import patiently
from comity.clock import SECOND
from comity.errors import BY_CODE, Unavailable
from comity.rpc.authorisation import permissions
from comity.v1 import clearing_pb2
from comity.v1.common_pb2 import Failure, HeadExchange, Statement
from tests.e2e.crash_stage import ACCEPTOR, CLEARING, ISSUER
from tests.e2e.rpc_cases import CASES, SHOP, WITHOUT_CASES
from tests.e2e.rpc_cast import Cast, cast_at, until_quiet
from tests.e2e.rpc_changes import (
    Case,
)
from tests.e2e.rpc_mutations import garbage, mutations
from tests.e2e.rpc_requests import REQUESTS
from tests.e2e.rpc_row import Request, heads

pytestmark = pytest.mark.asyncio(loop_scope="module")

TABLE: Final = {request.name: request for request in REQUESTS}
LINK_WITHIN_S: Final = Rules().link_within_us / SECOND
OVERSIZED: Final = b"\x7a" + bytes(4 * 1024 * 1024)

each_rpc = pytest.mark.parametrize("name", TABLE)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cast(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cast]:
    async with cast_at(tmp_path_factory.mktemp("bad-input") / "network") as made:
        yield made


SEEN: Final[list[dict[str, Any]]] = []
"""What could be seen after the last test that changed nothing."""


@pytest_asyncio.fixture(loop_scope="module")
async def unchanged(cast: Cast) -> AsyncIterator[None]:
    """What everybody can see is the same before and after the test."""
    before = SEEN.pop() if SEEN else await everything(cast)
    yield
    after = await everything(cast)
    assert after == before
    SEEN[:] = [after]


async def everything(cast: Cast) -> dict[str, Any]:
    """Logs, points, members, stock, agreements, devices, redemptions, windows, positions."""
    seen: dict[str, Any] = {"sizes": await cast.callers.sizes()}
    for name in (
        "MemberService/GetBalance",
        "MemberService/ListDevices",
        "MemberService/ListRewards",
        "MerchantService/GetTotals",
        "MerchantService/ListBrandAgreements",
        "MerchantService/ListRedemptions",
        "OperatorService/ListWindows",
    ):
        request = TABLE[name]
        for place in {request.place, request.place.replace(ISSUER, ACCEPTOR)}:
            message = await request.build(cast)
            seen[f"{name} {place}"] = await cast.callers.send(
                place, request.who, request.rpc, message.SerializeToString()
            )
    seen["participants"] = [
        (one.participant, one.status, list(one.positions), list(one.caps))
        for one in await patiently(cast.stage.network.operator.list_participants)
    ]
    return seen


async def refused(cast: Cast, request: Request, data: bytes, *, who: str = "") -> tuple[str, str]:
    """The code and the field which a request is refused with, whole or in one of its items."""
    place, caller = request.place, who or request.who
    error = await cast.callers.refusal(place, caller, request.rpc, data)
    if error is not None:
        assert type(error) is BY_CODE[error.code], "a typed error"
        assert error.code != "COMITY", f"not a failure of the server: {error}"
        assert not isinstance(error, Unavailable), error
        assert error.message.endswith("."), f"a sentence: {error}"
        return error.code, error.field
    answer = request.answer.FromString(await cast.callers.send(place, caller, request.rpc, data))
    failed = failures(answer)
    assert failed, f"{request.name} was done: {answer}"
    return failed[0].code, failed[0].field


def failures(answer: Any) -> list[Failure]:
    """What items of a batch were refused with."""
    return [
        one.failure
        for one in getattr(answer, "results", ())
        if "failure" in one.DESCRIPTOR.fields_by_name and one.HasField("failure")
    ]


# --- what the protos say --------------------------------------------------------------------


async def test_every_rpc_has_a_row() -> None:
    assert {f"/{request.rpc}" for request in REQUESTS} == set(permissions().rows)


@each_rpc
async def test_every_broken_limit_is_refused_by_the_name_of_its_field(
    cast: Cast, unchanged: None, name: str
) -> None:
    request = TABLE[name]
    for mutation in mutations(await request.build(cast)):
        found = await refused(cast, request, mutation.message.SerializeToString())
        assert found == ("MALFORMED", mutation.field), str(mutation)


@each_rpc
async def test_what_is_no_message_of_its_kind_is_refused(
    cast: Cast, unchanged: None, name: str
) -> None:
    request = TABLE[name]
    for data in (*garbage(type(await request.build(cast)), name), OVERSIZED):
        assert await refused(cast, request, data) == ("MALFORMED", ""), data[:40].hex()


# --- statements and heads -------------------------------------------------------------------


SHOWING: Final = [
    "PeerService/DeliverPledges",
    "PeerService/OfferAgreement",
    "ClearingService/Claim",
    "ClearingService/Report",
    "ClearingService/RegisterAgreement",
    "ClearingService/Acknowledge",
]
HEARING: Final = sorted(
    name
    for name, request in TABLE.items()
    if request.rpc.startswith(("comity.v1.PeerService", "comity.v1.ClearingService"))
    and not name.endswith(("ReadBook", "ReadMirror", "ReadWindow"))
)


def statements_in(message: Any) -> Iterator[Statement]:
    """Every statement that a message shows."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for part in value if field.is_repeated else (value,):
            if isinstance(part, Statement):
                yield part
            else:
                yield from statements_in(part)


def alone(message: Message) -> Iterator[Message]:
    """A batch as batches of one, without the abort, which needs no statement."""
    items = getattr(message, "claims", None)
    if items is None:
        yield message
        return
    for item in items:
        if item.WhichOneof("claim") != "abort":
            yield clearing_pb2.ClaimRequest(heads=heads(), claims=[item])


def spoilt(shown: Statement, other: Statement) -> Iterator[tuple[str, Statement]]:
    """The ways in which a statement can be none."""

    def but(**changed: Any) -> Statement:
        copy = Statement(
            entry=shown.entry,
            index=shown.index,
            hashes=shown.hashes,
            checkpoint=shown.checkpoint,
        )
        for name, value in changed.items():
            if name == "hashes":
                del copy.hashes[:]
                copy.hashes.extend(value)
            else:
                setattr(copy, name, value)
        return copy

    hashes = list(shown.hashes)
    text, _, _ = shown.checkpoint.partition(b"\n\n")
    yield "random bytes for an entry", but(entry=secrets.token_bytes(120))
    yield "an entry cut short", but(entry=shown.entry[:-1])
    yield "an entry with a byte added", but(entry=shown.entry + b"\x00")
    yield "an entry with a bit flipped", but(entry=flipped(shown.entry))
    yield "an entry with an unknown field", but(entry=shown.entry + b"\xa2\x06\x01x")
    yield "a proof cut short", but(hashes=hashes[:-1])
    yield "a proof too long", but(hashes=[*hashes, bytes(32)])
    yield "a hash of a wrong length", but(hashes=[hashes[0][:-1], *hashes[1:]])
    yield "a proof with a bit flipped", but(hashes=[flipped(hashes[0]), *hashes[1:]])
    yield "another index", but(index=shown.index + 1)
    yield "an index beyond the log", but(index=2**62)
    yield "random bytes for a checkpoint", but(checkpoint=secrets.token_bytes(200))
    yield "a checkpoint without signature", but(checkpoint=text + b"\n\n")
    yield "a checkpoint cut short", but(checkpoint=shown.checkpoint[:-5])
    yield "a checkpoint with a bit flipped", but(checkpoint=flipped(shown.checkpoint))
    yield "the checkpoint of another log", but(checkpoint=other.checkpoint)
    yield "a statement of another log", other


def flipped(data: bytes) -> bytes:
    """The bytes with one bit changed, in the middle."""
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize("name", SHOWING)
async def test_a_statement_that_proves_nothing_is_refused(
    cast: Cast, unchanged: None, name: str
) -> None:
    request = TABLE[name]
    other = cast.shown[CLEARING, "window"]
    for message in alone(await request.build(cast)):
        for at, shown in enumerate(statements_in(message)):
            for wrong, bad in spoilt(shown, other):
                copy = type(message)()
                copy.CopyFrom(message)
                list(statements_in(copy))[at].CopyFrom(bad)
                code, _ = await refused(cast, request, copy.SerializeToString())
                assert code in ("BAD_STATEMENT", "MALFORMED", "FORBIDDEN", "NOT_FOUND"), wrong


@pytest.mark.parametrize("name", HEARING)
async def test_heads_that_nobody_signed_are_refused(cast: Cast, unchanged: None, name: str) -> None:
    request = TABLE[name]
    window = cast.shown[CLEARING, "window"].checkpoint
    hold, pledge = cast.statement(0).checkpoint, cast.shown[ACCEPTOR, "pledge"].checkpoint
    mine = hold if request.place.startswith(ISSUER) else window
    for wrong, bad in (
        ("a checkpoint of random bytes", HeadExchange(checkpoint=secrets.token_bytes(99))),
        ("a checkpoint of another log", HeadExchange(checkpoint=hold)),
        ("a checkpoint with a bit flipped", HeadExchange(checkpoint=flipped(pledge))),
        ("a known head of another log", HeadExchange(known=pledge)),
        ("a known head with a bit flipped", HeadExchange(known=flipped(mine))),
        ("a known head of random bytes", HeadExchange(known=secrets.token_bytes(99))),
    ):
        message: Any = await request.build(cast)
        message.heads.CopyFrom(bad)
        code, _ = await refused(cast, request, message.SerializeToString())
        assert code == "BAD_STATEMENT", wrong


# --- expired, foreign, replayed, unsigned ---------------------------------------------------


async def test_every_rpc_has_a_case_or_a_reason_to_have_none() -> None:
    with_cases = {case.rpc for case in CASES}
    assert with_cases | WITHOUT_CASES == set(TABLE)
    assert not with_cases & WITHOUT_CASES


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_what_its_receiver_knows_better_is_refused(
    cast: Cast, unchanged: None, case: Case
) -> None:
    request = TABLE[case.rpc]
    message: Any = await request.build(cast)
    fields = type(message).DESCRIPTOR.fields_by_name
    if "id" in fields and "signature" not in fields:
        # What is refused is refused for its id, for ever.
        message.id = f"case-{secrets.token_hex(8)}"
    done = case.change(cast, message)
    if done is not None:
        await done
    code, field = await refused(cast, request, message.SerializeToString(), who=case.who)
    assert (code, field) == (case.code, case.field)


# --- and after all that, what is right is done, once -----------------------------------------

SENT: Final[dict[str, tuple[Message, bytes]]] = {}
"""What was sent, and answered, by the test below."""


@each_rpc
async def test_a_valid_request_is_answered(cast: Cast, name: str) -> None:
    request = TABLE[name]
    message = await request.build(cast)
    send = partial(
        cast.callers.send, request.place, request.who, request.rpc, message.SerializeToString()
    )
    # A window waits for the links to all heads that were shown, no longer than clearing would.
    data = await patiently(send, patience_s=LINK_WITHIN_S)
    answer = request.answer.FromString(data)
    assert not failures(answer)
    SENT[name] = message, data
    SEEN.clear()


async def test_whatever_was_done_is_not_done_again(cast: Cast) -> None:
    assert SENT, "the test above sends each request first"
    await until_quiet(cast)
    before = await everything(cast)
    for name, (message, first) in SENT.items():
        request = TABLE[name]
        again = await cast.callers.send(
            request.place, request.who, request.rpc, message.SerializeToString()
        )
        if name.startswith(SHOP) and "id" in type(message).DESCRIPTOR.fields_by_name:
            assert again == first, name
    assert await everything(cast) == before
