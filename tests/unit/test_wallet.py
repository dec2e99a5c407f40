"""The wallet against a brand that may be silent, slow, or dishonest; and against its own death."""

from __future__ import annotations

import asyncio
import hashlib
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from comity.client.connection import Server
from comity.clock import SECOND
from comity.errors import (
    BadStatement,
    ComityError,
    Conflict,
    InsufficientPoints,
    Malformed,
    MandateRejected,
    NotFound,
    QuoteExpired,
    Unavailable,
)
from comity.keys import PublicKey, SigningKey
from comity.ledger.entries import canonical, seal_account, seal_reward
from comity.log.note import VerifierKey
from comity.rpc.channel import Call, Channel, Metadata
from comity.terms import mandates, quotes
from comity.v1 import common_pb2, entry_pb2, log_pb2, member_pb2
from comity.wallet.offers import Money, Worth
from comity.wallet.wallet import Wallet

NOW = 1_700_000_000 * SECOND
SALT = bytes(range(16))
RDM = "rdm_" + 32 * "a"
ROOTS = "-----BEGIN CERTIFICATE-----"


class Crash(BaseException):
    """The wallet's process dies."""


def key_of(name: str) -> SigningKey:
    return SigningKey(hashlib.sha256(name.encode()).digest())


class Brand:
    """A brand's public listener: what it answers is in its attributes, what it heard too."""

    def __init__(self, name: str, network: str = "town.example") -> None:
        self.network, self.name = network, name
        self.vkey = str(VerifierKey.of(f"{network}/{name}", key_of(name).public))
        self.keys = ""
        self.clearing = str(VerifierKey.of(f"{network}/clearing", key_of("clearing").public))
        self.enrolled: list[member_pb2.EnrolRequest] = []
        self.redeemed: list[bytes] = []
        self.quote: dict[str, Any] = {}
        self.answer: Callable[[], member_pb2.Redemption] = self.delivered
        self.known: member_pb2.Redemption | None = None
        self.silent = False

    def GetCheckpoint(self, _: log_pb2.GetCheckpointRequest) -> log_pb2.GetCheckpointResponse:  # noqa: N802
        config = f'{{"network": "{self.network}", "clearingVkey": "{self.clearing}"}}'
        origin = f"{self.network}/{self.name}"
        return log_pb2.GetCheckpointResponse(
            origin=origin, vkey=self.vkey, network=config, keys=self.keys
        )

    def Enrol(self, request: member_pb2.EnrolRequest) -> member_pb2.EnrolResponse:  # noqa: N802
        self.enrolled.append(request)
        digest = hashlib.sha256(self.name.encode() + request.public_key).hexdigest()
        return member_pb2.EnrolResponse(account=f"acc_{digest[:32]}")

    def GetBalance(self, _: member_pb2.GetBalanceRequest) -> member_pb2.GetBalanceResponse:  # noqa: N802
        balance = member_pb2.Balance(unit=f"{self.name}/points", available=7)
        return member_pb2.GetBalanceResponse(balances=[balance])

    def GetQuote(self, request: member_pb2.GetQuoteRequest) -> member_pb2.GetQuoteResponse:  # noqa: N802
        exchange = bool(request.acceptor_points)
        fields: dict[str, Any] = {
            "network": self.network,
            "issuer": request.issuer,
            "acceptor": self.name,
            "redemption_id": RDM,
            "kind": common_pb2.REDEMPTION_KIND_EXCHANGE
            if exchange
            else common_pb2.REDEMPTION_KIND_REWARD,
            "agreement_id": "agr_1",
            "agreement_version": 1,
            "acceptor_points": request.acceptor_points or 30,
            "points": 60,
            "amount": common_pb2.Money(currency="EUR", minor=60),
            "reward": seal_reward(request.reward_id, request.quantity, SALT),
            "issued_at_us": NOW,
            "expires_at_us": NOW + 60 * SECOND,
        } | self.quote
        return member_pb2.GetQuoteResponse(
            quote=canonical(entry_pb2.Quote(**fields)),
            seal=b"seal",
            pickup_key=bytes(16),
            amount=common_pb2.Money(currency="EUR", minor=60),
            retail=common_pb2.Money(currency="EUR", minor=55),
            reward_salt=SALT,
        )

    def Redeem(self, request: member_pb2.RedeemRequest) -> member_pb2.RedeemResponse:  # noqa: N802
        self.redeemed.append(request.SerializeToString())
        return member_pb2.RedeemResponse(redemption=self.answer())

    def GetRedemption(  # noqa: N802
        self, _: member_pb2.GetRedemptionRequest
    ) -> member_pb2.GetRedemptionResponse:
        if self.known is None:
            raise NotFound("There is no such redemption here.")
        return member_pb2.GetRedemptionResponse(redemption=self.known)

    @staticmethod
    def delivered() -> member_pb2.Redemption:
        return member_pb2.Redemption(
            redemption_id=RDM,
            state=member_pb2.REDEMPTION_STATE_DELIVERED,
            points=60,
            vouchers=["CODE-1"],
        )


