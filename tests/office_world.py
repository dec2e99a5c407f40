"""A node whose neighbours are away, and everybody who works or shops at its brand.

It runs on virtual time (`tests.simulation.loop`), so that days pass at once.
"""

from __future__ import annotations

import asyncio
import hashlib
import random as seeded
from collections.abc import Callable, Coroutine
from typing import Any

from sqlalchemy import Engine, Table, select

from comity.client.member import MemberClient
from comity.client.merchant import MerchantClient
from comity.client.office import OfficeClient
from comity.client.session import Session, SessionChannel
from comity.clock import SECOND
from comity.errors import Unavailable
from comity.keys import SigningKey
from comity.ledger import guard
from comity.ledger.engine import open_engine, writer
from comity.ledger.runner import inline
from comity.ledger.signer import LogSigner
from comity.rpc.caller import Credentials
from comity.rpc.channel import Channel, LocalChannel
from comity.rpc.logging import get_logger
from comity.rpc.metrics import Metrics
from comity.rpc.tokens import ServerSecret
from comity.v1.common_pb2 import Money
from comity.v1.merchant_pb2 import Purchase
from node import tables
from node.build import Brand, Node, Surroundings, build
from node.commands import AddStaffKey
from node.programme import Programme, ProgrammeFile
from node.webhooks.sender import Post
from tests.brand import LEDGER, NETWORK, ORIGIN, START_US, programme, signing_key
from tests.simulation.loop import run as run_virtually

SECRET = ServerSecret(bytes(range(32)))


class Nobody:
    """A channel to an organisation that is away."""

    def unary_unary(self, path: str, *serializers: Any, **named: Any) -> Callable[..., Any]:
        async def call(request: Any, **named: Any) -> Any:
            raise Unavailable("Nobody answers.")

        return call

    async def close(self) -> None:
        """Nothing is open."""


class Office:
    """A started node; whoever has a key registered may be asked for as `manager`, `member`."""

    def __init__(
        self,
        by: Programme | None = None,
        *,
        engine: Engine | None = None,
        post: Post | None = None,
        now_us: int = START_US,
    ) -> None:
        self.engine = engine or open_engine("sqlite://")
        self.began_us = now_us
        self.by = by or programme()
        self._post = post
        self._signer = LogSigner(ORIGIN, signing_key("log"))
        with writer(self.engine).begin() as connection:
            tables.metadata.create_all(connection)
        guard.init_ledger(
            self.engine, ledger=LEDGER, network=NETWORK, signer=self._signer, now_us=now_us
        )
        self._random = seeded.Random(11)
        self._loops: list[asyncio.Task[Any]] = []
        self.node: Node = self._build()

    def clock(self) -> int:
        """Virtual time."""
        try:
            return self.began_us + int(asyncio.get_running_loop().time() * SECOND)
        except RuntimeError:
            return self.began_us

    def _build(self) -> Node:
        clearing = LogSigner(f"{NETWORK}/clearing", signing_key("clearing"))
        return build(
            Brand(
                network=NETWORK,
                participant=LEDGER,
                programme=ProgrammeFile(self.by, hashlib.sha256(b"x").digest()),
                clearing_vkey=clearing.vkey,
            ),
            Surroundings(
                engine=self.engine,
                lease=guard.open_ledger(
                    self.engine,
                    ledger=LEDGER,
                    network=NETWORK,
                    signer=self._signer,
                    holder="test",
                    now_us=self.clock(),
                ),
                signer=self._signer,
                secret=SECRET,
                clock=self.clock,
                random=self._random.randbytes,
                write=inline,
                read=inline,
                clearing=Nobody(),
                connect=lambda participant, address: Nobody(),
                log=get_logger(),
                metrics=Metrics(),
                post=self._post,
            ),
        )

    def run(self, story: Coroutine[Any, Any, None]) -> None:
        """Let a story happen at this brand, from its opening on."""

        async def whole() -> None:
            await self.open()
            await story
            for task in self._loops:
                if task.done():
                    task.result()

        run_virtually(whole())

    async def open(self) -> None:
        """As if clearing had been heard; there are two managers, `owner` and `deputy`, and a
        till, `front`."""
        self.node.network.gate.open()
        for name, role in (("owner", "manager"), ("deputy", "manager"), ("front", "till")):
            key = signing_key(name).public.raw
            await self.node.queue.submit(
                AddStaffKey(caller="", id=f"init-{name}", role=role, name=name, public_key=key)
            )
        if "webhooks" in self.node.loops:
            self._loops.append(asyncio.ensure_future(self._looped("webhooks")))

    async def _looped(self, name: str) -> None:
        await self.node.loops[name]()

    async def restart(self) -> None:
        """The process dies, with whatever it had not committed, and starts again."""
        loops, self._loops = self._loops, []
        for task in loops:
            task.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        await self.node.queue.close()
        self.node = self._build()
        await self.open()

    @property
    def origin(self) -> str:
        """The name of the brand's log."""
        return ORIGIN

    def key(self, name: str) -> SigningKey:
        """The key of somebody at this brand."""
        return signing_key(name)

    @property
    def vkey(self) -> str:
        """The key of the brand's log."""
        return self._signer.vkey

    def rows(self, table: Table) -> list[dict[str, Any]]:
        """A whole table."""
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(select(table)).mappings()]

    # --- people -----------------------------------------------------------------------

    def channel(self, key: str = "") -> Channel:
        """A channel to the public listener, in a session of `key` if given."""
        local = LocalChannel(self.node.public, Credentials(address="test"))
        if not key:
            return local
        session = Session(local, key=signing_key(key), origin=ORIGIN, clock=self.clock)
        return SessionChannel(local, session)

    def member(self, key: str = "") -> MemberClient:
        return MemberClient(self.channel(key))

    def staff(self, key: str = "owner") -> MerchantClient:
        return MerchantClient(self.channel(key))

    def manager(self, key: str = "owner") -> OfficeClient:
        return OfficeClient(self.channel(key))

    async def enrol(self, key: str = "alice") -> str:
        found = await self.member().enrol(
            id=f"enrol-{key}", key=signing_key(key), origin=ORIGIN, name=key
        )
        return found.account

    async def buy(self, account: str, minor: int, purchase_id: str) -> int:
        """A sale; returns the points it earned."""
        (result,) = await self.staff().record_purchases(
            [Purchase(purchase_id=purchase_id, account=account, amount=euro(minor))]
        )
        assert not result.failure.code, result.failure
        return int(result.points)


def euro(minor: int) -> Money:
    return Money(currency="EUR", minor=minor)
