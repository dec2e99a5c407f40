"""A network of real processes for tests: TLS, sockets, databases, the `comity` command.

`network` is one for all tests of a session which only add to it: `grocery` and `fuel` accept each
other's points, and both have a reward `gift` at 100 of their own. Tests which kill or spoil make
one of their own with `networks`. A test of the shared network runs on the session's loop:

    pytestmark = pytest.mark.asyncio(loop_scope="session")
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from cli.demo.network import Brand, Network
from cli.demo.patience import patiently, until
from comity.clock import DAY, MINUTE, system_clock
from comity.v1.common_pb2 import (
    FEE_PAYER_ACCEPTOR,
    REDEMPTION_KIND_EXCHANGE,
    REDEMPTION_KIND_REWARD,
    ROUNDING_HALF_UP,
    ROUNDING_UP,
    AgreementTerms,
    Money,
    Ratio,
)
from comity.v1.member_pb2 import REWARD_KIND_VOUCHER, Reward

CURRENCY: Final = "EUR"
REWARD: Final = "gift"
PRICE: Final = 100

Networks = Callable[..., Awaitable[Network]]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def network(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Network]:
    """The shared network; add to it and leave it running."""
    async with Network(
        tmp_path_factory.mktemp("network"), brands=[brand("grocery"), brand("fuel")]
    ) as made:
        await furnish(made)
        yield made


@pytest_asyncio.fixture
async def networks(tmp_path: Path) -> AsyncIterator[Networks]:
    """Makes networks of the named brands, which agree with each other and have rewards."""
    async with AsyncExitStack() as stack:

        async def make(*names: str) -> Network:
            made = Network(tmp_path / "network", brands=map(brand, names))
            await stack.enter_async_context(made)
            await furnish(made)
            return made

        yield make


def brand(name: str) -> Brand:
    """A brand with a simple programme and a large cap."""
    return Brand(id=name, name=name.title(), caps=(Money(currency=CURRENCY, minor=1_000_000),))


async def furnish(network: Network) -> None:
    """Give every brand its reward, and every pair an agreement."""
    for name in network.brands:
        put = partial(network.manager(name).put_reward, id="put-gift", reward=gift())
        await patiently(put)
    await asyncio.gather(*(agree(network, *pair) for pair in permutations(network.brands, 2)))


def gift() -> Reward:
    """What every brand's catalogue holds."""
    return Reward(
        reward_id=REWARD,
        title="A gift",
        kind=REWARD_KIND_VOUCHER,
        price_points=PRICE,
        retail=Money(currency=CURRENCY, minor=100),
        stock=-1,
        active=True,
    )


def terms(issuer: str, acceptor: str) -> AgreementTerms:
    """One point for one point, a cent each, and a fee of 0.6 %."""
    now_us = system_clock()
    return AgreementTerms(
        agreement_id=f"agr_{issuer}_{acceptor}",
        version=1,
        issuer=issuer,
        acceptor=acceptor,
        conversion=Ratio(numerator=1, denominator=1),
        points_rounding=ROUNDING_UP,
        price=Ratio(numerator=1, denominator=1),
        currency=CURRENCY,
        amount_rounding=ROUNDING_HALF_UP,
        fee_basis_points=60,
        fee_payer=FEE_PAYER_ACCEPTOR,
        minimum_points=1,
        maximum_points=100_000,
        quote_life_us=5 * MINUTE,
        claim_grace_us=10 * MINUTE,
        deliver_within_us=DAY,
        valid_from_us=now_us,
        valid_until_us=now_us + 30 * DAY,
        kinds=[REDEMPTION_KIND_REWARD, REDEMPTION_KIND_EXCHANGE],
        salt=bytes(16),
    )


async def agree(network: Network, issuer: str, acceptor: str) -> None:
    """Propose, accept, and wait until both know that it is in force."""
    wanted = terms(issuer, acceptor)
    proposing, accepting = network.manager(issuer), network.manager(acceptor)
    name = wanted.agreement_id

    async def stands(brand: str, *states: str) -> bool:
        found = await network.manager(brand).list_agreements()
        return any(one.terms.agreement_id == name and one.state in states for one in found)

    await patiently(partial(proposing.propose_agreement, id=f"propose-{name}", terms=wanted))
    await until(partial(stands, acceptor, "OFFERED", "ACTIVE"), what=f"the offer of {name}")
    await patiently(
        partial(accepting.accept_agreement, id=f"accept-{name}", agreement_id=name, version=1)
    )
    for one in (issuer, acceptor):
        await until(partial(stands, one, "ACTIVE"), what=f"{name} in force at {one}")