class Wire:
    """A channel to such a brand: what passes through it are bytes."""

    def __init__(self, brand: Brand) -> None:
        self.brand = brand

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
            if self.brand.silent:
                raise Unavailable("Nobody answers.")
            sent = type(request).FromString(request_serializer(request))
            answer = getattr(self.brand, path.rpartition("/")[2])(sent)
            return response_deserializer(answer.SerializeToString())

        return call

    async def close(self) -> None:
        """Nothing is open."""


class Member:
    """A person with a wallet, and the town's brands by address."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.brands = {name: Brand(name) for name in ("grocery", "fuel")}
        self.now_us = NOW
        self._drawn = 0
        self.wallet = Wallet.create(folder, **self.surroundings)

    @property
    def surroundings(self) -> Any:
        return {"connect": self.connect, "clock": lambda: self.now_us, "random": self.random}

    def connect(self, server: Server, _key: SigningKey | None) -> Channel:
        return Wire(self.brands[server.address.partition(":")[0]])

    def random(self, size: int) -> bytes:
        self._drawn += 1
        return hashlib.shake_256(self._drawn.to_bytes(8)).digest(size)

    def restart(self) -> None:
        self.wallet = Wallet.open(self.folder, **self.surroundings)

    async def join(self, *names: str) -> None:
        for name in names:
            brand = await self.wallet.learn(f"{name}:1", roots_pem=ROOTS)
            await self.wallet.enrol(brand)

    async def offer(self, reward_id: str = "car-wash") -> Any:
        store = self.wallet.store
        return await self.wallet.quote(
            issuer=store.brand("grocery"), acceptor=store.brand("fuel"), reward_id=reward_id
        )


@pytest.fixture
def member(tmp_path: Path) -> Member:
    member = Member(tmp_path / "wallet")
    asyncio.run(member.join("grocery", "fuel"))
    return member


def files(folder: Path) -> Iterator[Path]:
    return folder.rglob("*")


def test_no_two_brands_see_the_same_key(member: Member) -> None:
    (one,), (other,) = (member.brands[name].enrolled for name in ("grocery", "fuel"))
    assert one.public_key != other.public_key
    signed = b"comity-enrol/v1\ntown.example/grocery\n" + one.id.encode()
    assert PublicKey(one.public_key).verify(signed, one.signature)


def test_only_its_owner_can_read_a_wallet(member: Member) -> None:
    for path in (member.folder, *files(member.folder)):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_a_wallet_which_others_can_read_is_not_opened(member: Member) -> None:
    member.folder.chmod(0o755)
    with pytest.raises(Malformed, match="chmod 700"):
        member.restart()


def test_a_wallet_is_not_created_over_another(member: Member) -> None:
    with pytest.raises(Conflict):
        Wallet.create(member.folder)


async def test_an_enrolment_cut_off_is_repeated_under_its_id(tmp_path: Path) -> None:
    member = Member(tmp_path / "wallet")
    brand = await member.wallet.learn("grocery:1", roots_pem=ROOTS)
    member.brands["grocery"].silent = True
    with pytest.raises(Unavailable):
        await member.wallet.enrol(brand)
    member.brands["grocery"].silent = False
    member.restart()
    first = member.wallet.store.brand("grocery").enrolment_id
    await member.wallet.enrol(member.wallet.store.brand("grocery"))
    assert [one.id for one in member.brands["grocery"].enrolled] == [first]


async def test_a_brand_which_names_another_clearing_key_is_not_believed(member: Member) -> None:
    liar = Brand("drug")
    liar.clearing = str(VerifierKey.of("town.example/clearing", key_of("liar").public))
    member.brands["drug"] = liar
    with pytest.raises(BadStatement, match="another clearing vkey"):
        await member.wallet.learn("drug:1")


async def test_a_brand_which_changes_its_log_key_is_noticed(member: Member) -> None:
    other = VerifierKey.of("town.example/fuel", key_of("thief").public)
    member.brands["fuel"].vkey = str(other)
    with pytest.raises(Malformed, match="another log key"):
        await member.wallet.learn("fuel:1")


async def test_a_key_that_was_exchanged_is_known_beside_the_one_before(member: Member) -> None:
    fuel = member.brands["fuel"]
    new = str(VerifierKey.of("town.example/fuel", key_of("fuel, the next").public))
    first, fuel.vkey, fuel.keys = fuel.vkey, new, f"7 {fuel.vkey} {new}"
    member.wallet.store.verifier_keys("town.example/fuel")
    assert (await member.wallet.learn("fuel:1")).vkey == fuel.keys
    assert member.wallet.store.brand("fuel").vkey == fuel.keys
    for lie in (first, f"8 {first} {new}", new):
        fuel.vkey, fuel.keys = lie.rpartition(" ")[2], lie
        with pytest.raises(Malformed, match="another log key"):
            await member.wallet.learn("fuel:1")


@pytest.mark.row("O9")
@pytest.mark.row("L7")
async def test_a_silent_brand_hides_no_other_balance(member: Member) -> None:
    member.brands["fuel"].silent = True
    fuel, grocery = await member.wallet.balances()
    assert isinstance(fuel.failure, Unavailable)
    assert grocery.balances[0].available == 7


@pytest.mark.parametrize(
    ("amount", "retail", "loss", "share"),
    [(60, 55, 5, 833), (55, 60, -5, -909), (60, 60, 0, 0)],
)
def test_the_loss_is_the_difference_of_both_values(
    amount: int, retail: int, loss: int, share: int
) -> None:
    worth = Worth(amount=Money("EUR", amount), retail=Money("EUR", retail))
    assert worth.loss == Money("EUR", loss)
    assert worth.loss_basis_points == share


def test_values_in_two_currencies_are_not_compared() -> None:
    assert Worth(amount=Money("EUR", 1), retail=Money("USD", 1)).loss is None
    assert Worth(amount=Money("EUR", 1), retail=None).loss_basis_points is None


@pytest.mark.parametrize(
    "lie",
    [
        {"network": "other.example"},
        {"issuer": "drug"},
        {"acceptor": "drug"},
        {"kind": common_pb2.REDEMPTION_KIND_EXCHANGE},
        {"reward": seal_reward("other", 1, SALT)},
        {"reward": seal_reward("car-wash", 2, SALT)},
        {"amount": common_pb2.Money(currency="EUR", minor=61)},
    ],
    ids=lambda lie: str(next(iter(lie))),
)
async def test_a_quote_for_anything_else_is_not_signed(member: Member, lie: dict[str, Any]) -> None:
    member.brands["fuel"].quote = lie
    with pytest.raises(BadStatement, match="was not signed"):
        await member.offer()


async def test_an_expired_quote_is_neither_kept_nor_taken(member: Member) -> None:
    offer = await member.offer()
    member.now_us = offer.expires_at_us
    with pytest.raises(QuoteExpired):
        await member.wallet.redeem(offer)
    assert member.wallet.store.all_pending() == ()


async def test_a_price_above_the_maximum_is_refused_before_anything_is_sent(
    member: Member,
) -> None:
    offer = await member.offer()
    with pytest.raises(MandateRejected, match="60 points and you allow 59"):
        await member.wallet.redeem(offer, max_points=59)
    assert member.brands["fuel"].redeemed == []


async def test_a_redemption_is_signed_by_the_issuers_key_alone(member: Member) -> None:
    outcome = await member.wallet.redeem(await member.offer())
    sent = member_pb2.RedeemRequest.FromString(member.brands["fuel"].redeemed[0])
    (enrolled,) = member.brands["grocery"].enrolled
    mandates.verify(sent.mandate, PublicKey(enrolled.public_key))
    mandate = mandates.read(sent.mandate)
    assert mandate.quote_digest == quotes.digest(sent.quote)
    assert (mandate.max_points, mandate.redemption_id) == (60, RDM)
    assert outcome.receipt is not None
    assert outcome.receipt.vouchers == ("CODE-1",)
    assert member.wallet.store.all_pending() == ()


async def test_a_receipt_shown_to_others_holds_no_secret(member: Member) -> None:
    outcome = await member.wallet.redeem(await member.offer())
    assert outcome.receipt is not None
    shown = (outcome.receipt.folder / "receipt.json").read_text()
    assert "CODE-1" not in shown
    assert "pickup" not in shown


async def test_an_exchange_pays_into_the_members_own_account(member: Member) -> None:
    store = member.wallet.store
    fuel = store.brand("fuel")
    offer = await member.wallet.quote_exchange(
        issuer=store.brand("grocery"), acceptor=fuel, acceptor_points=30
    )
    await member.wallet.redeem(offer)
    sent = member_pb2.RedeemRequest.FromString(member.brands["fuel"].redeemed[0])
    sealed = seal_account(sent.destination_account, sent.destination_salt)
    assert sent.destination_account == fuel.account
    assert mandates.read(sent.mandate).destination == sealed


def test_a_wallet_that_dies_while_it_redeems_goes_on_with_the_same_bytes(member: Member) -> None:
    fuel = member.brands["fuel"]

    def die() -> member_pb2.Redemption:
        raise Crash

    fuel.answer = die
    offer = asyncio.run(member.offer())
    with pytest.raises(Crash):
        asyncio.run(member.wallet.redeem(offer))
    member.restart()
    fuel.answer = fuel.delivered
    member.now_us = offer.expires_at_us + 1
    outcome = asyncio.run(member.wallet.resume(RDM))
    assert outcome.receipt is not None
    first, second = fuel.redeemed
    assert first == second


async def test_silence_leaves_a_redemption_pending(member: Member) -> None:
    offer = await member.offer()
    member.brands["fuel"].silent = True
    outcome = await member.wallet.redeem(offer)
    assert outcome.pending
    member.brands["fuel"].silent = False
    outcome = await member.wallet.redeem(offer)
    assert not outcome.pending
    assert len(member.brands["fuel"].redeemed) == 1


def refusing(error: ComityError) -> Callable[[], member_pb2.Redemption]:
    def answer() -> member_pb2.Redemption:
        raise error

    return answer


async def test_a_refusal_ends_a_redemption(member: Member) -> None:
    member.brands["fuel"].answer = refusing(InsufficientPoints("Too few points."))
    with pytest.raises(InsufficientPoints):
        await member.wallet.redeem(await member.offer())
    assert member.wallet.store.all_pending() == ()
    assert member.wallet.store.receipt(RDM).state == "failed"


async def test_a_refused_repeat_of_what_was_taken_up_is_no_refusal(member: Member) -> None:
    fuel = member.brands["fuel"]
    fuel.answer = refusing(QuoteExpired("The quote has expired."))
    fuel.known = fuel.delivered()
    outcome = await member.wallet.redeem(await member.offer())
    assert outcome.receipt is not None
    assert outcome.receipt.state == "delivered"


async def test_a_receipt_follows_a_later_reversal(member: Member) -> None:
    fuel = member.brands["fuel"]
    await member.wallet.redeem(await member.offer())
    fuel.known = fuel.delivered()
    fuel.known.state = member_pb2.REDEMPTION_STATE_REVERSED
    fuel.known.reversed_points = 60
    outcome = await member.wallet.resume(RDM)
    assert outcome.receipt is not None
    assert (outcome.receipt.state, outcome.receipt.vouchers) == ("reversed", ("CODE-1",))


@pytest.mark.parametrize("name", ["rdm_../../../etc/passwd", "rdm_", "../rdm", "rdm_" + "/" * 32])
def test_a_redemption_id_never_leads_out_of_the_wallet(member: Member, name: str) -> None:
    for look in (member.wallet.store.receipt, member.wallet.store.pending):
        with pytest.raises(Malformed, match="no redemption id"):
            look(name)


@pytest.mark.parametrize("origin", ["town.example/..", "../fuel", "fuel", "town.example/.x"])
def test_a_key_file_never_lies_outside_the_wallet(member: Member, origin: str) -> None:
    with pytest.raises(Malformed, match="cannot be the name"):
        member.wallet.store.key_for(origin)
