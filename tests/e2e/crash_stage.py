"""A network of real processes in which one process dies at one durable step.

A *scene* is what members, staff or the operator do until a certain process commits a certain
step. Everything in a scene is repeated with the same ids while a server is away, so it ends the
same whether or not anybody died in the middle.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from cli.demo.network import Brand, Network
from cli.demo.patience import patiently, until
from comity.clock import DAY, MINUTE, system_clock
from comity.errors import ComityError, rebuild
from comity.ledger.steps import KILL_AT, Moment, Step
from comity.v1.common_pb2 import (
    FEE_PAYER_ACCEPTOR,
    REDEMPTION_KIND_ACCRUAL,
    REDEMPTION_KIND_EXCHANGE,
    REDEMPTION_KIND_REWARD,
    ROUNDING_HALF_UP,
    ROUNDING_UP,
    AgreementTerms,
    Money,
    Ratio,
)
from comity.v1.member_pb2 import REWARD_KIND_VOUCHER, Redemption, RedemptionState, Reward
from comity.v1.merchant_pb2 import Purchase
from comity.v1.operator_pb2 import WindowState
from comity.wallet.brands import Brand as Known
from comity.wallet.wallet import Wallet

ISSUER: Final = "anise"
ACCEPTOR: Final = "basil"
CLEARING: Final = "clearing"
CURRENCY: Final = "EUR"
CAP_MINOR: Final = 1_000_000
REWARD: Final = "mug"
PATIENCE_S: Final = 90.0
MOMENTS: Final[tuple[Moment, ...]] = ("before", "after")

DELIVERED = RedemptionState.REDEMPTION_STATE_DELIVERED
FAILED = RedemptionState.REDEMPTION_STATE_FAILED
REVERSED = RedemptionState.REDEMPTION_STATE_REVERSED

T = TypeVar("T")


def programme(brand: str, version: int = 1) -> str:
    """One point per cent, at once; a stamp per purchase after a month. The version decides
    nothing but the digest."""
    return (
        f"version: '{version}'\n"
        f"name: {brand} points\n"
        "zone: Europe/Berlin\n"
        f"currency: {CURRENCY}\n"
        "units:\n"
        "  points: {expiry: {days: 40}}\n"
        "  stamps: {kind: growth}\n"
        "  tokens: {kind: growth}\n"
        "events: {sign_in: {}}\n"
        "earn:\n"
        "  purchase: {on: purchase, rate: {points: 1, per_minor: 1}, pending: false}\n"
        "  stamps: {on: purchase, unit: stamps, points: 1}\n"
        "  sign-in: {on: sign_in, points: 1}\n"
        "  tokens: {on: sign_in, unit: tokens, points: 5}\n"
        "badges: {founder: {}}\n"
        "conversions:\n"
        "  tokens-to-points: {from_unit: tokens, into_unit: points, points: 1, into_points: 1}\n"
        "payment: {value: {points: 1, minor: 1}}\n"
        "return_window_days: 30\n"
        "backdate_days: 400\n"
        "adjust_four_eyes_above: 10000000000\n"
        # At the acceptor a membership is paid for.
        f"enrolment: {{mode: {'paid' if brand == ACCEPTOR else 'open'}}}\n"
    )


def terms(agreement_id: str, *, issuer: str, acceptor: str) -> AgreementTerms:
    """Par in both directions, a cent for ten points, 0.6 % from the acceptor."""
    now = system_clock()
    return AgreementTerms(
        agreement_id=agreement_id,
        version=1,
        issuer=issuer,
        acceptor=acceptor,
        conversion=Ratio(numerator=1, denominator=1),
        points_rounding=ROUNDING_UP,
        price=Ratio(numerator=1, denominator=10),
        currency=CURRENCY,
        amount_rounding=ROUNDING_HALF_UP,
        fee_basis_points=60,
        fee_payer=FEE_PAYER_ACCEPTOR,
        minimum_points=1,
        maximum_points=1_000_000,
        quote_life_us=5 * MINUTE,
        claim_grace_us=10 * MINUTE,
        deliver_within_us=DAY,
        valid_from_us=now - MINUTE,
        valid_until_us=now + 365 * DAY,
        kinds=[REDEMPTION_KIND_REWARD, REDEMPTION_KIND_EXCHANGE, REDEMPTION_KIND_ACCRUAL],
        partner_bears_unrecoverable=True,
        salt=secrets.token_bytes(16),
    )


async def retried(call: Callable[[], Awaitable[T]]) -> T:
    """The answer to a call that carries its id, however often its server dies."""
    return await patiently(call, patience_s=PATIENCE_S)


@dataclass(slots=True)
class Stage:
    """The network, one member of both brands, and the last of everything."""

    network: Network
    wallet: Wallet
    brands: dict[str, Known] = field(default_factory=dict)
    count: int = 0
    versions: dict[str, int] = field(default_factory=dict)
    vouchers: list[str] = field(default_factory=list)
    partner_sales: list[str] = field(default_factory=list)
    killed: set[tuple[str, Step, Moment]] = field(default_factory=set)

    # --- dying ------------------------------------------------------------------------

    async def die_around(self, name: str, step: Step, scene: Scene) -> None:
        """Play a scene in which `name` dies right before it commits `step`, is started again,
        dies right after it has committed it, and is started again."""
        process = self.network.process(name)
        await process.kill()
        playing: asyncio.Future[None] | None = None
        try:
            for moment in MOMENTS:
                process.start({KILL_AT: f"{step.value}:{moment}"})
                with contextlib.suppress(ComityError):  # it may die before it ever serves
                    await process.until_serving()
                playing = playing or asyncio.ensure_future(scene(self))
                # The scene may be over before work in the background comes to the step.
                code = await process.until_ended(PATIENCE_S)
                assert code == -signal.SIGKILL, f"{name} ended with {code}.\n{process.last_lines()}"
                self.killed.add((name, step, moment))
            await self.network.start(name)
            assert playing is not None
            await playing
        finally:
            if playing is not None:
                playing.cancel()
                await asyncio.gather(playing, return_exceptions=True)

    def id(self, what: str) -> str:
        """A new id."""
        self.count += 1
        return f"{what}-{self.count}"

    # --- what scenes are made of ------------------------------------------------------

    @property
    def issuer(self) -> Any:
        return self.network.manager(ISSUER)

    @property
    def acceptor(self) -> Any:
        return self.network.manager(ACCEPTOR)

    def account(self, brand: str) -> str:
        return self.brands[brand].account

    async def available(self, brand: str) -> int:
        """What the member can spend at a brand."""
        answer = await retried(self.wallet.member(self.brands[brand]).get_balance)
        mine = [one for one in answer.balances if one.unit.endswith("/points")]
        return sum(one.available for one in mine)

    async def buy(self, brand: str, cents: int, *, occurred_at_us: int = 0) -> str:
        """A purchase by the member; returns its id."""
        purchase = Purchase(
            purchase_id=self.id("sale"),
            account=self.account(brand),
            amount=Money(currency=CURRENCY, minor=cents),
            occurred_at_us=occurred_at_us,
        )

        async def record() -> int:
            (result,) = await self.network.manager(brand).record_purchases([purchase])
            if result.HasField("failure"):
                raise rebuild(result.failure.code, result.failure.message)
            return int(result.points)

        assert await retried(record) == cents
        return purchase.purchase_id

    async def redeem(self, *, exchange: int = 0) -> Redemption:
        """Issuer points for the acceptor's reward, or for its points; waits until decided."""
        issuer, acceptor = self.brands[ISSUER], self.brands[ACCEPTOR]
        if exchange:
            ask = partial(
                self.wallet.quote_exchange,
                issuer=issuer,
                acceptor=acceptor,
                acceptor_points=exchange,
            )
        else:
            ask = partial(self.wallet.quote, issuer=issuer, acceptor=acceptor, reward_id=REWARD)
        offer = await retried(ask)
        outcome = await self.wallet.redeem(offer, timeout_s=10.0)
        while outcome.pending:
            await asyncio.sleep(0.1)
            outcome = await retried(
                partial(self.wallet.resume, offer.redemption_id, timeout_s=10.0)
            )
        return outcome.redemption

    async def position(self, participant: str) -> int:
        """A participant's running position, in minor units."""
        found = await retried(self.network.operator.list_participants)
        (one,) = [each for each in found if each.participant == participant]
        return sum(money.minor for money in one.positions)

    async def open_window(self) -> int:
        """The number of the open window."""
        windows = await retried(lambda: self.network.operator.list_windows(limit=5))
        (found,) = [one.window for one in windows if one.state == WindowState.WINDOW_STATE_OPEN]
        return int(found)


