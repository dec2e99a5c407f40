"""One run of the simulation: a minute of trade in bad weather, drawn from one seed.

    python -m tests.simulation.story 17        runs seed 17 and says what went wrong

Members, tills, managers and the operator act at random moments while messages are lost, delayed,
repeated and reordered, wires are cut and machines die: between two awaits, or right before or
after a commit. Then faults are over, everything must come to its end, and the books must say
what people were answered.
"""

from __future__ import annotations

import asyncio
import random
import sys
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from comity.errors import ComityError, Conflict, NotFound, Refused, rebuild
from comity.ledger.steps import Moment, Step
from comity.v1 import common_pb2, entry_pb2, member_pb2
from tests.simulation.books import Books
from tests.simulation.hosts import Host, Trap
from tests.simulation.identities import CLEARING
from tests.simulation.network import Weather
from tests.simulation.people import Member, Wanted, euro, insist
from tests.world import BRANDS, COFFEE, TICKET, World, play, terms

STORM_S: Final = 45.0
ACTIONS: Final = 34
PATIENCE_S: Final = 400.0

PROGRAMMES: Final[Mapping[str, Mapping[str, Any]]] = {
    "fuel": {"return_window_days": 1},
    "cinema": {
        "expiry": {"calendar_years": 0},
        "clawback": "within_balance",
        "expired_lot_grace_days": 1,
    },
}
"""Points are pending for a day at fuel, expire in the middle of the run at cinema."""

AT_CLEARING: Final = (Step.AGREE, Step.DECIDE, Step.REPORT, Step.HEADS, Step.CLOSE, Step.SETTLE)
AT_CLEARING_TOO: Final = (Step.ACKNOWLEDGE, Step.STATUS, Step.CAP, Step.HEARD)
AT_BRANDS: Final = (
    Step.ENROL,
    Step.PURCHASE,
    Step.REFUND,
    Step.ADJUST,
    Step.EXPIRE,
    Step.RESERVE,
    Step.HOLD,
    Step.DELIVER,
    Step.FAIL,
    Step.POST,
    Step.RELEASE,
    Step.RESTORE,
    Step.RETURN,
    Step.VOUCHER,
    Step.PLEDGE,
    Step.ACCRUE,
    Step.EXCHANGE,
    Step.MIRROR,
    Step.ACK,
    Step.HEARD,
    Step.PROPOSE,
    Step.OFFER,
    Step.ACCEPT,
    Step.TERMINATE,
)
MOMENTS: Final[Sequence[Moment]] = ("before", "after")


