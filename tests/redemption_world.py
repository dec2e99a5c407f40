"""Real brands around a real clearing service, in one process and on one clock.

Every message passes the production endpoints as bytes. A brand's node is what `node.network.join`
puts together, over its own database; tests play members, tills and, where they lie, neighbours.
"""

from __future__ import annotations

import asyncio
import hashlib
import random as seeded
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine, select

from comity.clock import MINUTE
from comity.errors import ComityError, Unavailable
from comity.keys import PublicKey, SigningKey
from comity.ledger import entries, guard
from comity.ledger.command import Command
from comity.ledger.engine import open_engine, writer
from comity.ledger.runner import inline
from comity.ledger.sequencer import Sequencer
from comity.ledger.signer import LogSigner
from comity.log.note import VerifierKey
from comity.rpc import authority as authorities
from comity.rpc import tls
from comity.rpc.authentication import CertificateAuthenticator
from comity.rpc.authorisation import permissions
from comity.rpc.caller import Caller, CallerKind, Credentials
from comity.rpc.channel import Channel, LocalChannel
from comity.rpc.endpoint import Endpoint
from comity.rpc.limits import CallLimiter
from comity.rpc.logging import get_logger
from comity.rpc.metrics import Metrics
from comity.terms import mandates, quotes
from comity.v1 import common_pb2, entry_pb2, member_pb2, merchant_pb2, peer_pb2
from node import tables
from node.book import NodeBook, Rules
from node.build import PROGRAMME_HANDLERS
from node.commands import Enrol, PutReward, RecordPurchase
from node.gate import Gate, GatedQueue, gated
from node.network import NETWORK_HANDLERS, Network, join
from node.open_holds import HoldLimits
from node.programme import Programme
from tests.brand import programme_content
from tests.store.clearing_world import NETWORK, World, terms

TILL = Caller(kind=CallerKind.TILL, id="front")
MANAGER = Caller(kind=CallerKind.MANAGER, id="ann")
GUEST = Caller(kind=CallerKind.ANONYMOUS, id="203.0.113.7")

Handle = Callable[[str, bytes], Awaitable[bytes]]


def device(name: str) -> SigningKey:
    return SigningKey(hashlib.sha256(f"device {name}".encode()).digest())


class Line:
    """A channel that a test can cut, slow down or tamper with."""

    def __init__(self, inner: Channel) -> None:
        self.inner = inner
        self.cut: ComityError | None = None
        self.deaf_to: set[str] = set()
        self.lose_answers_of: set[str] = set()
        self.tamper: dict[str, Callable[[Any], Any]] = {}
        self.calls: list[str] = []

    def unary_unary(
        self,
        path: str,
        request_serializer: Callable[[Any], bytes],
        response_deserializer: Callable[[bytes], Any],
        _registered_method: bool | None = False,
    ) -> Any:
        call = self.inner.unary_unary(path, request_serializer, response_deserializer)
        name = path.rpartition("/")[2]

        async def through(request: Any, *, timeout: float | None = None, **_: Any) -> Any:
            self.calls.append(name)
            if self.cut is not None:
                raise self.cut
            if name in self.deaf_to:
                raise Unavailable("The request never arrived.")
            answer = await call(request, timeout=timeout)
            if name in self.lose_answers_of:
                raise Unavailable("The answer was lost.")
            return self.tamper[name](answer) if name in self.tamper else answer

        return through

    async def close(self) -> None:
        await self.inner.close()