Scene = Callable[[Stage], Awaitable[None]]


# --- the stage ------------------------------------------------------------------------------


@asynccontextmanager
async def stage_at(folder: Path) -> AsyncIterator[Stage]:
    """Two brands with an agreement, one member of both with points, a reward in stock."""
    caps = (Money(currency=CURRENCY, minor=CAP_MINOR),)
    brands = [
        Brand(id=name, name=name, programme=programme(name), caps=caps)
        for name in (ISSUER, ACCEPTOR)
    ]
    async with Network(folder, brands=brands) as network:
        roots = network.ca_file.read_text("utf-8")
        async with Wallet.create(folder / "wallet") as wallet:
            stage = Stage(network=network, wallet=wallet)
            for name in (ISSUER, ACCEPTOR):
                known = await wallet.learn(network.server(name).address, roots_pem=roots)
                stage.brands[name] = await wallet.enrol(known)
            await admitted(stage, ACCEPTOR)
            await found_agreement(
                stage,
                terms("agr_main", issuer=ISSUER, acceptor=ACCEPTOR),
                proposer=ISSUER,
                accepter=ACCEPTOR,
            )
            mug = Reward(
                reward_id=REWARD,
                title="A mug",
                kind=REWARD_KIND_VOUCHER,
                price_points=100,
                stock=1_000,
                active=True,
            )
            await network.manager(ACCEPTOR).put_reward(id="mug", reward=mug)
            await stage.buy(ISSUER, 100_000)
            yield stage


