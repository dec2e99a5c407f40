"""A whole network in one process: production services, simulated machines, network and time.

    async def story(world: World) -> None:
        alice = await world.enrol("grocery", "alice", points=1_000)
        redemption = await world.buy(alice, "fuel", "coffee")
        await world.finish()

    play(story, seed=7)

Nothing here decides: the services are put together by their own `build`, and `tests.simulation`
has the machines, the wires, the people and what is watched. The same seed gives the same run.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clearing import recover as recovery
from clearing.recover import Recovered
from clearing.rules import Rules as ClearingRules
from comity.client.operator import OperatorClient
from comity.clock import DAY, SECOND
from comity.v1 import common_pb2, entry_pb2, member_pb2, merchant_pb2, operator_pb2
from tests.simulation import identities, people, quiet
from tests.simulation.hosts import BrandHost, ClearingHost, Ground, Host, Trouble
from tests.simulation.identities import BASE_US, CLEARING
from tests.simulation.loop import run
from tests.simulation.network import CALM, Network, Weather
from tests.simulation.people import Member, Staff, Wanted, euro, insist
from tests.simulation.watch import Watch

BRANDS = ("grocery", "fuel", "cinema")
CAP_MINOR = 1_000_000

COFFEE, TICKET = "coffee", "ticket"
"""A reward with a stock, and one without an end."""

QUIET_WITHIN_S = 600.0


@dataclass(frozen=True, slots=True)
class Backup:
    """A copy of a machine's files."""

    database: bytes
    head: bytes | None