@dataclass
class Node:
    """One brand's node, started or not."""

    name: str
    world: NodeWorld
    engine: Engine = field(default_factory=lambda: open_engine("sqlite://"))
    alarms: list[tuple[str, ComityError]] = field(default_factory=list)
    lines: dict[str, Line] = field(default_factory=dict)
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)
    programme_changes: dict[str, Any] = field(default_factory=dict)
    hold_limits: HoldLimits | None = None
    next_keys: list[SigningKey] = field(default_factory=list)
    """Log keys that lie beside the one the brand was admitted with."""

    @property
    def signer(self) -> LogSigner:
        brand = self.world.clearing_world.brands[self.name]
        return LogSigner(brand.origin, brand.key, find=self._find)

    def _find(self, public: PublicKey) -> SigningKey | None:
        return next((key for key in self.next_keys if key.public == public), None)

    @property
    def rules(self) -> Rules:
        content = programme_content(f"{self.name} Plus", **self.programme_changes)
        programme = Programme.model_validate(content)
        return Rules(network=NETWORK, participant=self.name, programme=programme)

    def init(self) -> None:
        with writer(self.engine).begin() as connection:
            tables.metadata.create_all(connection)
        guard.init_ledger(
            self.engine,
            ledger=self.name,
            network=NETWORK,
            signer=self.signer,
            now_us=self.world.clock(),
        )

    def build(self) -> Network:
        """The node as after a start, its loops not running yet."""
        world, signer = self.world, self.signer
        lease = guard.open_ledger(
            self.engine,
            ledger=self.name,
            network=NETWORK,
            signer=signer,
            holder="test",
            now_us=world.clock(),
            is_dead=lambda _: True,
        )
        self.sequencer = Sequencer(
            engine=self.engine,
            lease=lease,
            book=NodeBook(self.rules, *PROGRAMME_HANDLERS, *NETWORK_HANDLERS),
            signer=signer,
            clock=world.clock,
            random=seeded.Random(f"{self.name} {world.starts}").randbytes,
        )
        world.starts += 1
        gate = Gate()
        self.queue = gated(GatedQueue(self.sequencer, write=inline, read=inline), gate)
        self.net = join(
            rules=self.rules,
            queue=self.queue,
            gate=gate,
            own_keys=lambda: signer.history,
            clearing_key=VerifierKey.parse(world.clearing_world.signer.vkey),
            connect=lambda name, _: self.line(name),
            clearing=self.line("clearing"),
            secret=hashlib.sha256(self.name.encode()).digest(),
            clock=world.clock,
            random=seeded.Random(f"{self.name} quotes {world.starts}").randbytes,
            read=inline,
            alarm=lambda doing, error: self.alarms.append((doing, error)),
            hold_limits=self.hold_limits,
            wait_s=2.0,
            follow_ms=200,
        )
        self.endpoint = Endpoint(
            {peer_pb2.DESCRIPTOR.services_by_name["PeerService"]: self.net.peer_service},
            authenticator=CertificateAuthenticator(network=NETWORK, clock=world.clock),
            permissions=permissions(),
            limiter=CallLimiter(world.clock),
            clock=world.clock,
            log=get_logger(),
            metrics=Metrics(),
        )
        return self.net

    def line(self, other: str) -> Line:
        """The channel to a neighbour; stays the same through restarts."""
        if other not in self.lines:
            self.lines[other] = Line(_Late(self.world, other, self.name))
        return self.lines[other]

    def run(self) -> None:
        """Start the loops."""
        for name, loop in self.net.loops.items():
            task = asyncio.ensure_future(loop())
            task.set_name(f"{self.name} {name}")
            self.tasks.append(task)

    async def start(self) -> None:
        self.build()
        self.run()
        await self.net.gate.opened()

    async def stop(self) -> None:
        """End as a killed process does: nothing is finished, nothing is given back."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.tasks.clear()
        await self.net.close()

    # --- people -----------------------------------------------------------------------

    async def do(self, command: Command) -> bytes:
        return (await self.queue.submit(command)).body

    async def enrol(self, name: str = "alice", *, points: int = 0) -> str:
        body = await self.do(Enrol(id=f"enrol-{name}", public_key=device(name).public.raw))
        account = member_pb2.EnrolResponse.FromString(body).account
        if points:
            await self.do(
                RecordPurchase(
                    purchase_id=f"first-{name}", account=account, currency="EUR", minor=points
                )
            )
        return account

    async def put_reward(
        self, reward_id: str = "coffee", *, price: int = 100, stock: int = -1
    ) -> None:
        reward = member_pb2.Reward(
            reward_id=reward_id,
            title="A coffee",
            kind=member_pb2.REWARD_KIND_VOUCHER,
            price_points=price,
            stock=stock,
            active=True,
        )
        await self.do(
            PutReward(
                caller="manager:ann",
                id=f"put-{reward_id}",
                reward_id=reward_id,
                reward=reward.SerializeToString(),
            )
        )

    def rows(self, name: str) -> list[dict[str, Any]]:
        with self.engine.connect() as connection:
            found = connection.execute(select(tables.metadata.tables[name])).mappings()
            return [dict(row) for row in found]

    def kinds(self) -> list[str]:
        return [one.kind for one in self.queue.store.entries(0, 1_000)]

    def balance(self, account: str) -> tuple[int, int]:
        """(available, held)."""
        row = next(one for one in self.rows("accounts") if one["account"] == account)
        return row["available"], row["held"]


class _Late:
    """A channel to whoever answers at a name when the call is made."""

    def __init__(self, world: NodeWorld, to: str, caller: str) -> None:
        self._world, self._to, self._caller = world, to, caller

    def unary_unary(
        self,
        path: str,
        request_serializer: Callable[[Any], bytes],
        response_deserializer: Callable[[bytes], Any],
        _registered_method: bool | None = False,
    ) -> Any:
        async def call(request: Any, *, timeout: float | None = None) -> Any:
            credentials = self._world.credentials(self._caller)
            channel = LocalChannel(self._world.endpoint(self._to), credentials)
            inner = channel.unary_unary(path, request_serializer, response_deserializer)
            return await inner(request, timeout=timeout)

        return call

    async def close(self) -> None:
        """Nothing is open."""


class NodeWorld:
    """Clearing and its brands."""

    def __init__(self, new_engine: Callable[[], Engine] = lambda: open_engine("sqlite://")) -> None:
        self.new_engine = new_engine
        self.clearing_world = World(open_engine("sqlite://"))
        self.clock = self.clearing_world.clock
        self.nodes: dict[str, Node] = {}
        self.starts = 0
        self.cleared: list[asyncio.Task[Any]] = []
        self._clearing_certificate = self._issue_clearing()

    async def admit(self, name: str, *, cap_minor: int = 1_000_000, **programme: Any) -> Node:
        await self.clearing_world.admit(name, cap_minor=cap_minor)
        node = Node(name, self, engine=self.new_engine(), programme_changes=programme)
        self.nodes[name] = node
        node.init()
        self.clearing_world.channels[name] = _Late(self, name, "clearing")
        await node.start()
        return node

    async def agree(self, **changed: Any) -> common_pb2.AgreementTerms:
        """The issuer's manager proposes, the acceptor's accepts, everyone learns it."""
        wanted = terms(**changed)
        issuer, acceptor = self.nodes[wanted.issuer], self.nodes[wanted.acceptor]
        await issuer.net.desk.propose_agreement(
            MANAGER,
            merchant_pb2.ProposeAgreementRequest(
                id=f"propose-{wanted.agreement_id}-{wanted.version}", terms=wanted
            ),
        )
        await acceptor.net.desk.accept_agreement(
            MANAGER,
            merchant_pb2.AcceptAgreementRequest(
                id=f"accept-{wanted.agreement_id}-{wanted.version}",
                agreement_id=wanted.agreement_id,
                version=wanted.version,
            ),
        )
        await self.settled()
        return wanted

    async def settled(self) -> None:
        """Wait until every node has mirrored and carried out all of clearing's log."""
        for _ in range(500):
            size = self.clearing_world.clearing.ledger.head().size
            if all(node.net.feed.size == size for node in self.nodes.values() if node.tasks):
                await asyncio.sleep(0)
                return
            await asyncio.sleep(0.01)
        raise AssertionError("a node does not catch up with clearing")

    async def until(self, done: Callable[[], bool]) -> None:
        for _ in range(1_000):
            if done():
                return
            await asyncio.sleep(0.01)
        raise AssertionError("it never happened")

    def endpoint(self, name: str) -> Endpoint:
        if name == "clearing":
            return self.clearing_world.clearing.peer
        return self.nodes[name].endpoint

    def credentials(self, name: str) -> Credentials:
        if name == "clearing":
            return Credentials(certificate_pem=self._clearing_certificate)
        return Credentials(certificate_pem=self.clearing_world.brands[name].certificate)

    async def close(self) -> None:
        for node in self.nodes.values():
            await node.stop()

    def _issue_clearing(self) -> bytes:
        subject = tls.clearing(NETWORK)
        request = authorities.create_request(subject, tls.new_tls_key(), log_key=_clearing_key())
        return authorities.issue_certificate(
            self.clearing_world.authority,
            request,
            expect=subject,
            log_key=_clearing_key().public,
            clock=self.clock,
        )