class Story:
    """What happens in one world, and what people were answered."""

    def __init__(self, world: World, deeds: Sequence[Deed]) -> None:
        self.world = world
        self.deeds = deeds
        self.draw = random.Random(f"story {world.seed}")
        self.books = Books()
        self.members: list[Member] = []
        self.delivered: list[tuple[Member, Wanted]] = []
        self.partner_sales: list[tuple[Member, str, str, int]] = []
        self.counts: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.agreeing: set[frozenset[str]] = set()
        self.versions: Counter[tuple[str, str]] = Counter()
        self._until: dict[str, float] = {}

    async def tell(self) -> None:
        """The whole run, checked."""
        for brand in BRANDS:
            for _ in range(2):
                await self._enrol(brand)
        people = await self._storm()
        await self.world.settle_down()
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*people)
        await self.world.finish()
        await self.books.check(self.world)
        for what in ("lost", "repeated", "slow"):
            assert self.world.network.counts[what], f"nothing was {what} in this run"
        assert sum(host.deaths for host in self.world.hosts), "nobody crashed in this run"

    # --- bad weather ------------------------------------------------------------------

    async def _storm(self) -> list[asyncio.Task[None]]:
        draw, world, loop = self.draw, self.world, asyncio.get_running_loop()
        end = loop.time() + STORM_S
        for host in world.hosts:
            host.skew_us = draw.randrange(-1_500_000, 1_500_000)
        world.weather(
            Weather(
                lost=draw.uniform(0.03, 0.1),
                repeated=draw.uniform(0.04, 0.12),
                delay_s=draw.uniform(0.005, 0.05),
                slow=draw.uniform(0.03, 0.1),
                slow_s=draw.uniform(1.0, 6.0),
                dropped=0.5,
            )
        )
        people = [
            asyncio.create_task(self._later(draw.uniform(0, STORM_S), draw.choice(self.deeds)))
            for _ in range(ACTIONS)
        ]
        for _ in range(draw.randrange(3, 7)):
            loop.call_later(draw.uniform(0, 0.9 * STORM_S), self._hurt)
        for _ in range(draw.randrange(1, 4)):
            loop.call_later(draw.uniform(0, 0.8 * STORM_S), self._cut)
        loop.call_later(STORM_S / 2, self._hurt_somebody)
        while loop.time() < end:
            await asyncio.sleep(0.1)
            self._heal()
        return people

    async def _later(self, after_s: float, deed: Deed) -> None:
        await asyncio.sleep(after_s)
        try:
            await deed(self)
            self.counts[deed.__name__] += 1
        except Refused as refusal:
            self.refusals[refusal.code] += 1
        except ComityError as error:
            self.world.failures.append(f"{deed.__name__} was answered {error.code}: {error}")

    def _hurt(self) -> None:
        """Have a machine die: now, a few awaits later, or around a commit."""
        draw = self.draw
        host = draw.choice(self.world.hosts)
        manner = draw.random()
        if manner < 0.55:
            steps = (*AT_CLEARING, *AT_CLEARING_TOO) if host.name == CLEARING else AT_BRANDS
            host.traps.append(Trap(draw.choice(steps), draw.choice(MOMENTS), draw.randrange(3)))
        elif manner < 0.9 and host.process is not None:
            host.process.fuse = draw.randrange(1, 400)
        else:
            host.kill()

    def _hurt_somebody(self) -> None:
        """There is no run without a crash."""
        if not any(host.deaths for host in self.world.hosts):
            self.draw.choice(self.world.hosts).kill()

    def _cut(self) -> None:
        """Cut a wire for some seconds."""
        draw = self.draw
        one, other = draw.sample([host.name for host in self.world.hosts], 2)
        self.world.partition(one, other)
        pair = frozenset((one, other))
        asyncio.get_running_loop().call_later(
            draw.uniform(1, 15), self.world.network.cut.discard, pair
        )

    def _heal(self) -> None:
        """Start dead machines again after a while."""
        now = asyncio.get_running_loop().time()
        for host in self.world.hosts:
            if host.alive:
                continue
            due = self._until.setdefault(host.name, now + self.draw.uniform(0.1, 8))
            if now >= due:
                del self._until[host.name]
                self._start(host)

    def _start(self, host: Host) -> None:
        host.skew_us += self.draw.randrange(-200_000, 200_000)
        host.start()

    # --- what people do ---------------------------------------------------------------

    async def _enrol(self, brand: str) -> Member:
        name = f"member{len(self.world.members) + 1}"
        member = Member(self.world.ground, brand, name)
        self.world.members.append(member)
        await member.enrol()
        await self._record(member, self.draw.randrange(100, 800))
        await self._adjust(member, self.draw.randrange(100, 400))
        self.members.append(member)
        return member

    async def _record(self, member: Member, minor: int) -> None:
        purchase = member.purchase(self.world.new_id("sale"), minor)
        till = self.world.tills[member.brand]

        async def record() -> object:
            result = await till.record(purchase)
            if result.failure.code:
                raise rebuild(result.failure.code, result.failure.message)
            return result

        asked = [insist(record) for _ in range(self.draw.choice((1, 1, 2)))]
        first, *others = await asyncio.gather(*asked)
        self.books.same(first, *others)
        self.books.earned(member.brand, member.account, minor)
        self.books.answered(record, first)
        self.books.sales.append((member, purchase))

    async def _adjust(self, member: Member, points: int) -> None:
        manager = self.world.managers[member.brand].client
        name = self.world.new_id("adjust")

        async def adjust() -> object:
            return await manager.adjust_points(
                id=name, account=member.account, points=points, reason_code="goodwill"
            )

        answer = await insist(adjust)
        self.books.earned(member.brand, member.account, points)
        self.books.answered(adjust, answer)

    def _visit(self) -> tuple[Member, str]:
        """A member, and another brand."""
        member = self.draw.choice(self.members)
        return member, self.draw.choice([name for name in BRANDS if name != member.brand])

    async def _take(self, member: Member, wanted: Wanted) -> member_pb2.Redemption:
        """Redeem, perhaps too late, perhaps from two devices at once."""
        await asyncio.sleep(self.draw.choice((0, 0, 0, self.draw.uniform(0, 12))))
        asked = [member.redeem(wanted) for _ in range(self.draw.choice((1, 1, 1, 2)))]
        self.books.wanted(wanted, member)
        first, *others = await asyncio.gather(*asked)
        for other in others:
            assert (other.state, other.vouchers) == (first.state, first.vouchers)
        self.books.decided(wanted, first)
        if first.state == member_pb2.REDEMPTION_STATE_DELIVERED:
            self.delivered.append((member, wanted))
        else:
            self.refusals[first.failure.code or "REVERSED"] += 1
        return first