class World:
    """A network that has been set up, and whoever plays in it."""

    def __init__(
        self,
        seed: object = 0,
        *,
        brands: Sequence[str] = BRANDS,
        programmes: Mapping[str, Mapping[str, Any]] | None = None,
        rules: ClearingRules | None = None,
        folder: Path | None = None,
        honest: bool = True,
        terms_changes: Mapping[str, Any] | None = None,
    ) -> None:
        """`honest`: nobody lies in this story, so nobody has reason for an alarm.

        `terms_changes` are what every agreement has other than `terms` says.
        """
        self.terms_changes = dict(terms_changes or {})
        self.seed = seed
        self.honest = honest
        self.network = Network(seed)
        self.failures: list[str] = []
        self.alarms: list[tuple[str, Mapping[str, Any]]] = []
        self.ground = Ground(
            seed=seed,
            network=self.network,
            now_us=self.now_us,
            complain=self.failures.append,
            alarmed=self._alarmed,
        )
        self.clearing = ClearingHost(self.ground, rules=rules, folder=folder)
        self.brands = {
            name: BrandHost(
                name, self.ground, programme=(programmes or {}).get(name), folder=folder
            )
            for name in brands
        }
        self.operator: OperatorClient = people.operator(self.ground)
        self.managers = {name: Staff(self.ground, name, "manager") for name in brands}
        self.tills = {name: Staff(self.ground, name, "till") for name in brands}
        self.members: list[Member] = []
        self.watch = Watch(self)
        self.roots: Mapping[str, str] = {}
        """The root of every log as the story left it: the whole run in a few lines."""
        self._count = 0

    def _alarmed(self, who: str, said: Mapping[str, Any]) -> None:
        """Only liars give reason for an alarm; or a delivery that was reported too late."""
        self.alarms.append((who, said))
        if self.honest and said["code"] != "ALREADY_DECIDED":
            self.failures.append(f"{who} alarms: {dict(said)}")

    @staticmethod
    def now_us() -> int:
        """True time; each machine's clock is off by its own skew."""
        return BASE_US + round(asyncio.get_running_loop().time() * SECOND)

    @property
    def hosts(self) -> Sequence[Host]:
        return (self.clearing, *self.brands.values())

    def new_id(self, what: str) -> str:
        """An id nobody has used."""
        self._count += 1
        return f"{what}-{self._count}"

    # --- setting up -------------------------------------------------------------------

    async def set_up(self, *, cap_minor: int = CAP_MINOR) -> None:
        """Create every ledger, admit every brand, agree between all, fill the shelves."""
        self.clearing.create()
        self.clearing.start()
        for name, host in self.brands.items():
            host.create()
            await self.operator.admit_participant(admission(name, cap_minor))
        for host in self.brands.values():
            host.start()
        await self.quiet()
        for name, manager in self.managers.items():
            till = self.tills[name]
            await manager.client.add_staff_key(
                id="till", role="till", name="front", public_key=till.key.public.raw
            )
            await manager.client.put_reward(id="coffee", reward=reward(COFFEE, price=100, stock=20))
            await manager.client.put_reward(id="ticket", reward=reward(TICKET, price=70, stock=-1))
        for issuer in self.brands:
            for acceptor in self.brands:
                if issuer != acceptor:
                    await self.agree(terms(issuer, acceptor, **self.terms_changes))
        await self.quiet()

    async def agree(self, wanted: common_pb2.AgreementTerms) -> None:
        """The issuer's manager proposes, the acceptor's accepts."""
        name = f"{wanted.agreement_id}-{wanted.version}"
        await self.managers[wanted.issuer].client.propose_agreement(
            id=f"propose-{name}", terms=wanted
        )
        await self.managers[wanted.acceptor].client.accept_agreement(
            id=f"accept-{name}", agreement_id=wanted.agreement_id, version=wanted.version
        )

    async def enrol(self, brand: str, name: str, *, points: int = 0) -> Member:
        """A new member, with points from a first purchase."""
        member = Member(self.ground, brand, name)
        await member.enrol()
        self.members.append(member)
        if points:
            await self.purchase(member, points)
        return member

    # --- what people do ---------------------------------------------------------------

    async def purchase(
        self, member: Member, minor: int, purchase_id: str = ""
    ) -> merchant_pb2.PurchaseResult:
        """One point for each minor unit."""
        till = self.tills[member.brand]
        purchase = member.purchase(purchase_id or self.new_id("sale"), minor)
        return await insist(lambda: till.record(purchase))

    async def buy(
        self, member: Member, acceptor: str, reward_id: str = COFFEE, quantity: int = 1
    ) -> tuple[Wanted, member_pb2.Redemption]:
        """Quote, mandate and redemption of a reward."""
        wanted = await member.want_reward(acceptor, reward_id, quantity)
        return wanted, await member.redeem(wanted)

    async def reverse(
        self, wanted: Wanted, *, cumulative: int = 0, id_: str = ""
    ) -> merchant_pb2.ReverseRedemptionResponse:
        """The acceptor's till takes it back; 0 is all of it."""
        till = self.tills[wanted.acceptor].client
        name = id_ or self.new_id("return")
        return await insist(
            lambda: till.reverse_redemption(
                id=name,
                redemption_id=wanted.id,
                cumulative_points=cumulative,
                reason_code="returned",
            )
        )

    async def partner_purchase(
        self, member: Member, partner: str, minor: int, purchase_id: str = ""
    ) -> merchant_pb2.RecordPartnerPurchaseResponse:
        """The member earns at home for buying at another brand."""
        till = self.tills[partner].client
        name = purchase_id or self.new_id("partner-sale")
        return await insist(
            lambda: till.record_partner_purchase(
                purchase_id=name, issuer=member.brand, account=member.account, amount=euro(minor)
            )
        )

    async def partner_refund(
        self, partner: str, purchase_id: str, minor: int, id_: str = ""
    ) -> merchant_pb2.RefundPartnerPurchaseResponse:
        """The partner gives money back for its sale, `minor` in all; waits for the end of it."""
        till, name = self.tills[partner].client, id_ or self.new_id("partner-refund")
        while True:
            answer = await insist(
                lambda: till.refund_partner_purchase(
                    id=name, purchase_id=purchase_id, cumulative=euro(minor)
                )
            )
            if answer.state != member_pb2.REDEMPTION_STATE_PENDING:
                return answer
            await asyncio.sleep(1)

    async def open_window(self) -> int:
        """The number of the open window."""
        newest = await insist(lambda: self.operator.list_windows(limit=1))
        return newest[0].window if newest else 1

    async def close_window(self) -> int:
        """Close the open window; answers its number."""
        number, name = await self.open_window(), self.new_id("close")
        await insist(lambda: self.operator.close_window(id=name, window=number))
        return number

    async def settle(self, window: int) -> entry_pb2.SettlementTable:
        """State who pays whom for a closed window."""
        name = self.new_id("settle")
        answer = await insist(lambda: self.operator.settle_window(id=name, window=window))
        return answer.table

    # --- what happens to machines and wires -------------------------------------------

    def host(self, name: str) -> Host:
        return self.clearing if name == CLEARING else self.brands[name]

    def crash(self, name: str) -> None:
        """Its process dies now."""
        self.host(name).kill()

    def restart(self, name: str) -> None:
        """It dies, if it lives, and starts again on its database."""
        self.host(name).kill()
        self.host(name).start()

    def back_up(self, name: str) -> Backup:
        """All that a machine holds: its database, and its head file if it has one."""
        host = self.host(name)
        path = host.head_path
        return Backup(host.copy(), path.read_bytes() if path is not None else None)

    def restore(self, name: str, copy: Backup, *, head_file: bool = True) -> None:
        """The process ends; its database is an older copy, and so is the head file unless it
        stays as it is. Nothing is started."""
        host = self.host(name)
        host.kill()
        host.restore(copy.database)
        if head_file and host.head_path is not None and copy.head is not None:
            host.head_path.write_bytes(copy.head)
        self.watch.forget(host)

    async def recover(self) -> Recovered:
        """`comity clearing recover`, while clearing does not serve."""
        host = self.clearing
        head_file = host.head_file()
        host.starts += 1
        recovered = await recovery.recover(
            engine=host.engine,
            lease=host.open(None),
            signer=identities.signer(CLEARING),
            network=identities.NETWORK,
            peers=lambda name: self.ground.channel(CLEARING, name),
            clock=host.clock,
            random=host.randomness(),
            head_file=head_file,
        )
        self.watch.forget(host)
        return recovered

    def partition(self, one: str, other: str) -> None:
        """Nothing passes between these two."""
        self.network.cut.add(frozenset((one, other)))

    def heal(self) -> None:
        """Everything passes."""
        self.network.cut.clear()

    def weather(self, weather: Weather) -> None:
        self.network.weather = weather

    # --- the end ----------------------------------------------------------------------

    async def quiet(self, within_s: float = QUIET_WITHIN_S) -> None:
        """Wait until nothing is under way; say what is, if it takes too long."""
        await quiet.wait(self.clearing, tuple(self.brands.values()), within_s=within_s)

    async def settle_down(self) -> None:
        """Faults are over: wires heal, machines run, and everything comes to its end."""
        self.weather(replace(CALM, delay_s=0.005))
        self.heal()
        for host in self.hosts:
            host.traps.clear()
            if host.process is not None:
                host.process.fuse = 0
            if not host.alive:
                host.start()
        await self.quiet()

    async def finish(self) -> None:
        """Faults are over: settle down, close and settle every window, check all invariants."""
        await self.settle_down()
        last = await self.close_window()
        for summary in await self.operator.list_windows(limit=1_000):
            if summary.window <= last and summary.state == operator_pb2.WINDOW_STATE_CLOSED:
                await self.settle(summary.window)
        await self.quiet()
        for window in range(1, last + 1):
            answer = await self.operator.reconcile_window(window)
            if answer.breaks or answer.unreachable:
                self.failures.append(f"I7: window {window} does not reconcile: {answer}")
        self.check(final=True)

    def check(self, *, final: bool = False) -> None:
        """Raises AssertionError if anything that must never be has been seen."""
        self.watch.check(final=final)
        assert not self.failures, "\n".join(self.failures[:10])

    def close(self) -> None:
        """Free the databases."""
        for host in self.hosts:
            host.close()