def _clearing_key() -> SigningKey:
    return SigningKey(hashlib.sha256(b"clearing").digest())


# --- a member -------------------------------------------------------------------------------


@dataclass
class Shopper:
    """A member of one brand at another brand's store."""

    name: str
    issuer: str
    acceptor: Node

    async def quote(
        self, reward_id: str = "coffee", quantity: int = 1
    ) -> member_pb2.GetQuoteResponse:
        return await self.acceptor.net.desk.get_quote(
            GUEST,
            member_pb2.GetQuoteRequest(issuer=self.issuer, reward_id=reward_id, quantity=quantity),
        )

    def request(
        self,
        quoted: member_pb2.GetQuoteResponse,
        *,
        reward_id: str = "coffee",
        quantity: int = 1,
        signed_by: str = "",
        destination: str = "",
        **changed: Any,
    ) -> member_pb2.RedeemRequest:
        quote = quotes.read(quoted.quote)
        key = device(signed_by or self.name)
        salt = hashlib.sha256(b"destination").digest()[:16]
        plain: dict[str, Any] = {
            "network": quote.network,
            "issuer": quote.issuer,
            "acceptor": quote.acceptor,
            "kind": quote.kind,
            "redemption_id": quote.redemption_id,
            "quote_digest": quotes.digest(quoted.quote),
            "max_points": quote.points,
            "not_after_us": self.acceptor.world.clock() + 10 * MINUTE,
            "key_id": f"key_{key.key_id}",
        }
        if destination:
            plain["destination"] = entries.seal_account(destination, salt)
        return member_pb2.RedeemRequest(
            quote=quoted.quote,
            seal=quoted.seal,
            pickup_key=quoted.pickup_key,
            mandate=mandates.sign(entry_pb2.Mandate(**(plain | changed)), key),
            reward_id=reward_id,
            quantity=quantity,
            reward_salt=quoted.reward_salt,
            destination_account=destination,
            destination_salt=salt if destination else b"",
        )

    async def redeem(self, request: member_pb2.RedeemRequest) -> member_pb2.Redemption:
        response = await self.acceptor.net.desk.redeem(GUEST, request)
        return response.redemption

    async def buy(self, reward_id: str = "coffee", quantity: int = 1) -> member_pb2.Redemption:
        quoted = await self.quote(reward_id, quantity)
        return await self.redeem(self.request(quoted, reward_id=reward_id, quantity=quantity))


async def pair(
    world: NodeWorld | None = None, **changed: Any
) -> tuple[NodeWorld, Node, Node, Shopper, str]:
    """grocery issues, fuel accepts; alice has 1,000 points at grocery, fuel sells coffee."""
    world = world or NodeWorld()
    grocery = await world.admit("grocery")
    fuel = await world.admit("fuel")
    await world.settled()
    await world.agree(**changed)
    account = await grocery.enrol("alice", points=1_000)
    await fuel.put_reward()
    return world, grocery, fuel, Shopper("alice", "grocery", fuel), account