Deed = Callable[[Story], Awaitable[None]]


async def enrol(story: Story) -> None:
    await story._enrol(story.draw.choice(BRANDS))


async def purchase(story: Story) -> None:
    await story._record(story.draw.choice(story.members), story.draw.randrange(20, 500))


async def refund(story: Story) -> None:
    member, sale = story.draw.choice(story.books.sales)
    till = story.world.tills[member.brand].client
    name = story.world.new_id("refund")
    cumulative = euro(story.draw.randrange(1, sale.amount.minor + 1))

    async def ask() -> Any:
        return await till.refund_purchase(
            id=name, purchase_id=sale.purchase_id, cumulative=cumulative
        )

    answer = await insist(ask)
    story.books.earned(member.brand, member.account, -answer.points)
    story.books.answered(ask, answer)


async def adjust(story: Story) -> None:
    points = story.draw.choice((-1, 1)) * story.draw.randrange(1, 200)
    await story._adjust(story.draw.choice(story.members), points)


async def redeem(story: Story) -> None:
    member, acceptor = story._visit()
    reward_id = story.draw.choice((COFFEE, TICKET))
    wanted = await member.want_reward(acceptor, reward_id, story.draw.choice((1, 1, 2)))
    taken = await story._take(member, wanted)
    if taken.vouchers and story.draw.random() < 0.4:
        till = story.world.tills[acceptor].client
        name = story.world.new_id("use")
        code = taken.vouchers[0]
        used = await insist(lambda: till.use_voucher(id=name, code=code))
        story.books.answered(lambda: till.use_voucher(id=name, code=code), used)


async def exchange(story: Story) -> None:
    member, acceptor = story._visit()
    there = story.draw.choice([one for one in story.members if one.brand == acceptor])
    points = story.draw.randrange(10, 120)
    await story._take(member, await member.want_points(acceptor, points, there.account))


async def reverse(story: Story) -> None:
    if not story.delivered:
        return
    _, wanted = story.draw.choice(story.delivered)
    part = story.draw.choice((0, story.draw.randrange(1, wanted.quote.points + 1)))
    name = story.world.new_id("return")
    await story.world.reverse(wanted, cumulative=part, id_=name)


async def partner_purchase(story: Story) -> None:
    member, partner = story._visit()
    name = story.world.new_id("partner-sale")
    minor = story.draw.randrange(20, 300)

    async def ask() -> Any:
        return await story.world.partner_purchase(member, partner, minor, name)

    while True:
        answer = await ask()
        if answer.state != member_pb2.REDEMPTION_STATE_PENDING:
            break
        await asyncio.sleep(1)
    if answer.state == member_pb2.REDEMPTION_STATE_DELIVERED:
        story.books.earned(member.brand, member.account, answer.points)
        story.partner_sales.append((member, partner, name, minor))
    story.books.answered(ask, answer)


async def partner_refund(story: Story) -> None:
    if not story.partner_sales:
        return
    member, partner, sale, minor = story.draw.choice(story.partner_sales)
    part = story.draw.choice((minor, story.draw.randrange(1, minor + 1)))
    answer = await story.world.partner_refund(partner, sale, part)
    story.books.partner_refunded(member, answer)


