"""A network as the demonstration starts one, and members of one brand who redeem at the other.

Every process runs with its default settings: `comity clearing run` and `comity node run`, one
database each, brands and clearing among each other over mutual TLS, members over TLS.
"""

from __future__ import annotations

import asyncio
import random as seeded
import secrets
import time
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from types import TracebackType

from cli.demo.network import Brand, Network
from cli.demo.patience import patiently, until
from comity.client.connection import connect
from comity.client.member import MemberClient
from comity.clock import DAY, MINUTE, system_clock
from comity.errors import ComityError
from comity.keys import SigningKey
from comity.terms import mandates, quotes
from comity.v1 import common_pb2, entry_pb2, member_pb2, merchant_pb2

ISSUER, ACCEPTOR = "grocery", "fuel"
CURRENCY = "EUR"
BOUNDLESS = 10**12
REWARDS = {f"reward-{number}": 50 + 10 * number for number in range(8)}
"""Prices in points by reward."""

PROGRAMME = """\
version: '1'
name: {name}
zone: Europe/Amsterdam
currency: EUR
units: {{points: {{kind: hard}}}}
earn: {{purchase: {{on: purchase, rate: {{points: 1, per_minor: 1}}}}}}
return_window_days: 0
"""

CHANNELS = 4
"""Connections that the members share; a real member has one of her own."""


class Shop:
    """The network, its members and what they can have."""

    def __init__(self, folder: Path, *, members: int) -> None:
        self.network = Network(
            folder,
            brands=[
                Brand(
                    id=name,
                    name=name.title(),
                    programme=PROGRAMME.format(name=name),
                    caps=(common_pb2.Money(currency=CURRENCY, minor=BOUNDLESS),),
                )
                for name in (ISSUER, ACCEPTOR)
            ],
        )
        self._members = members
        self._keys: list[SigningKey] = []
        self._guests: list[MemberClient] = []
        self._open = AsyncExitStack()
        self._random = seeded.Random(3)

    async def __aenter__(self) -> Shop:
        await self._open.enter_async_context(self.network)
        await self._fill_catalogue()
        await self._agree()
        await self._enrol()
        self._guests = [self._guest(ACCEPTOR) for _ in range(CHANNELS)]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._open.aclose()

    # --- redeeming --------------------------------------------------------------------

    async def redeem(self) -> float:
        """Quote and redeem, two calls; returns how long the second one took until the receipt."""
        guest, key = self._random.choice(self._guests), self._random.choice(self._keys)
        reward_id = self._random.choice(list(REWARDS))
        quoted = await guest.quote_reward(issuer=ISSUER, reward_id=reward_id)
        request = _consent(quoted, key, reward_id)
        began = time.perf_counter()
        redemption = await guest.send(request)
        elapsed = time.perf_counter() - began
        if redemption.state != member_pb2.REDEMPTION_STATE_DELIVERED:
            raise RuntimeError(f"a redemption was not delivered: {redemption}")
        assert len(redemption.receipt) == 3
        return elapsed

    async def run(self, seconds: float, *, in_flight: int) -> tuple[float, list[float]]:
        """Redemptions per second with so many always under way, and how long each took."""
        end = time.perf_counter() + seconds
        took: list[float] = []

        async def one_after_another() -> None:
            while (began := time.perf_counter()) < end:
                await self.redeem()
                took.append(time.perf_counter() - began)

        began = time.perf_counter()
        await asyncio.gather(*(one_after_another() for _ in range(in_flight)))
        return len(took) / (time.perf_counter() - began), took

    async def quiet(self) -> None:
        """Wait until what follows redemptions in the background has been done."""
        manager = self.network.manager(ISSUER)

        async def nothing_held() -> bool:
            totals = await manager.get_totals()
            held = entry_pb2.ACCOUNT_CLASS_HELD
            return not any(one.points for one in totals.totals if one.account_class == held)

        await until(nothing_held, what="the issuer to post what was decided")
        await asyncio.sleep(1.5)

    # --- making it --------------------------------------------------------------------

    def _guest(self, brand: str) -> MemberClient:
        channel = connect(self.network.server(brand))
        return MemberClient(self.network.closed_at_end(channel))

    async def _fill_catalogue(self) -> None:
        manager = self.network.manager(ACCEPTOR)
        for reward_id, price in REWARDS.items():
            reward = member_pb2.Reward(
                reward_id=reward_id,
                title=reward_id,
                kind=member_pb2.REWARD_KIND_VOUCHER,
                price_points=price,
                stock=-1,
                active=True,
            )
            await patiently(partial(manager.put_reward, id=f"put-{reward_id}", reward=reward))

    async def _agree(self) -> None:
        proposing, accepting = self.network.manager(ISSUER), self.network.manager(ACCEPTOR)
        terms = _terms(system_clock())
        await patiently(partial(proposing.propose_agreement, id="propose-1", terms=terms))

        async def state(*wanted: str) -> bool:
            found = await accepting.list_agreements()
            return any(one.state in wanted for one in found)

        await until(partial(state, "OFFERED", "ACTIVE"), what="the offer")
        await patiently(
            partial(
                accepting.accept_agreement,
                id="accept-1",
                agreement_id=terms.agreement_id,
                version=terms.version,
            )
        )
        await until(partial(state, "ACTIVE"), what="the agreement")

    async def _enrol(self) -> None:
        guest, till = self._guest(ISSUER), await self.network.till(ISSUER)
        origin = self.network.origin(ISSUER)

        async def join(number: int) -> merchant_pb2.Purchase:
            key = SigningKey.generate(secrets.token_bytes)
            enrolled = await guest.enrol(id=f"enrol-{number:06d}", key=key, origin=origin)
            self._keys.append(key)
            return merchant_pb2.Purchase(
                purchase_id=f"first-{number:06d}",
                account=enrolled.account,
                amount=common_pb2.Money(currency=CURRENCY, minor=10**8),
                occurred_at_us=system_clock() - MINUTE,
            )

        for first in range(0, self._members, 64):
            numbers = range(first, min(first + 64, self._members))
            bought = await asyncio.gather(*(join(number) for number in numbers))
            for result in await till.record_purchases(bought):
                if result.HasField("failure"):
                    raise ComityError(result.failure.message)
                assert not result.pending


