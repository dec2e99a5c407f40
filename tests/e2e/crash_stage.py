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

from google.protobuf import json_format

import node.init
from cli.demo.network import Brand, Network, free_ports
from cli.demo.patience import patiently, until
from comity.clock import DAY, MINUTE, system_clock
from comity.errors import ComityError, Refused, rebuild
from comity.keys import SigningKey
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
from comity.v1.entry_pb2 import (
    ACCOUNT_CLASS_EXPIRED,
    PARTICIPANT_STATUS_ACTIVE,
    PARTICIPANT_STATUS_SUSPENDED,
)
from comity.v1.member_pb2 import REWARD_KIND_VOUCHER, Redemption, RedemptionState, Reward
from comity.v1.merchant_pb2 import Purchase
from comity.v1.operator_pb2 import AdmitParticipantRequest, WindowState
from comity.wallet.brands import Brand as Known
from comity.wallet.wallet import Wallet

ISSUER: Final = "anise"
ACCEPTOR: Final = "basil"
CLEARING: Final = "clearing"
CURRENCY: Final = "EUR"
CAP_MINOR: Final = 1_000_000
REWARD: Final = "mug"
PATIENCE_S: Final = 90.0

DELIVERED = RedemptionState.REDEMPTION_STATE_DELIVERED
FAILED = RedemptionState.REDEMPTION_STATE_FAILED
REVERSED = RedemptionState.REDEMPTION_STATE_REVERSED

T = TypeVar("T")