def play(story: Callable[[World], Awaitable[None]], seed: object = 0, **options: Any) -> World:
    """Run a story in a network that has been set up; returns the world as it was left."""
    cap_minor = options.pop("cap_minor", CAP_MINOR)

    async def whole() -> World:
        world = World(seed, **options)
        trouble = Trouble(world.failures.append)
        logging.getLogger("comity").addHandler(trouble)
        try:
            await world.set_up(cap_minor=cap_minor)
            await story(world)
            world.roots = world.watch.roots()
        finally:
            logging.getLogger("comity").removeHandler(trouble)
            world.close()
        return world

    return run(whole())


# --- what everybody agrees on ---------------------------------------------------------------


def admission(name: str, cap_minor: int) -> operator_pb2.AdmitParticipantRequest:
    """What a brand's `node init` writes for the operator."""
    asked = identities.request(name)
    return operator_pb2.AdmitParticipantRequest(
        id=f"admit-{name}",
        certificate_request=asked.pem,
        vkey=identities.signer(name).vkey,
        binding=asked.binding,
        display_name=name,
        peer_address=f"{name}.test:1",
        public_address=f"{name}.test:2",
        caps=[euro(cap_minor)],
    )


def reward(reward_id: str, *, price: int, stock: int) -> member_pb2.Reward:
    return member_pb2.Reward(
        reward_id=reward_id,
        title=reward_id.title(),
        kind=member_pb2.REWARD_KIND_VOUCHER,
        price_points=price,
        retail=euro(price),
        stock=stock,
        active=True,
    )


def terms(issuer: str, acceptor: str, **changed: Any) -> common_pb2.AgreementTerms:
    """Seven points for five, 0.6 cents each, half a percent for the operator; short times."""
    plain: dict[str, Any] = {
        "agreement_id": f"agr_{issuer}-{acceptor}",
        "version": 1,
        "issuer": issuer,
        "acceptor": acceptor,
        "conversion": common_pb2.Ratio(numerator=7, denominator=5),
        "points_rounding": common_pb2.ROUNDING_UP,
        "price": common_pb2.Ratio(numerator=3, denominator=5),
        "currency": "EUR",
        "amount_rounding": common_pb2.ROUNDING_HALF_UP,
        "fee_basis_points": 50,
        "fee_fixed_minor": 1,
        "fee_payer": common_pb2.FEE_PAYER_ACCEPTOR,
        "minimum_points": 1,
        "maximum_points": 100_000,
        "quote_life_us": 10 * SECOND,
        "claim_grace_us": 5 * SECOND,
        "deliver_within_us": 30 * SECOND,
        "valid_from_us": BASE_US - DAY,
        "valid_until_us": BASE_US + 365 * DAY,
        "kinds": [
            common_pb2.REDEMPTION_KIND_REWARD,
            common_pb2.REDEMPTION_KIND_EXCHANGE,
            common_pb2.REDEMPTION_KIND_ACCRUAL,
        ],
        "salt": identities.secret(f"salt {issuer} {acceptor}")[:16],
    }
    return common_pb2.AgreementTerms(**(plain | changed))
