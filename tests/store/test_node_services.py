"""A node's public listener: members and staff through the whole pipeline, without sockets."""

from __future__ import annotations

import asyncio
import hashlib
import random as seeded
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Engine

from comity.client.member import MemberClient
from comity.client.merchant import MerchantClient
from comity.client.session import Session, SessionChannel, key_name
from comity.clock import DAY
from comity.errors import (
    AlreadyUsed,
    ComityError,
    Conflict,
    Forbidden,
    Malformed,
    NotFound,
    NotHeard,
    Refused,
    Unauthenticated,
    Unavailable,
)
from comity.ledger import guard
from comity.ledger.engine import writer
from comity.ledger.runner import inline
from comity.ledger.signer import LogSigner
from comity.rpc.caller import Credentials
from comity.rpc.channel import Channel, LocalChannel
from comity.rpc.logging import get_logger
from comity.rpc.metrics import Metrics
from comity.rpc.tokens import ServerSecret
from comity.v1 import member_pb2, merchant_pb2
from comity.v1.common_pb2 import Money
from node import tables
from node.build import Brand, Node, Surroundings, build
from node.commands import AddStaffKey
from node.programme import ProgrammeFile
from tests.brand import LEDGER, NETWORK, ORIGIN, START_US, programme, signing_key


class Nobody:
    """A channel to an organisation that is away."""

    def unary_unary(self, path: str, *serializers: Any, **named: Any) -> Callable[..., Any]:
        async def call(request: Any, **named: Any) -> Any:
            raise Unavailable("Nobody answers.")

        return call

    async def close(self) -> None:
        """Nothing is open."""


@dataclass
class Shop:
    """A node whose neighbours are away, and whom a test can be."""

    engine: Engine
    now_us: int = START_US

    def __post_init__(self) -> None:
        with writer(self.engine).begin() as connection:
            tables.metadata.create_all(connection)
        signer = LogSigner(ORIGIN, signing_key("log"))
        at: dict[str, Any] = {"ledger": LEDGER, "network": NETWORK, "signer": signer}
        guard.init_ledger(self.engine, now_us=self.now_us, **at)
        clearing = LogSigner(f"{NETWORK}/clearing", signing_key("clearing"))
        random = seeded.Random(5)
        read = ProgrammeFile(programme(return_window_days=14), hashlib.sha256(b"x").digest())
        self.node: Node = build(
            Brand(
                network=NETWORK,
                participant=LEDGER,
                programme=read,
                clearing_vkey=clearing.vkey,
            ),
            Surroundings(
                engine=self.engine,
                lease=guard.open_ledger(self.engine, holder="test", now_us=self.now_us, **at),
                signer=signer,
                secret=ServerSecret(bytes(range(32))),
                clock=lambda: self.now_us,
                random=random.randbytes,
                write=inline,
                read=inline,
                clearing=Nobody(),
                connect=lambda participant, address: Nobody(),
                log=get_logger(),
                metrics=Metrics(),
            ),
        )

    async def open(self) -> None:
        """As if clearing had been heard; the first manager is there."""
        self.node.network.gate.open()
        key = signing_key("owner").public.raw
        await self.node.queue.submit(
            AddStaffKey(caller="", id="init", role="manager", name="owner", public_key=key)
        )

    def channel(self, key: str = "") -> Channel:
        """A channel to the public listener, in a session of `key` if given."""
        local = LocalChannel(self.node.public, Credentials(address="test"))
        if not key:
            return local
        session = Session(local, key=signing_key(key), origin=ORIGIN, clock=lambda: self.now_us)
        return SessionChannel(local, session)

    def member(self, key: str = "") -> MemberClient:
        return MemberClient(self.channel(key))

    def staff(self, key: str = "owner") -> MerchantClient:
        return MerchantClient(self.channel(key))

    async def enrol(self, key: str = "alice") -> str:
        found = await self.member().enrol(
            id=f"enrol-{key}", key=signing_key(key), origin=ORIGIN, name=key
        )
        return found.account


@pytest.fixture
def shop(engine: Engine) -> Shop:
    return Shop(engine)


def euro(minor: int) -> Money:
    return Money(currency="EUR", minor=minor)


def sale(account: str, minor: int, name: str) -> merchant_pb2.Purchase:
    return merchant_pb2.Purchase(purchase_id=name, account=account, amount=euro(minor))