async def close_window(story: Story) -> None:
    window = await story.world.close_window()
    await asyncio.sleep(story.draw.uniform(0, 3))
    await story.world.settle(window)


async def suspend(story: Story) -> None:
    brand = story.draw.choice(BRANDS)
    world = story.world
    for status in (
        story.draw.choice(
            (entry_pb2.PARTICIPANT_STATUS_SUSPENDED, entry_pb2.PARTICIPANT_STATUS_FROZEN)
        ),
        entry_pb2.PARTICIPANT_STATUS_ACTIVE,
    ):
        name = world.new_id("standing")

        async def ask(name: str = name, status: Any = status) -> Any:
            return await world.operator.set_standing(
                id=name, participant=brand, status=status, reason="a drill"
            )

        await insist(ask)
        await asyncio.sleep(story.draw.uniform(0.5, 6))


async def cap(story: Story) -> None:
    brand, name = story.draw.choice(BRANDS), story.world.new_id("cap")
    limit = euro(story.draw.choice((0, 50, 150, 500, 1_000_000)))
    operator = story.world.operator
    await insist(lambda: operator.set_cap(id=name, participant=brand, net_debit_cap=limit))


async def renew(story: Story) -> None:
    """Two brands agree anew; now and then one of them ends it again."""
    issuer, acceptor = story.draw.sample(BRANDS, 2)
    pair = frozenset((issuer, acceptor))
    if pair in story.agreeing:
        return
    story.agreeing.add(pair)
    managers = story.world.managers
    version = story.versions[issuer, acceptor] = story.versions[issuer, acceptor] + 1
    price = common_pb2.Ratio(numerator=story.draw.randrange(1, 9), denominator=5)
    wanted = terms(issuer, acceptor, version=version + 1, price=price)
    names = [story.world.new_id("agree") for _ in range(3)]
    await insist(lambda: managers[issuer].client.propose_agreement(id=names[0], terms=wanted))
    await _once_known(
        lambda: managers[acceptor].client.accept_agreement(
            id=names[1], agreement_id=wanted.agreement_id, version=wanted.version
        )
    )
    if story.draw.random() < 0.3:
        await _once_known(
            lambda: managers[acceptor].client.terminate_agreement(
                id=names[2], agreement_id=wanted.agreement_id, version=wanted.version
            )
        )
    story.agreeing.remove(pair)


async def _once_known(ask: Callable[[], Awaitable[None]]) -> None:
    """Ask until what it is about has arrived there."""
    while True:
        try:
            await insist(ask)
            return
        except (NotFound, Conflict):
            await asyncio.sleep(1)


DEEDS: Final[Sequence[Deed]] = (
    *(redeem,) * 10,
    *(purchase,) * 4,
    *(exchange,) * 4,
    *(reverse,) * 5,
    *(partner_purchase,) * 3,
    *(partner_refund,) * 3,
    *(refund,) * 3,
    *(adjust,) * 2,
    close_window,
    suspend,
    cap,
    enrol,
    renew,
)


def tell(seed: int, deeds: Sequence[Deed] = DEEDS) -> Story:
    """Run one seed to its end. Raises AssertionError with what went wrong."""
    told: list[Story] = []

    async def story(world: World) -> None:
        told.append(Story(world, deeds))
        await told[0].tell()

    play(story, seed, programmes=PROGRAMMES)
    return told[0]


def attempt(seed: int) -> str:
    """What went wrong with a seed, and how to see it again; empty if nothing did."""
    try:
        tell(seed)
    except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to this seed
        where = traceback.format_exc(limit=-3)
        again = f".venv/bin/python -m tests.simulation.story {seed}"
        return f"Seed {seed} failed; run it again with `{again}`\n{error!r}\n{where}"
    return ""


def main(seeds: Sequence[str]) -> None:
    """Run seeds one after the other and print what they were like."""
    for seed in seeds:
        one = tell(int(seed))
        print(f"seed {seed} is fine:", dict(one.counts), dict(one.refusals))
        print(one.world.network.counts, {host.name: host.deaths for host in one.world.hosts})
        for who, said in one.world.alarms:
            print("alarm at", who, said)
        print(dict(one.world.roots))


if __name__ == "__main__":
    main(sys.argv[1:])