async def admitted(stage: Stage, name: str) -> None:
    """The member pays the fee of a membership, and is a member."""
    brand = stage.brands[name]
    assert brand.awaits == "payment"
    await stage.network.office(name).confirm_payment(
        id="fee",
        account=brand.applied,
        amount=Money(currency=CURRENCY, minor=500),
        reference="fee-1",
    )
    stage.brands[name] = await stage.wallet.enrol(brand)


async def found_agreement(
    stage: Stage, offered: AgreementTerms, *, proposer: str, accepter: str
) -> None:
    """Propose, accept, and wait until both brands see it in force."""
    await retried(
        partial(
            stage.network.manager(proposer).propose_agreement,
            id=f"propose-{offered.agreement_id}",
            terms=offered,
        )
    )
    await agreement_state(stage, accepter, offered.agreement_id, "OFFERED")
    await retried(
        partial(
            stage.network.manager(accepter).accept_agreement,
            id=f"accept-{offered.agreement_id}",
            agreement_id=offered.agreement_id,
            version=offered.version,
        )
    )
    for name in (proposer, accepter):
        await agreement_state(stage, name, offered.agreement_id, "ACTIVE")


async def agreement_state(stage: Stage, brand: str, agreement_id: str, state: str) -> None:
    async def reached() -> bool:
        found = await retried(stage.network.manager(brand).list_agreements)
        return any(one.terms.agreement_id == agreement_id and one.state == state for one in found)

    await until(reached, what=f"{agreement_id} to be {state} at {brand}", patience_s=PATIENCE_S)