async def test_nothing_is_written_before_clearing_was_heard(shop: Shop) -> None:
    with pytest.raises(NotHeard):
        await shop.enrol()
    await shop.open()
    assert (await shop.enrol()).startswith("acc_")


async def test_fifty_concurrent_enrolments_with_one_id_are_one_member(shop: Shop) -> None:
    await shop.open()
    accounts = await asyncio.gather(*(shop.enrol() for _ in range(50)))
    assert len(set(accounts)) == 1
    assert (await shop.staff().get_totals()).members == 1
    with pytest.raises(Conflict):
        await shop.member().enrol(id="enrol-alice", key=signing_key("bob"), origin=ORIGIN)


async def test_a_member_earns_and_sees_it(shop: Shop) -> None:
    await shop.open()
    alice = await shop.enrol()
    (result,) = await shop.staff().record_purchases([sale(alice, 250, "s1")])
    assert (result.points, result.pending) == (250, True)
    client = shop.member("alice")
    balance = (await client.get_balance()).balances[0]
    assert (balance.pending, balance.available) == (250, 0)
    shop.now_us += 14 * DAY
    balance = (await shop.member("alice").get_balance()).balances[0]
    assert (balance.pending, balance.available) == (0, 250)
    assert await shop.node.upkeep.sweep() == 1
    shown = [one.entry async for one in shop.member("alice").activity()]
    assert shown == ["transfer", "accrual"]
    assert [one.available async for one in shop.member("alice").lots()] == [250]


async def test_each_purchase_of_a_batch_has_its_own_result(shop: Shop) -> None:
    await shop.open()
    alice = await shop.enrol()
    nobody = "acc_" + "0" * 32
    results = await shop.staff().record_purchases(
        [sale(alice, 5, "a"), sale(nobody, 5, "b"), sale(alice, 0, "c"), sale(alice, 7, "d")]
    )
    assert [one.points for one in results] == [5, 0, 0, 7]
    assert [one.failure.code for one in results] == ["", "NOT_FOUND", "MALFORMED", ""]
    again = await shop.staff().record_purchases([sale(alice, 7, "d")])
    assert again[0] == results[3]


async def test_two_tills_refunding_at_once_take_the_points_back_once(shop: Shop) -> None:
    await shop.open()
    alice = await shop.enrol()
    await shop.staff().record_purchases([sale(alice, 100, "s")])
    answers = await asyncio.gather(
        *(
            shop.staff().refund_purchase(id=f"r{n}", purchase_id="s", cumulative=euro(60))
            for n in range(20)
        )
    )
    assert sorted(one.points for one in answers) == [0] * 19 + [60]
    balance = (await shop.member("alice").get_balance()).balances[0]
    assert balance.pending == 40


async def test_what_staff_may_do_members_and_strangers_may_not(shop: Shop) -> None:
    await shop.open()
    alice = await shop.enrol()
    key = signing_key("till").public.raw
    await shop.staff().add_staff_key(id="k", role="till", name="front", public_key=key)
    till = shop.staff("till")
    assert (await till.record_purchases([sale(alice, 5, "a")]))[0].points == 5
    with pytest.raises(Forbidden):
        await till.adjust_points(id="x", account=alice, points=5, reason_code="gift")
    with pytest.raises(Forbidden):
        await shop.staff("alice").record_purchases([sale(alice, 5, "b")])
    with pytest.raises(Unauthenticated):
        await MerchantClient(shop.channel()).get_totals()
    with pytest.raises(Unauthenticated):
        await shop.staff("a stranger").get_totals()


async def test_managers_keep_the_catalogue(shop: Shop) -> None:
    await shop.open()
    reward = member_pb2.Reward(
        reward_id="coffee",
        title="A coffee",
        kind=member_pb2.REWARD_KIND_VOUCHER,
        price_points=20,
        stock=3,
        active=True,
    )
    manager = shop.staff()
    assert (await manager.put_reward(id="p", reward=reward)).stock == 3
    assert (await manager.set_stock(id="s", reward_id="coffee", change=2)).stock == 5
    assert (await manager.set_stock(id="s", reward_id="coffee", change=2)).stock == 5
    with pytest.raises(Malformed):
        await manager.check_voucher("not a code")
    with pytest.raises(NotFound):
        await manager.set_stock(id="t", reward_id="tea", change=1)


