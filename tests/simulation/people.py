"""Who uses the network: members with their devices, tills, managers, the operator's staff.

They run outside every simulated process and call as anybody does, through the production
clients. Whoever insists repeats the same request until it has an answer that is final.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from comity.client.member import MemberClient
from comity.client.merchant import MerchantClient
from comity.client.operator import OperatorClient
from comity.client.session import Session, SessionChannel
from comity.clock import HOUR
from comity.errors import Unavailable
from comity.keys import SigningKey
from comity.ledger import entries
from comity.rpc.channel import Channel
from comity.terms import mandates, quotes
from comity.v1 import entry_pb2, member_pb2, merchant_pb2
from comity.v1.common_pb2 import Money
from tests.simulation import identities
from tests.simulation.hosts import Ground
from tests.simulation.identities import CLEARING

T = TypeVar("T")

PENDING = member_pb2.REDEMPTION_STATE_PENDING
PATIENCE_S = 0.5


async def insist(attempt: Callable[[], Awaitable[T]], *, pause_s: float = PATIENCE_S) -> T:
    """Repeat until it was answered; a refusal is an answer too, and is raised."""
    while True:
        try:
            return await attempt()
        except Unavailable:
            await asyncio.sleep(pause_s)


def in_session(ground: Ground, channel: Channel, brand: str, key: SigningKey) -> SessionChannel:
    """A channel whose calls are made in a session of that key."""
    origin = identities.signer(brand).origin
    return SessionChannel(channel, Session(channel, key=key, origin=origin, clock=ground.now_us))


def euro(minor: int) -> Money:
    return Money(currency="EUR", minor=minor)


class Staff:
    """A brand's till or manager."""

    def __init__(self, ground: Ground, brand: str, role: str) -> None:
        self.brand = brand
        self.key = identities.key(f"{role} {brand}")
        channel = ground.channel(f"{role} of {brand}", brand, public=True)
        self.client = MerchantClient(in_session(ground, channel, brand, self.key))

    async def record(self, purchase: merchant_pb2.Purchase) -> merchant_pb2.PurchaseResult:
        """One purchase; its failure stands in the result."""
        (result,) = await self.client.record_purchases([purchase])
        return result


def operator(ground: Ground) -> OperatorClient:
    """The operator's staff at clearing."""
    return OperatorClient(ground.channel("operator", CLEARING))


@dataclass(frozen=True, slots=True)
class Wanted:
    """A redemption as its member asked for it: all that is needed to ask again."""

    issuer: str
    acceptor: str
    request: member_pb2.RedeemRequest
    quote: entry_pb2.Quote

    @property
    def id(self) -> str:
        return self.quote.redemption_id


class Member:
    """A member of one brand, with one device."""

    def __init__(self, ground: Ground, brand: str, name: str) -> None:
        self.ground = ground
        self.brand = brand
        self.name = name
        self.key = identities.key(f"device {brand} {name}")
        self.account = ""
        channel = ground.channel(f"{name} of {brand}", brand, public=True)
        self.home = MemberClient(in_session(ground, channel, brand, self.key))
        self._guest = MemberClient(channel)

    def at(self, brand: str) -> MemberClient:
        """This member as a guest of another brand."""
        channel = self.ground.channel(f"{self.name} of {self.brand}", brand, public=True)
        return MemberClient(channel)

    async def enrol(self) -> str:
        """Join, with a profile that must never leave the brand."""
        answer = await insist(
            lambda: self._guest.enrol(
                id=f"enrol-{self.name}",
                key=self.key,
                origin=identities.signer(self.brand).origin,
                name=f"{PERSONAL} {self.name}",
                email=f"{self.name}@{PERSONAL}.example",
            )
        )
        self.account = answer.account
        return answer.account

    def purchase(self, purchase_id: str, minor: int) -> merchant_pb2.Purchase:
        return merchant_pb2.Purchase(
            purchase_id=purchase_id, account=self.account, amount=euro(minor)
        )

    async def balance(self) -> member_pb2.Balance:
        answer = await insist(self.home.get_balance)
        (balance,) = answer.balances
        return balance

    # --- redeeming --------------------------------------------------------------------

    async def want_reward(self, acceptor: str, reward_id: str, quantity: int = 1) -> Wanted:
        """Quote and mandate for a reward."""
        quoted = await insist(
            lambda: self.at(acceptor).quote_reward(
                issuer=self.brand, reward_id=reward_id, quantity=quantity
            )
        )
        return self.sign(quoted, reward_id=reward_id, quantity=quantity)

    async def want_points(self, acceptor: str, points: int, account: str) -> Wanted:
        """Quote and mandate for an exchange into an account at the acceptor."""
        quoted = await insist(
            lambda: self.at(acceptor).quote_exchange(issuer=self.brand, acceptor_points=points)
        )
        return self.sign(quoted, destination=account)

    def sign(
        self,
        quoted: member_pb2.GetQuoteResponse,
        *,
        reward_id: str = "",
        quantity: int = 0,
        destination: str = "",
        **changed: Any,
    ) -> Wanted:
        """The request that takes what was quoted; `changed` are fields of the mandate."""
        quote = quotes.read(quoted.quote)
        salt = hashlib.sha256(quoted.quote).digest()[:16] if destination else b""
        fields: dict[str, Any] = {
            "network": quote.network,
            "issuer": quote.issuer,
            "acceptor": quote.acceptor,
            "kind": quote.kind,
            "redemption_id": quote.redemption_id,
            "quote_digest": quotes.digest(quoted.quote),
            "max_points": quote.points,
            "not_after_us": self.ground.now_us() + HOUR,
            "key_id": f"key_{self.key.key_id}",
        }
        if destination:
            fields["destination"] = entries.seal_account(destination, salt)
        mandate = mandates.sign(entry_pb2.Mandate(**(fields | changed)), self.key)
        request = member_pb2.RedeemRequest(
            quote=quoted.quote,
            seal=quoted.seal,
            pickup_key=quoted.pickup_key,
            mandate=mandate,
            destination_account=destination,
            destination_salt=salt,
            reward_id=reward_id,
            quantity=quantity,
            reward_salt=quoted.reward_salt,
        )
        return Wanted(quote.issuer, quote.acceptor, request, quote)

    async def redeem(self, wanted: Wanted) -> member_pb2.Redemption:
        """Take it, and ask until it is decided."""
        client = self.at(wanted.acceptor)
        shown = await insist(lambda: client.send(wanted.request, timeout_s=12.0))
        while shown.state == PENDING:
            await asyncio.sleep(PATIENCE_S)
            shown = await self.look(wanted)
        return shown

    async def look(self, wanted: Wanted) -> member_pb2.Redemption:
        """What became of it."""
        client = self.at(wanted.acceptor)
        return await insist(
            lambda: client.get_redemption(wanted.id, pickup_key=wanted.request.pickup_key)
        )


PERSONAL = "Persephone-Quick"
"""Stands in every member's profile and nowhere else (I11)."""
