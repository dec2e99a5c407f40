"""A household as a member: a wallet of its own, and what it does with it.

It uses `comity.wallet` as any member's program would.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cli.demo.coalition import COALITION, UNIT
from cli.demo.patience import PATIENCE_S, PAUSE_S, patiently
from cli.demo.plan import Wish
from comity.client.connection import Server
from comity.errors import LimitExceeded, Unavailable
from comity.wallet.brands import Brand
from comity.wallet.offers import Offer
from comity.wallet.wallet import Connect, Holding, Outcome, Wallet


@dataclass(frozen=True, slots=True, kw_only=True)
class Purse:
    """The brand whose points are worth most to the household, and how many it can spend."""

    brand: Brand
    available: int


class Household:
    """One household: member of the brands where it shops, guest at the others."""

    def __init__(self, number: int, wallet: Wallet, brands: Mapping[str, Brand]) -> None:
        self.number = number
        self.wallet = wallet
        self.brands = brands

    @staticmethod
    async def join(
        number: int,
        folder: Path,
        *,
        servers: Mapping[str, Server],
        memberships: tuple[str, ...],
        connect: Connect,
        joined: Callable[[str], None],
    ) -> Household:
        """Make a wallet, get to know all brands and enrol at some; `joined` is told of each."""
        wallet = Wallet.create(folder, connect=connect)
        brands: dict[str, Brand] = {}
        for name, server in servers.items():
            brands[name] = await patiently(partial(_learn, wallet, server))
        for name in memberships:
            brand = brands[name]
            brands[name] = await patiently(
                partial(wallet.enrol, brand, name=f"household {number}", email=_address(number))
            )
            joined(name)
        return Household(number, wallet, brands)

    def account(self, brand: str) -> str:
        """The household's account at a brand where it is a member."""
        return self.brands[brand].account

    async def purse(self, *, elsewhere_than: str) -> Purse | None:
        """The largest balance at another brand, by what its points are worth; None for nothing."""
        best: Purse | None = None
        best_worth = 0
        for holding in await patiently(self._holdings):
            name = holding.brand.participant
            if name == elsewhere_than or not holding.balances:
                continue
            available = sum(
                one.available for one in holding.balances if one.unit == f"{name}/{UNIT}"
            )
            worth = int(available * COALITION[name].worth)
            if available and worth > best_worth:
                best, best_worth = Purse(brand=holding.brand, available=available), worth
        return best

    async def _holdings(self) -> list[Holding]:
        found = await self.wallet.balances()
        for one in found:
            if isinstance(one.failure, Unavailable):
                raise one.failure
        return list(found)

    async def choose(self, wish: Wish, purse: Purse) -> Offer | None:
        """The first offer down the price ladder that the purse can pay.

        Where there is none, a stubborn household takes the cheapest offer nevertheless.
        """
        cheapest: Offer | None = None
        acceptor = self.brands[wish.acceptor]
        for rung in range(wish.rung, -1, -1):
            reward_id, _, minor = COALITION[wish.acceptor].ladder[rung]
            try:
                if wish.exchange and acceptor.enrolled:
                    quote = partial(
                        self.wallet.quote_exchange,
                        issuer=purse.brand,
                        acceptor=acceptor,
                        acceptor_points=COALITION[wish.acceptor].price(minor),
                    )
                else:
                    quote = partial(
                        self.wallet.quote,
                        issuer=purse.brand,
                        acceptor=acceptor,
                        reward_id=reward_id,
                    )
                offer = await patiently(quote)
            except LimitExceeded:
                continue
            if offer.points <= purse.available:
                return offer
            cheapest = offer
        return cheapest if wish.stubborn else None

    async def take(self, offer: Offer) -> Outcome:
        """Redeem, and wait until it is decided."""
        until = time.monotonic() + PATIENCE_S
        outcome = await self.wallet.redeem(offer)
        while outcome.pending:
            if time.monotonic() > until:
                raise Unavailable(f"{offer.redemption_id} is still undecided.")
            await asyncio.sleep(PAUSE_S)
            outcome = await patiently(partial(self.wallet.resume, offer.redemption_id))
        return outcome

    async def close(self) -> None:
        """Close the wallet."""
        await self.wallet.close()


def _address(number: int) -> str:
    return f"household-{number}@example.org"


async def _learn(wallet: Wallet, server: Server) -> Brand:
    return await wallet.learn(server.address, roots_pem=server.roots_pem.decode())
