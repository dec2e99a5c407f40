"""Whatever is wrong with a request, its sender is told what, and nothing changes.

Two tables walk every RPC of a real network: the limits of the protos, broken one by one
(`tests.e2e.rpc_mutations`), and below, by hand, what no single message can show: what has
expired, is somebody else's, was used before, or carries a signature that is not one.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest
import pytest_asyncio
from google.protobuf.message import Message

from comity.client.member import enrol_message
from comity.client.session import key_name
from comity.clock import MINUTE, system_clock
from comity.errors import BY_CODE, Unavailable
from comity.keys import SigningKey
from comity.ledger import entries
from comity.rpc.authorisation import permissions
from comity.rpc.tokens import Challenges, challenge_message
from comity.terms import mandates, quotes
from comity.v1 import clearing_pb2, peer_pb2
from comity.v1.common_pb2 import Failure, HeadExchange, Money, Statement
from comity.v1.entry_pb2 import Quote
from node.quoting import Quoting
from tests.e2e.crash_stage import ACCEPTOR, CLEARING, CURRENCY, ISSUER, stage_at
from tests.e2e.rpc_mutations import garbage, mutations
from tests.e2e.rpc_requests import (
    PURCHASE,
    REQUESTS,
    Cast,
    Request,
    cast_in,
    heads,
    redeem,
    until_quiet,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

TABLE: Final = {request.name: request for request in REQUESTS}
OVERSIZED: Final = b"\x7a" + bytes(4 * 1024 * 1024)

each_rpc = pytest.mark.parametrize("name", TABLE)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cast(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cast]:
    async with stage_at(tmp_path_factory.mktemp("bad-input") / "network") as stage:
        made = await cast_in(stage)
        await until_quiet(made)
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
        for one in await cast.stage.network.operator.list_participants()
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


Change = Callable[[Cast, Any], Awaitable[None] | None]


@dataclass(frozen=True, slots=True)
class Case:
    """A valid request with something wrong that only its receiver can know."""

    rpc: str
    wrong: str
    change: Change
    code: str
    field: str = ""
    who: str = ""

    def __str__(self) -> str:
        return f"{self.rpc}: {self.wrong}"


NOBODY: Final = "acc_" + "0" * 32
NOTHING: Final = "rdm_" + "0" * 32
NO_SIGNATURE: Final = bytes(64)
NO_KEY: Final = "key_" + "0" * 16


def put(**values: Any) -> Change:
    """Sets fields, by path with `__` for dots and numbers for items."""

    def change(_: Cast, message: Any) -> None:
        for path, value in values.items():
            *way, last = path.split("__")
            at = message
            for step in way:
                at = at[int(step)] if step.isdigit() else getattr(at, step)
            if isinstance(value, Message):
                getattr(at, last).CopyFrom(value)
            else:
                setattr(at, last, value)

    return change


def _signed_elsewhere(cast: Cast, message: Any) -> None:
    """Proof of the key, made for another brand."""
    key = SigningKey.generate(secrets.token_bytes)
    message.public_key = key.public.raw
    message.signature = key.sign(enrol_message(cast.origin(ACCEPTOR), message.id))


def _enrolled_before(cast: Cast, message: Any) -> None:
    message.public_key = cast.key.public.raw
    message.signature = cast.key.sign(enrol_message(cast.origin(ISSUER), message.id))


def _challenge_of(cast: Cast, message: Any, *, origin: str, age_us: int, key_id: str) -> None:
    challenges = Challenges(
        origin=cast.origin(origin),
        secret=cast.callers.secret(origin),
        clock=lambda: system_clock() - age_us,
        random=secrets.token_bytes,
    )
    message.challenge = challenges.issue(key_id)
    message.signature = cast.key.sign(challenge_message(cast.origin(ISSUER), message.challenge))


def _old_challenge(cast: Cast, message: Any) -> None:
    _challenge_of(cast, message, origin=ISSUER, age_us=2 * MINUTE, key_id=message.key_id)


def _challenge_elsewhere(cast: Cast, message: Any) -> None:
    _challenge_of(cast, message, origin=ACCEPTOR, age_us=0, key_id=message.key_id)


def _challenge_for_another(cast: Cast, message: Any) -> None:
    another = key_name(cast.second_device)
    _challenge_of(cast, message, origin=ISSUER, age_us=0, key_id=another)


def _answered_for_another(cast: Cast, message: Any) -> None:
    signed = challenge_message(cast.origin(ACCEPTOR), message.challenge)
    message.signature = cast.key.sign(signed)


def _quoting(cast: Cast) -> Quoting:
    return Quoting(
        network=cast.stage.network.name,
        participant=ACCEPTOR,
        secret=cast.callers.secret(ACCEPTOR).derive("comity-quote/v1"),
        random=secrets.token_bytes,
    )


def sealed_again(cast: Cast, message: Any, **changed: Any) -> None:
    """The quote of a redemption with figures changed, truly sealed, and consented to."""
    quote = quotes.read(message.quote)
    for name, value in changed.items():
        setattr(quote, name, value)
    message.quote = entries.canonical(quote)
    quoting = _quoting(cast)
    message.seal = quoting._hmac(b"comity-quote-seal/v1\n", message.quote)
    message.pickup_key = quoting.pickup_key(quote.redemption_id)
    consented_again(cast, message, quote, message.quote)


def consented_again(cast: Cast, message: Any, quote: Quote, data: bytes, **changed: Any) -> None:
    """The mandate for these bytes, with fields changed, truly signed."""
    mandate = mandates.read(message.mandate)
    mandate.quote_digest = quotes.digest(data)
    mandate.not_after_us = quote.expires_at_us
    for name, value in changed.items():
        setattr(mandate, name, value)
    message.mandate.CopyFrom(mandates.sign(mandate, cast.key))


def _expired_quote(cast: Cast, message: Any) -> None:
    sealed_again(cast, message, expires_at_us=quotes.read(message.quote).issued_at_us)


def _mandate_of(**changed: Any) -> Change:
    """The mandate in `message` (a redemption, or the first hold), changed and signed."""

    def change(cast: Cast, message: Any) -> None:
        part = message.holds[0] if isinstance(message, peer_pb2.PlaceHoldsRequest) else message
        consented_again(cast, part, quotes.read(part.quote), part.quote, **changed)

    return change


def _used_quote(cast: Cast, message: Any) -> None:
    """The quote of a redemption that is done, under a new consent."""
    offer = cast.offer
    message.quote, message.seal = offer.quote, offer.seal
    message.pickup_key, message.reward_salt = offer.pickup_key, offer.reward_salt
    quote = quotes.read(offer.quote)
    mandate = mandates.read(message.mandate)
    mandate.redemption_id = quote.redemption_id
    message.mandate.CopyFrom(mandates.sign(mandate, cast.key))
    consented_again(cast, message, quote, offer.quote, max_points=quote.points + 1)


async def _used_hold(cast: Cast, message: Any) -> None:
    used = await redeem(cast)
    _used_quote(cast, used)
    message.holds[0].quote = used.quote
    message.holds[0].mandate.CopyFrom(used.mandate)


def _held_quote(**changed: Any) -> Change:
    """The quote in the first hold, changed; consent is given to it as it then is."""

    def change(cast: Cast, message: Any) -> None:
        hold = message.holds[0]
        quote = quotes.read(hold.quote)
        for name, value in changed.items():
            setattr(quote, name, value)
        hold.quote = entries.canonical(quote)
        consented_again(cast, hold, quote, hold.quote)

    return change


def _expired_hold(cast: Cast, message: Any) -> None:
    issued_at_us = quotes.read(message.holds[0].quote).issued_at_us
    _held_quote(expires_at_us=issued_at_us)(cast, message)


def _long_hold(cast: Cast, message: Any) -> None:
    _held_quote(expires_at_us=system_clock() + 60 * MINUTE)(cast, message)


def _unknown_signer(cast: Cast, message: Any) -> None:
    key = SigningKey.generate(secrets.token_bytes)
    hold = message.holds[0]
    mandate = mandates.read(hold.mandate)
    mandate.key_id = key_name(key)
    hold.mandate.CopyFrom(mandates.sign(mandate, key))


def _hold_of(**values: Any) -> Change:
    return put(**{f"holds__0__{name}": value for name, value in values.items()})


def one_claim(**claim: Callable[[Cast], Message]) -> Change:
    """Replaces the claims with one."""

    def change(cast: Cast, message: Any) -> None:
        del message.claims[:]
        (name, make) = next(iter(claim.items()))
        getattr(message.claims.add(), name).CopyFrom(make(cast))

    return change


def _hold_claim(cast: Cast, *, quote: bytes = b"") -> Message:
    return clearing_pb2.HoldClaim(hold=cast.statement(0), quote=quote or cast.offer.quote)


def _other_quote(cast: Cast) -> Message:
    quote = quotes.read(cast.offer.quote)
    quote.points += 1
    return _hold_claim(cast, quote=entries.canonical(quote))


def _reused_id(cast: Cast, message: Any) -> None:
    """A hold for the redemption, but not the one that was decided."""
    del message.claims[:]
    abort = message.claims.add().abort
    abort.issuer, abort.acceptor = ISSUER, ACCEPTOR
    abort.redemption_id = cast.redemption.redemption_id
    abort.hold.CopyFrom(cast.shown[ISSUER, "first hold"])


def _shows(name: str, origin: str, kind: str) -> Change:
    """Shows a true statement where another one is wanted."""

    def change(cast: Cast, message: Any) -> None:
        getattr(message, name).CopyFrom(cast.shown[origin, kind])

    return change


def _foreign_admission(cast: Cast, message: Any) -> None:
    """The request of a brand that was admitted, with the key of one that was not."""
    message.vkey = message.vkey.replace(f"/{message.display_name}+", f"/{ISSUER}+")


def _elsewhere(cast: Cast, message: Any) -> None:
    message.vkey = message.vkey.replace(cast.stage.network.name, "elsewhere.example")


def _last_manager(cast: Cast, message: Any) -> None:
    message.key_id = key_name(cast.callers.staff[ACCEPTOR, "manager"])


def _between_others(cast: Cast, message: Any) -> None:
    message.terms.issuer, message.terms.acceptor = ISSUER, "cumin"


def _only(**values: Any) -> Change:
    """The first purchase alone, under a new id, with fields set."""

    def change(cast: Cast, message: Any) -> None:
        del message.purchases[1:]
        message.purchases[0].purchase_id = f"sale-{secrets.token_hex(4)}"
        put(**{f"purchases__0__{name}": value for name, value in values.items()})(cast, message)

    return change


def _euro(minor: int) -> Money:
    return Money(currency=CURRENCY, minor=minor)


M, P, C, O = "MemberService", "PeerService", "ClearingService", "OperatorService"  # noqa: E741
S, L, SHOP = "SessionService", "LogService", "MerchantService"

CASES: Final = (
    # Logs and sessions.
    Case(f"{L}/GetTile", "no such tile", put(index=9, level=3), "NOT_FOUND"),
    Case(f"{L}/ProveConsistency", "no such size", put(new_size=10**6), "NOT_FOUND", "new_size"),
    Case(f"{L}/ProveConsistency", "shrinking", put(old_size=3), "MALFORMED", "old_size"),
    Case(f"{L}/ProveInclusion", "no such entry", put(index=10**6), "NOT_FOUND", "index"),
    Case(f"{L}/ProveInclusion", "no such size", put(size=10**6), "NOT_FOUND", "size"),
    Case(
        f"{S}/OpenSession", "unsigned", put(signature=NO_SIGNATURE), "UNAUTHENTICATED", "signature"
    ),
    Case(f"{S}/OpenSession", "expired challenge", _old_challenge, "UNAUTHENTICATED", "challenge"),
    Case(
        f"{S}/OpenSession",
        "challenge of another server",
        _challenge_elsewhere,
        "UNAUTHENTICATED",
        "challenge",
    ),
    Case(
        f"{S}/OpenSession",
        "challenge for another key",
        _challenge_for_another,
        "UNAUTHENTICATED",
        "challenge",
    ),
    Case(
        f"{S}/OpenSession",
        "answer to another server",
        _answered_for_another,
        "UNAUTHENTICATED",
        "signature",
    ),
    # Members.
    Case(f"{M}/Enrol", "unsigned", put(signature=NO_SIGNATURE), "MALFORMED", "signature"),
    Case(f"{M}/Enrol", "signed for another brand", _signed_elsewhere, "MALFORMED", "signature"),
    Case(f"{M}/Enrol", "no key", put(public_key=bytes(32)), "MALFORMED"),
    Case(f"{M}/Enrol", "key of a member", _enrolled_before, "CONFLICT", "public_key"),
    Case(f"{M}/AddDevice", "unsigned", put(signature=NO_SIGNATURE), "MALFORMED", "signature"),
    Case(f"{M}/AddDevice", "signed for another brand", _signed_elsewhere, "MALFORMED", "signature"),
    Case(f"{M}/AddDevice", "key of a member", _enrolled_before, "CONFLICT", "public_key"),
    Case(
        f"{M}/RevokeDevice",
        "somebody else's",
        put(key_id="key_0123456789abcdef"),
        "NOT_FOUND",
        "key_id",
    ),
    Case(f"{M}/ListLots", "no cursor of ours", put(cursor="zzz"), "MALFORMED", "cursor"),
    Case(f"{M}/ListActivity", "no cursor of ours", put(cursor="zzz"), "MALFORMED", "cursor"),
    Case(
        f"{M}/GetIssuerReceipt",
        "somebody else's",
        put(redemption_id=NOTHING),
        "NOT_FOUND",
        "redemption_id",
    ),
    # Guests.
    Case(f"{M}/GetQuote", "issuer without agreement", put(issuer="cumin"), "AGREEMENT_INACTIVE"),
    Case(f"{M}/GetQuote", "no such reward", put(reward_id="moon"), "NOT_FOUND", "reward_id"),
    Case(f"{M}/GetQuote", "above the maximum", put(acceptor_points=10**9), "LIMIT_EXCEEDED"),
    Case(
        f"{M}/GetQuote",
        "more than can be counted",
        put(acceptor_points=2**63 - 1),
        "LIMIT_EXCEEDED",
    ),
    Case(f"{M}/Redeem", "unsealed quote", put(seal=bytes(32)), "FORBIDDEN", "seal"),
    Case(f"{M}/Redeem", "expired quote", _expired_quote, "QUOTE_EXPIRED"),
    Case(
        f"{M}/Redeem",
        "expired mandate",
        _mandate_of(not_after_us=1),
        "MANDATE_REJECTED",
        "not_after_us",
    ),
    Case(
        f"{M}/Redeem",
        "mandate for less",
        _mandate_of(max_points=1),
        "MANDATE_REJECTED",
        "max_points",
    ),
    Case(
        f"{M}/Redeem",
        "mandate for another quote",
        _mandate_of(quote_digest=bytes(32)),
        "MANDATE_REJECTED",
        "quote_digest",
    ),
    Case(
        f"{M}/Redeem",
        "mandate for another acceptor",
        _mandate_of(acceptor="cumin"),
        "MANDATE_REJECTED",
        "acceptor",
    ),
    Case(
        f"{M}/Redeem",
        "mandate for another network",
        _mandate_of(network="x"),
        "MANDATE_REJECTED",
        "network",
    ),
    Case(f"{M}/Redeem", "no mandate", put(mandate__mandate=b"\xff" * 40), "BAD_STATEMENT"),
    Case(
        f"{M}/Redeem",
        "somebody else's pickup key",
        put(pickup_key=bytes(16)),
        "FORBIDDEN",
        "pickup_key",
    ),
    Case(f"{M}/Redeem", "another reward", put(reward_id="plate"), "MANDATE_REJECTED", "reward_id"),
    Case(f"{M}/Redeem", "replayed with another mandate", _used_quote, "CONFLICT", "mandate"),
    Case(
        f"{M}/GetRedemption",
        "somebody else's pickup key",
        put(pickup_key=bytes(16)),
        "FORBIDDEN",
        "pickup_key",
    ),
    Case(
        f"{M}/GetRedemption",
        "somebody else's redemption",
        put(redemption_id=NOTHING),
        "FORBIDDEN",
        "pickup_key",
    ),
    # Tills and managers.
    Case(
        f"{SHOP}/RecordPurchases", "no such member", _only(account=NOBODY), "NOT_FOUND", "account"
    ),
    Case(
        f"{SHOP}/RecordPurchases",
        "another currency",
        _only(amount__currency="USD"),
        "MALFORMED",
        "amount.currency",
    ),
    Case(
        f"{SHOP}/RecordPurchases",
        "nothing paid",
        _only(amount__minor=0),
        "MALFORMED",
        "amount.minor",
    ),
    Case(
        f"{SHOP}/RecordPurchases",
        "in the future",
        _only(occurred_at_us=2**62),
        "LIMIT_EXCEEDED",
        "occurred_at_us",
    ),
    Case(
        f"{SHOP}/RecordPurchases",
        "replayed with another amount",
        _only(purchase_id=PURCHASE),
        "CONFLICT",
        "amount.minor",
    ),
    Case(
        f"{SHOP}/PutReward", "replayed with another reward", put(id="mug"), "CONFLICT", "reward_id"
    ),
    Case(f"{SHOP}/SetStock", "replayed", put(id="mug"), "CONFLICT", "change"),
    Case(
        f"{SHOP}/RefundPurchase",
        "no such purchase",
        put(purchase_id="x"),
        "NOT_FOUND",
        "purchase_id",
    ),
    Case(
        f"{SHOP}/RefundPurchase",
        "more than was paid",
        put(cumulative=_euro(10**9)),
        "NOT_REVERSIBLE",
        "cumulative.minor",
    ),
    Case(
        f"{SHOP}/RefundPurchase",
        "another currency",
        put(cumulative__currency="USD"),
        "MALFORMED",
        "cumulative.currency",
    ),
    Case(
        f"{SHOP}/RecordPartnerPurchase",
        "issuer without agreement",
        put(issuer="cumin"),
        "AGREEMENT_INACTIVE",
    ),
    Case(
        f"{SHOP}/RecordPartnerPurchase",
        "another currency",
        put(amount__currency="USD"),
        "MALFORMED",
        "amount.currency",
    ),
    Case(
        f"{SHOP}/CheckVoucher",
        "typing error",
        put(code="AAAA-AAAA-AAAA-AAAA-A"),
        "MALFORMED",
        "code",
    ),
    Case(
        f"{SHOP}/CheckVoucher",
        "no such voucher",
        put(code="0000-0000-0000-0000-0"),
        "NOT_FOUND",
        "code",
    ),
    Case(
        f"{SHOP}/UseVoucher",
        "no such voucher",
        put(code="0000-0000-0000-0000-0"),
        "NOT_FOUND",
        "code",
    ),
    Case(
        f"{SHOP}/UseVoucher",
        "used before",
        lambda cast, m: setattr(m, "code", cast.used),
        "ALREADY_USED",
    ),
    Case(
        f"{SHOP}/ReverseRedemption",
        "somebody else's",
        put(redemption_id=NOTHING),
        "NOT_REVERSIBLE",
    ),
    Case(
        f"{SHOP}/ReverseRedemption",
        "more than was taken",
        put(cumulative_points=10**9),
        "NOT_REVERSIBLE",
    ),
    Case(
        f"{SHOP}/FindRedemption",
        "somebody else's",
        put(redemption_id=NOTHING),
        "NOT_FOUND",
        "redemption_id",
    ),
    Case(f"{SHOP}/AdjustPoints", "no such member", put(account=NOBODY), "NOT_FOUND", "account"),
    Case(
        f"{SHOP}/AdjustPoints",
        "takes more than there is",
        put(points=-(10**12)),
        "INSUFFICIENT_POINTS",
    ),
    Case(f"{SHOP}/SetStock", "no such reward", put(reward_id="moon"), "NOT_FOUND", "reward_id"),
    Case(
        f"{SHOP}/SetStock",
        "takes more than there is",
        put(change=-(10**9)),
        "OUT_OF_STOCK",
        "change",
    ),
    Case(f"{SHOP}/AddStaffKey", "no key", put(public_key=bytes(32)), "MALFORMED"),
    Case(f"{SHOP}/RemoveStaffKey", "nobody's", put(key_id=NO_KEY), "NOT_FOUND", "key_id"),
    Case(f"{SHOP}/RemoveStaffKey", "the last manager", _last_manager, "REFUSED"),
    Case(f"{SHOP}/LockMember", "no such member", put(account=NOBODY), "NOT_FOUND", "account"),
    Case(f"{SHOP}/EraseMember", "no such member", put(account=NOBODY), "NOT_FOUND", "account"),
    Case(f"{SHOP}/ProposeAgreement", "between others", _between_others, "FORBIDDEN", "terms"),
    Case(
        f"{SHOP}/ProposeAgreement",
        "ends before it begins",
        put(terms__valid_until_us=1),
        "MALFORMED",
        "terms.valid_until_us",
    ),
    Case(
        f"{SHOP}/ProposeAgreement",
        "a version that exists",
        put(terms__agreement_id="agr_main"),
        "CONFLICT",
        "terms.version",
    ),
    Case(
        f"{SHOP}/AcceptAgreement",
        "never offered",
        put(agreement_id="agr_none"),
        "NOT_FOUND",
        "agreement_id",
    ),
    Case(f"{SHOP}/AcceptAgreement", "in force already", put(agreement_id="agr_main"), "CONFLICT"),
    Case(
        f"{SHOP}/TerminateAgreement",
        "never made",
        put(agreement_id="agr_none"),
        "NOT_FOUND",
        "agreement_id",
    ),
    Case(f"{SHOP}/ListRedemptions", "no cursor of ours", put(cursor="zzz"), "MALFORMED"),
    Case(f"{SHOP}/GetWindowStatement", "no such window", put(window=999), "NOT_FOUND", "window"),
    # Brands.
    Case(f"{P}/PlaceHolds", "expired quote", _expired_hold, "QUOTE_EXPIRED"),
    Case(f"{P}/PlaceHolds", "quote that lives too long", _long_hold, "MALFORMED", "expires_at_us"),
    Case(
        f"{P}/PlaceHolds", "quote of another acceptor", _held_quote(acceptor="cumin"), "FORBIDDEN"
    ),
    Case(
        f"{P}/PlaceHolds",
        "quote for another issuer",
        _held_quote(issuer=ACCEPTOR),
        "MANDATE_REJECTED",
        "issuer",
    ),
    Case(f"{P}/PlaceHolds", "figures not agreed on", _held_quote(points=1), "MALFORMED", "points"),
    Case(
        f"{P}/PlaceHolds",
        "no such agreement",
        _held_quote(agreement_id="agr_x"),
        "AGREEMENT_INACTIVE",
    ),
    Case(
        f"{P}/PlaceHolds",
        "expired mandate",
        _mandate_of(not_after_us=1),
        "MANDATE_REJECTED",
        "not_after_us",
    ),
    Case(
        f"{P}/PlaceHolds",
        "mandate for less",
        _mandate_of(max_points=1),
        "MANDATE_REJECTED",
        "max_points",
    ),
    Case(
        f"{P}/PlaceHolds",
        "unsigned mandate",
        _hold_of(mandate__signature=NO_SIGNATURE),
        "BAD_STATEMENT",
    ),
    Case(
        f"{P}/PlaceHolds",
        "signed by nobody's device",
        _unknown_signer,
        "MANDATE_REJECTED",
        "key_id",
    ),
    Case(
        f"{P}/PlaceHolds", "a quote of random bytes", _hold_of(quote=b"\xff" * 50), "BAD_STATEMENT"
    ),
    Case(
        f"{P}/PlaceHolds",
        "a mandate of random bytes",
        _hold_of(mandate__mandate=b"\xff" * 50),
        "BAD_STATEMENT",
    ),
    Case(f"{P}/PlaceHolds", "replayed with another mandate", _used_hold, "CONFLICT", "mandate"),
    Case(f"{P}/PlaceHolds", "to itself", put(), "FORBIDDEN", who=ISSUER),
    Case(
        f"{P}/DeliverPledges", "another account", put(pledges__0__account=NOBODY), "BAD_STATEMENT"
    ),
    Case(f"{P}/DeliverPledges", "another salt", put(pledges__0__salt=bytes(16)), "BAD_STATEMENT"),
    Case(
        f"{P}/OfferAgreement",
        "of another kind",
        _shows("statement", ACCEPTOR, "delivery"),
        "MALFORMED",
    ),
    Case(
        f"{P}/OfferAgreement", "one's own", _shows("statement", ISSUER, "propose"), "BAD_STATEMENT"
    ),
    # Clearing.
    Case(f"{C}/Claim", "with another quote", one_claim(hold=_other_quote), "MALFORMED", "quote"),
    Case(
        f"{C}/Claim", "a hold by its issuer", one_claim(hold=_hold_claim), "FORBIDDEN", who=ISSUER
    ),
    Case(f"{C}/Claim", "a decided redemption with another hold", _reused_id, "CONFLICT", "hold"),
    Case(
        f"{C}/Claim",
        "a pledge of another partner",
        one_claim(
            pledge=lambda cast: clearing_pb2.PledgeClaim(pledge=cast.shown[ACCEPTOR, "pledge"])
        ),
        "BAD_STATEMENT",
        who=ISSUER,
    ),
    Case(
        f"{C}/Claim",
        "an abort between others",
        one_claim(
            abort=lambda _: clearing_pb2.AbortClaim(
                issuer=ISSUER, acceptor="cumin", redemption_id=NOTHING
            )
        ),
        "FORBIDDEN",
    ),
    Case(
        f"{C}/Claim",
        "an early abort by the issuer",
        one_claim(
            abort=lambda _: clearing_pb2.AbortClaim(
                issuer=ISSUER, acceptor=ACCEPTOR, redemption_id=NOTHING
            )
        ),
        "FORBIDDEN",
        "hold",
        who=ISSUER,
    ),
    Case(f"{C}/Report", "another's delivery", put(), "BAD_STATEMENT", who=ISSUER),
    Case(
        f"{C}/Resolve",
        "others' redemption",
        put(keys__0__issuer="cumin", keys__0__acceptor="dill"),
        "FORBIDDEN",
        "keys",
    ),
    Case(
        f"{C}/RegisterAgreement",
        "nothing",
        lambda _, m: m.ClearField("accept"),
        "MALFORMED",
        "accept",
    ),
    Case(
        f"{C}/RegisterAgreement",
        "of another kind",
        _shows("accept", ACCEPTOR, "delivery"),
        "MALFORMED",
    ),
    Case(
        f"{C}/RegisterAgreement",
        "both at once",
        _shows("terminate", ACCEPTOR, "accept"),
        "MALFORMED",
        "terminate",
    ),
    Case(f"{C}/Acknowledge", "another's", _shows("statement", ISSUER, "ack"), "BAD_STATEMENT"),
    Case(
        f"{C}/Acknowledge",
        "of another kind",
        _shows("statement", ACCEPTOR, "delivery"),
        "MALFORMED",
    ),
    Case(f"{C}/ReadWindow", "no such window", put(window=999), "NOT_FOUND", "window"),
    # The operator.
    Case(f"{O}/AdmitParticipant", "unsigned", put(binding=NO_SIGNATURE), "MALFORMED"),
    Case(f"{O}/AdmitParticipant", "no request", put(certificate_request=b"x"), "MALFORMED"),
    Case(f"{O}/AdmitParticipant", "no key", put(vkey="x"), "MALFORMED"),
    Case(f"{O}/AdmitParticipant", "another's name", _foreign_admission, "MALFORMED"),
    Case(f"{O}/AdmitParticipant", "a log of another network", _elsewhere, "MALFORMED"),
    Case(f"{O}/SetStanding", "no such brand", put(participant="cumin"), "NOT_FOUND", "participant"),
    Case(f"{O}/SetCap", "no such brand", put(participant="cumin"), "NOT_FOUND", "participant"),
    Case(f"{O}/SetCap", "below zero", put(net_debit_cap__minor=-1), "MALFORMED", "net_debit_cap"),
    Case(f"{O}/CloseWindow", "closed before", put(window=1), "ALREADY_DECIDED", "window"),
    Case(f"{O}/SettleWindow", "still open", put(window=999), "NOT_FOUND", "window"),
    Case(f"{O}/ReconcileWindow", "no such window", put(window=999), "NOT_FOUND", "window"),
    Case(f"{O}/ReadParticipantWindow", "no such window", put(window=999), "NOT_FOUND", "window"),
    Case(f"{O}/ReadParticipantWindow", "no such brand", put(participant="cumin"), "NOT_FOUND"),
    Case(f"{O}/AdmitAuditor", "no key", put(public_key=bytes(32)), "MALFORMED"),
)

WITHOUT_CASES: Final = frozenset(
    {
        # They ask for a page or for the caller's own, and name nothing that could be wrong.
        *(f"{L}/{name}" for name in ("GetCheckpoint", "ReadEntries")),
        *(f"{M}/{name}" for name in ("ListDevices", "GetBalance", "ListRewards")),
        *(f"{SHOP}/{name}" for name in ("GetTotals", "ListBrandAgreements")),
        *(f"{P}/{name}" for name in ("ReadBook", "ReadMirror")),
        f"{C}/Follow",
        *(
            f"{O}/{name}"
            for name in ("ListParticipants", "ListAgreements", "ListWindows", "ListDecisions")
        ),
        # An unknown key gets a challenge like any other, so that nobody can ask who is a member.
        f"{S}/BeginSession",
        # They show heads and nothing else.
        f"{P}/ExchangeHeads",
        f"{C}/Pulse",
    }
)


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
    data = await cast.callers.send(
        request.place, request.who, request.rpc, message.SerializeToString()
    )
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