async def test_devices_locks_and_erasure_over_the_wire(shop: Shop) -> None:
    await shop.open()
    alice = await shop.enrol()
    client = shop.member("alice")
    phone = await client.add_device(id="d", key=signing_key("phone"), origin=ORIGIN)
    first = key_name(signing_key("alice"))
    await shop.member("phone").revoke_device(id="r", key_id=first)
    devices = {one.key_id: one.revoked for one in await shop.member("phone").list_devices()}
    assert devices == {first: True, phone: False}
    # Neither the session it still has nor a new one is worth anything now.
    for session in (client, shop.member("alice")):
        with pytest.raises(Unauthenticated):
            await session.get_balance()
    manager = shop.staff()
    await manager.lock_member(id="l", account=alice, locked=True)
    await manager.erase_member(id="e", account=alice)
    await manager.erase_member(id="e", account=alice)
    with pytest.raises(ComityError):
        await shop.member("phone").get_balance()
    with pytest.raises(NotFound):
        await manager.adjust_points(id="a", account=alice, points=5, reason_code="gift")


async def test_a_token_ends_with_its_key_for_every_method(shop: Shop) -> None:
    await shop.open()
    await shop.enrol()
    tablet, till = shop.member("alice"), shop.staff("till")
    await tablet.add_device(id="d", key=signing_key("phone"), origin=ORIGIN)
    manager, key = shop.staff(), signing_key("till")
    await manager.add_staff_key(id="k", role="till", name="front", public_key=key.public.raw)
    with pytest.raises(NotFound):
        await till.check_voucher("0000-0000-0000-0000-0")
    # A member's device: what it had asked before, it may not ask again.
    receipt = partial(tablet.get_issuer_receipt, f"rdm_{'0' * 32}")
    with pytest.raises(NotFound):
        await receipt()
    revoked = key_name(signing_key("alice"))
    await shop.member("phone").revoke_device(id="r", key_id=revoked)
    for ask in (receipt, tablet.get_balance, tablet.list_devices):
        with pytest.raises(Unauthenticated):
            await ask()
    assert [one.revoked for one in await shop.member("phone").list_devices()].count(True) == 1
    # A till.
    for _ in range(2):
        await manager.remove_staff_key(id="x", key_id=key_name(key))
    with pytest.raises(Unauthenticated):
        await till.check_voucher("0000-0000-0000-0000-0")
    with pytest.raises(NotFound):
        await manager.remove_staff_key(id="y", key_id=key_name(key))


async def test_the_last_manager_stays(shop: Shop) -> None:
    await shop.open()
    manager, owner = shop.staff(), key_name(signing_key("owner"))
    with pytest.raises(Refused, match="last manager"):
        await manager.remove_staff_key(id="x", key_id=owner)
    deputy = signing_key("deputy").public.raw
    await manager.add_staff_key(id="k", role="manager", name="deputy", public_key=deputy)
    await shop.staff("deputy").remove_staff_key(id="y", key_id=owner)
    with pytest.raises(Unauthenticated):
        await manager.get_totals()
    assert (await shop.staff("deputy").get_totals()).members == 0


async def test_the_programme_is_declared_once_for_each_version(shop: Shop) -> None:
    await shop.open()
    for _ in range(3):
        await shop.node.upkeep.declare()
    assert shop.node.ledger.head().size == 1


async def test_a_voucher_that_is_used_stays_used(shop: Shop) -> None:
    await shop.open()
    code = "0000-0000-0000-0000-0"
    with pytest.raises(NotFound):
        await shop.staff().use_voucher(id="u", code=code)
    with writer(shop.engine).begin() as connection:
        connection.execute(
            tables.vouchers.insert().values(
                ledger=LEDGER,
                code=code,
                reward_id="coffee",
                redemption_id="rdm_1",
                state="VALID",
                issued_at_us=START_US,
                used_at_us=0,
                used_by="",
            )
        )
    used = await shop.staff().use_voucher(id="u", code=code.lower().replace("-", ""))
    assert used.state == "USED"
    assert (await shop.staff().use_voucher(id="u", code=code)) == used
    with pytest.raises(AlreadyUsed):
        await shop.staff().use_voucher(id="v", code=code)
    assert (await shop.staff().check_voucher(code)).state == "USED"