def programme(brand: str, version: int = 1) -> str:
    """One point per cent, at once; the version decides nothing but the digest."""
    return (
        f"version: '{version}'\n"
        f"name: {brand} points\n"
        f"unit: {brand}/points\n"
        "zone: Europe/Berlin\n"
        f"currency: {CURRENCY}\n"
        "earn: {points: 1, per_minor: 1}\n"
        "expiry: {days: 30}\n"
        "return_window_days: 0\n"
        "backdate_days: 400\n"
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
    expired: int = 0
    killed: set[tuple[str, Step, Moment]] = field(default_factory=set)

    # --- dying ------------------------------------------------------------------------

    async def die(self, name: str, step: Step, moment: Moment, scene: Scene) -> None:
        """Play a scene in which `name` dies around `step`, and is started again by hand."""
        process = self.network.process(name)
        await process.kill()
        process.start({KILL_AT: f"{step.value}:{moment}"})
        with contextlib.suppress(ComityError):  # it may die before it ever serves
            await process.until_serving()
        playing = asyncio.create_task(scene(self))
        try:
            while process.running and not playing.done():
                await asyncio.sleep(0.02)
            if process.running:
                await playing
                # The scene may be over before work in the background comes to the step.
                await process.until_ended(PATIENCE_S)
            assert process.exit_code == -signal.SIGKILL, (
                f"{name} was to die {moment} {step.value}, and ended with {process.exit_code}.\n"
                f"{process.last_lines()}"
            )
            await self.network.start(name)
            await playing
        finally:
            playing.cancel()
            await asyncio.gather(playing, return_exceptions=True)
        self.killed.add((name, step, moment))

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
        return sum(one.available for one in answer.balances)

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


# --- scenes: a member and the programme -----------------------------------------------------


async def enrol(stage: Stage) -> None:
    key = SigningKey.generate(secrets.token_bytes)
    enrolment = f"enr-{secrets.token_hex(8)}"
    guest = stage.wallet.guest(stage.brands[ISSUER])

    async def join() -> str:
        answer = await guest.enrol(id=enrolment, key=key, origin=stage.brands[ISSUER].origin)
        return str(answer.account)

    first = await retried(join)
    assert await retried(join) == first, "a repeated enrolment is the same member"


async def add_device(stage: Stage) -> None:
    key = SigningKey.generate(secrets.token_bytes)
    member = stage.wallet.member(stage.brands[ISSUER])
    before = len(await retried(member.list_devices))
    add = partial(member.add_device, id=stage.id("device"), key=key, origin=_origin(stage))
    await retried(add)
    assert len(await retried(member.list_devices)) == before + 1


async def purchase(stage: Stage) -> None:
    before = await stage.available(ISSUER)
    await stage.buy(ISSUER, 500)
    assert await stage.available(ISSUER) == before + 500


async def refund(stage: Stage) -> None:
    before = await stage.available(ISSUER)
    sale = await stage.buy(ISSUER, 300)
    back = Money(currency=CURRENCY, minor=100)
    give = partial(
        stage.issuer.refund_purchase, id=stage.id("refund"), purchase_id=sale, cumulative=back
    )
    await retried(give)
    assert await stage.available(ISSUER) == before + 200


async def adjust(stage: Stage) -> None:
    before = await stage.available(ISSUER)
    await retried(
        partial(
            stage.issuer.adjust_points,
            id=stage.id("adjust"),
            account=stage.account(ISSUER),
            points=7,
            reason_code="GOODWILL",
        )
    )
    assert await stage.available(ISSUER) == before + 7


async def outdated(stage: Stage) -> None:
    """A purchase so long ago that its points are due to expire: the next sweep's work."""
    before = await stage.available(ISSUER)
    await stage.buy(ISSUER, 11, occurred_at_us=system_clock() - 40 * DAY)
    assert await stage.available(ISSUER) == before, "nobody can spend what has expired"


async def expire(stage: Stage) -> None:
    """The sweep at the start finds what is due; what could be spent stays as it is."""
    before = await stage.available(ISSUER)

    async def expired() -> bool:
        totals = await retried(stage.issuer.get_totals)
        return stage.expired <= sum(
            one.points for one in totals.totals if one.account_class == ACCOUNT_CLASS_EXPIRED
        )

    await until(expired, what="the points to expire", patience_s=PATIENCE_S)
    assert await stage.available(ISSUER) == before


async def lock(stage: Stage) -> None:
    for locked in (True, False):
        change = partial(
            stage.issuer.lock_member,
            id=stage.id("lock"),
            account=stage.account(ISSUER),
            locked=locked,
        )
        await retried(change)


async def erase(stage: Stage) -> None:
    key = SigningKey.generate(secrets.token_bytes)
    enrolment = f"enr-{secrets.token_hex(8)}"
    guest = stage.wallet.guest(stage.brands[ISSUER])

    async def join() -> str:
        answer = await guest.enrol(
            id=enrolment, key=key, origin=_origin(stage), name="to be forgotten"
        )
        return str(answer.account)

    account = await retried(join)
    await retried(partial(stage.issuer.erase_member, id=stage.id("erase"), account=account))


async def stock(stage: Stage) -> None:
    before = await _stock(stage)
    await retried(
        partial(stage.acceptor.set_stock, id=stage.id("stock"), reward_id=REWARD, change=3)
    )
    assert await _stock(stage) == before + 3


async def declare(stage: Stage) -> None:
    """A new programme version, which the process declares as soon as it starts."""

    async def declared() -> bool:
        found = await retried(stage.issuer.get_totals)
        return bool(found.entries)

    await until(declared, what="the node to serve again", patience_s=PATIENCE_S)


# --- scenes: redemptions --------------------------------------------------------------------


async def reward(stage: Stage) -> None:
    points, pieces = await stage.available(ISSUER), await _stock(stage)
    done = await stage.redeem()
    assert done.state == DELIVERED, done
    assert len(done.vouchers) == 1
    stage.vouchers.append(done.vouchers[0])
    assert await stage.available(ISSUER) == points - 100
    assert await _stock(stage) == pieces - 1
    await _posted(stage)


async def refused(stage: Stage) -> None:
    """Clearing aborts for the cap: stock and points are free again."""
    points, pieces = await stage.available(ISSUER), await _stock(stage)
    position = await stage.position(ISSUER)
    await _cap(stage, max(0, -position))
    try:
        with contextlib.suppress(Refused):
            done = await stage.redeem()
            assert done.state == FAILED, done
    finally:
        await _cap(stage, CAP_MINOR)
    await _posted(stage)
    assert await stage.available(ISSUER) == points
    assert await _stock(stage) == pieces


async def use_voucher(stage: Stage) -> None:
    if not stage.vouchers:
        await reward(stage)
    code = stage.vouchers.pop()
    use = partial(stage.acceptor.use_voucher, id=stage.id("use"), code=code)
    await retried(use)
    await retried(use)


async def reverse(stage: Stage) -> None:
    points, position = await stage.available(ISSUER), await stage.position(ISSUER)
    done = await stage.redeem()
    give_back = partial(
        stage.acceptor.reverse_redemption,
        id=stage.id("reverse"),
        redemption_id=done.redemption_id,
        cumulative_points=0,
        reason_code="GOODS_RETURNED",
    )

    async def reversed_() -> bool:
        answer = await retried(give_back)
        return bool(answer.state == REVERSED)

    await until(reversed_, what="the reversal", patience_s=PATIENCE_S)

    async def restored() -> bool:
        return await stage.available(ISSUER) == points

    await until(restored, what="the points to come back", patience_s=PATIENCE_S)
    assert await stage.position(ISSUER) == position


async def exchange(stage: Stage) -> None:
    mine, theirs = await stage.available(ISSUER), await stage.available(ACCEPTOR)
    done = await stage.redeem(exchange=50)
    assert done.state == DELIVERED, done
    assert await stage.available(ISSUER) == mine - 50
    assert await stage.available(ACCEPTOR) == theirs + 50


async def partner(stage: Stage) -> None:
    """The member buys at the acceptor and earns at the issuer."""
    before = await stage.available(ISSUER)
    await retried(
        partial(
            stage.acceptor.record_partner_purchase,
            purchase_id=stage.id("partner"),
            issuer=ISSUER,
            account=stage.account(ISSUER),
            amount=Money(currency=CURRENCY, minor=400),
        )
    )

    async def accrued() -> bool:
        return await stage.available(ISSUER) > before

    await until(accrued, what="the issuer to accrue", patience_s=PATIENCE_S)


# --- scenes: agreements and the operator ----------------------------------------------------


async def agree(stage: Stage) -> None:
    """A further agreement is proposed by the acceptor, accepted by the issuer, and ended."""
    offered = terms(f"agr_{secrets.token_hex(6)}", issuer=ACCEPTOR, acceptor=ISSUER)
    await found_agreement(stage, offered, proposer=ACCEPTOR, accepter=ISSUER)
    await retried(
        partial(
            stage.acceptor.terminate_agreement,
            id=stage.id("terminate"),
            agreement_id=offered.agreement_id,
            version=1,
        )
    )
    await _agreement_state(stage, ISSUER, offered.agreement_id, "TERMINATED")


async def cap(stage: Stage) -> None:
    await _cap(stage, CAP_MINOR)


async def suspend(stage: Stage) -> None:
    for status in (PARTICIPANT_STATUS_SUSPENDED, PARTICIPANT_STATUS_ACTIVE):
        await retried(
            partial(
                stage.network.operator.set_standing,
                id=stage.id("standing"),
                participant=ACCEPTOR,
                status=status,
                reason="drill",
            )
        )


async def settle(stage: Stage) -> None:
    """A window with something in it closes, settles, and both brands acknowledge."""
    await reward(stage)
    operator = stage.network.operator
    window = await stage.open_window()
    await retried(partial(operator.close_window, id=stage.id("close"), window=window))
    await retried(partial(operator.settle_window, id=stage.id("settle"), window=window))

    async def acknowledged() -> bool:
        windows = await retried(lambda: operator.list_windows(limit=5))
        (one,) = [each for each in windows if each.window == window]
        assert not one.protested, one
        return {ISSUER, ACCEPTOR} <= set(one.acknowledged)

    await until(acknowledged, what="the acknowledgements", patience_s=PATIENCE_S)
    assert await stage.open_window() == window + 1


async def admit(stage: Stage) -> None:
    name = f"brand{secrets.token_hex(3)}"
    home = stage.network.folder / name
    peer, public = free_ports(2)
    node.init.init(
        home,
        network=stage.network.name,
        participant=name,
        display_name=name,
        peer_address=f"127.0.0.1:{peer}",
        public_address=f"127.0.0.1:{public}",
        database_url="",
        programme=programme(name).encode(),
        clock=system_clock,
        random=secrets.token_bytes,
    )
    request = json_format.Parse(
        (home / "request.json").read_text("utf-8"), AdmitParticipantRequest()
    )
    answer = await retried(lambda: stage.network.operator.admit_participant(request))
    assert answer.certificate


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
    await _agreement_state(stage, accepter, offered.agreement_id, "OFFERED")
    await retried(
        partial(
            stage.network.manager(accepter).accept_agreement,
            id=f"accept-{offered.agreement_id}",
            agreement_id=offered.agreement_id,
            version=offered.version,
        )
    )
    for name in (proposer, accepter):
        await _agreement_state(stage, name, offered.agreement_id, "ACTIVE")


def _origin(stage: Stage) -> str:
    return stage.brands[ISSUER].origin


async def _stock(stage: Stage) -> int:
    rewards = await retried(partial(stage.wallet.rewards, stage.brands[ACCEPTOR]))
    (found,) = [one.stock for one in rewards if one.reward_id == REWARD]
    return int(found)


async def _cap(stage: Stage, minor: int) -> None:
    await retried(
        partial(
            stage.network.operator.set_cap,
            id=stage.id("cap"),
            participant=ISSUER,
            net_debit_cap=Money(currency=CURRENCY, minor=minor),
        )
    )


async def _agreement_state(stage: Stage, brand: str, agreement_id: str, state: str) -> None:
    async def reached() -> bool:
        found = await retried(stage.network.manager(brand).list_agreements)
        return any(one.terms.agreement_id == agreement_id and one.state == state for one in found)

    await until(reached, what=f"{agreement_id} to be {state} at {brand}", patience_s=PATIENCE_S)


async def _posted(stage: Stage) -> None:
    """Until no points of the member are held any more."""

    async def none_held() -> bool:
        answer = await retried(stage.wallet.member(stage.brands[ISSUER]).get_balance)
        return not any(one.held for one in answer.balances)

    await until(none_held, what="the hold to end", patience_s=PATIENCE_S)