def _consent(
    quoted: member_pb2.GetQuoteResponse, key: SigningKey, reward_id: str
) -> member_pb2.RedeemRequest:
    quote = quotes.read(quoted.quote)
    mandate = entry_pb2.Mandate(
        network=quote.network,
        issuer=quote.issuer,
        acceptor=quote.acceptor,
        kind=quote.kind,
        redemption_id=quote.redemption_id,
        quote_digest=quotes.digest(quoted.quote),
        max_points=quote.points,
        not_after_us=quote.expires_at_us,
        key_id=f"key_{key.key_id}",
    )
    return member_pb2.RedeemRequest(
        quote=quoted.quote,
        seal=quoted.seal,
        pickup_key=quoted.pickup_key,
        mandate=mandates.sign(mandate, key),
        reward_id=reward_id,
        quantity=1,
        reward_salt=quoted.reward_salt,
    )


def _terms(now_us: int) -> common_pb2.AgreementTerms:
    """One cent a point, and a fee, as between any two brands."""
    return common_pb2.AgreementTerms(
        agreement_id=f"agr_{ISSUER}-{ACCEPTOR}",
        version=1,
        issuer=ISSUER,
        acceptor=ACCEPTOR,
        conversion=common_pb2.Ratio(numerator=1, denominator=1),
        points_rounding=common_pb2.ROUNDING_UP,
        price=common_pb2.Ratio(numerator=1, denominator=1),
        currency=CURRENCY,
        amount_rounding=common_pb2.ROUNDING_HALF_UP,
        fee_basis_points=60,
        fee_payer=common_pb2.FEE_PAYER_ACCEPTOR,
        minimum_points=1,
        maximum_points=BOUNDLESS,
        quote_life_us=10 * MINUTE,
        claim_grace_us=10 * MINUTE,
        deliver_within_us=DAY,
        valid_from_us=now_us,
        valid_until_us=now_us + 365 * DAY,
        kinds=[common_pb2.REDEMPTION_KIND_REWARD],
        salt=secrets.token_bytes(16),
    )
