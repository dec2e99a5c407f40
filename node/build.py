"""A node put together: every object handed what it needs, nothing read from outside.

`main` calls this with sockets, threads and the system clock, the simulated world with its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from google.protobuf import json_format
from google.protobuf.descriptor import ServiceDescriptor
from sqlalchemy import Engine
from structlog.typing import FilteringBoundLogger

from comity.clock import Clock
from comity.errors import NotFound, Unauthenticated
from comity.keys import Random
from comity.ledger.guard import HeadFile
from comity.ledger.lease import Lease
from comity.ledger.queue import QUEUE_LIMIT
from comity.ledger.runner import Runner
from comity.ledger.sequencer import BATCH_LIMIT, Sequencer
from comity.ledger.signer import LogSigner
from comity.ledger.steps import Fault, no_fault
from comity.ledger.store import LedgerStore
from comity.log.note import VerifierKey
from comity.rpc.authentication import Admission, CertificateAuthenticator, TokenAuthenticator
from comity.rpc.authorisation import permissions
from comity.rpc.caller import Caller, CallerKind
from comity.rpc.channel import Channel
from comity.rpc.endpoint import Endpoint
from comity.rpc.limits import CallLimiter, FailureLimiter, Rates
from comity.rpc.metrics import Metrics
from comity.rpc.tokens import Challenges, ServerSecret, TokenIssuer
from comity.serve.log_service import LogService
from comity.serve.process import Loop
from comity.serve.session_service import RegisteredKey, SessionService
from comity.v1 import log_pb2, member_pb2, merchant_pb2, office_pb2, peer_pb2, programme_pb2
from comity.v1.operator_pb2 import NetworkConfig
from node import (
    adjustments,
    claims,
    declaration,
    enrolment,
    events,
    freeze,
    imports,
    invitations,
    marking,
    members,
    payments,
    purchases,
    rewards,
    staff,
    sweep,
    vouchers,
)
from node.book import Handlers, NodeBook, Rules
from node.commands import DeclareProgramme
from node.desk_store import DeskStore
from node.driver import OPEN_LIMIT
from node.export import Export
from node.gate import Alarms, Gate, GatedQueue, gated
from node.member_service import MemberService
from node.merchant_service import MerchantService
from node.network import NETWORK_HANDLERS, Network, join
from node.office_service import OfficeService
from node.office_store import OfficeStore
from node.open_holds import HoldLimits
from node.peers import IDLE_PULSE_S, Connect, Roster
from node.programme import ProgrammeFile
from node.programme_service import ProgrammeService
from node.sessions import Sessions
from node.standing import review_changed
from node.store import NodeStore
from node.sweep import Upkeep
from node.versions import Versions
from node.webhooks import endpoints
from node.webhooks.sender import Post, Webhooks

PROGRAMME_HANDLERS: Final[tuple[Handlers, ...]] = (
    declaration.HANDLERS,
    adjustments.HANDLERS,
    members.HANDLERS,
    events.HANDLERS,
    purchases.HANDLERS,
    payments.HANDLERS,
    marking.HANDLERS,
    rewards.HANDLERS,
    vouchers.HANDLERS,
    staff.HANDLERS,
    sweep.HANDLERS,
    enrolment.HANDLERS,
    invitations.HANDLERS,
    freeze.HANDLERS,
    claims.HANDLERS,
    imports.HANDLERS,
    endpoints.HANDLERS,
)
"""The rules of the programme, for the node's book."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Brand:
    """Which brand a node is, and whom it takes for clearing."""

    network: str
    participant: str
    programme: ProgrammeFile
    clearing_vkey: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much a node takes, and how long it waits; times in seconds."""

    sweep_s: float = 60.0
    redeem_wait_s: float = 8.0
    follow_wait_s: float = 10.0
    idle_pulse_s: float = IDLE_PULSE_S
    open_redemptions: int = OPEN_LIMIT
    open_holds: HoldLimits = field(default_factory=HoldLimits)
    batch: int = BATCH_LIMIT
    queue: int = QUEUE_LIMIT
    rates: Rates = field(default_factory=Rates)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a process gives to a node: the outside world, as arguments.

    `lease` comes from `open_ledger`, which verified the ledger. `write` runs the sequencer's
    batches one at a time, `read` whatever else waits for the database. `clearing` is a channel to
    clearing's peer listener, `connect` makes one to a brand's. `post` sends to the brand's own
    systems; without it nothing is sent.
    """

    engine: Engine
    lease: Lease
    signer: LogSigner
    secret: ServerSecret
    clock: Clock
    random: Random
    write: Runner
    read: Runner
    clearing: Channel
    connect: Connect
    log: FilteringBoundLogger
    metrics: Metrics
    head_file: HeadFile | None = None
    fault: Fault = no_fault
    post: Post | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A brand's node which can be called, and loops which have to run beside it."""

    peer: Endpoint
    public: Endpoint
    loops: Mapping[str, Loop]
    queue: GatedQueue
    ledger: LedgerStore
    store: NodeStore
    network: Network
    upkeep: Upkeep
    alarms: Alarms

    async def close(self) -> None:
        """Stop what is on its way to neighbours; everything is taken up at the next start."""
        await self.network.close()


def _described(brand: Brand) -> str:
    """The network as a member's wallet has to know it: a NetworkConfig in JSON."""
    config = NetworkConfig(
        network=brand.network,
        clearing_origin=VerifierKey.parse(brand.clearing_vkey).name,
        clearing_vkey=brand.clearing_vkey,
    )
    return json_format.MessageToJson(config, indent=None)


def build(brand: Brand, world: Surroundings, limits: Limits | None = None) -> Node:
    """The node of one brand."""
    limits = limits or Limits()
    programme = brand.programme.programme
    rules = Rules(
        network=brand.network,
        participant=brand.participant,
        programme=programme,
        versions=Versions(programme),
    )
    ledger = LedgerStore(world.engine, brand.participant)
    store = NodeStore(world.engine, brand.participant)
    gate, alarms = Gate(), Alarms(world.log, world.metrics)
    sequencer = Sequencer(
        engine=world.engine,
        lease=world.lease,
        book=NodeBook(rules, *PROGRAMME_HANDLERS, *NETWORK_HANDLERS, review=review_changed),
        signer=world.signer,
        clock=world.clock,
        random=world.random,
        store=ledger,
        head_file=world.head_file,
        fault=world.fault,
    )
    queue = gated(
        GatedQueue(
            sequencer,
            write=world.write,
            read=world.read,
            batch_limit=limits.batch,
            queue_limit=limits.queue,
            count_batch=world.metrics.batches("ledger"),
        ),
        gate,
    )
    world.metrics.depth("ledger", lambda: queue.waiting)
    network = join(
        rules=rules,
        queue=queue,
        gate=gate,
        own_keys=lambda: world.signer.history,
        clearing_key=VerifierKey.parse(brand.clearing_vkey),
        connect=world.connect,
        clearing=world.clearing,
        secret=world.secret.derive("comity-quote/v1"),
        clock=world.clock,
        random=world.random,
        read=world.read,
        alarm=alarms,
        ended=world.metrics.redemption,
        open_limit=limits.open_redemptions,
        hold_limits=limits.open_holds,
        wait_s=limits.redeem_wait_s,
        follow_ms=int(limits.follow_wait_s * 1_000),
        idle_pulse_s=limits.idle_pulse_s,
    )
    upkeep = Upkeep(
        queue,
        gate,
        DeclareProgramme(
            version=programme.version, digest=brand.programme.digest, file=brand.programme.data
        ),
        every_seconds=limits.sweep_s,
    )
    log_service = LogService(
        ledger,
        network=_described(brand),
        origin=rules.origin,
        keys=lambda: world.signer.history,
        read=world.read,
    )
    webhooks = _webhooks(brand, gate, queue, ledger, world)
    return Node(
        peer=_peer_endpoint(brand.network, network, log_service, world, limits),
        public=_public_endpoint(rules, network, log_service, queue, store, webhooks, world, limits),
        loops={
            **network.loops,
            "upkeep": upkeep.run,
            "lease": queue.keep_lease,
            **({} if world.post is None else {"webhooks": webhooks.run}),
        },
        queue=queue,
        ledger=ledger,
        store=store,
        network=network,
        upkeep=upkeep,
        alarms=alarms,
    )


def _webhooks(
    brand: Brand, gate: Gate, queue: GatedQueue, ledger: LedgerStore, world: Surroundings
) -> Webhooks:
    """What tells the brand's own systems what changes."""
    return Webhooks(
        participant=brand.participant,
        store=ledger,
        queue=queue,
        gate=gate,
        read=world.read,
        post=world.post,
        secret=world.secret,
        clock=world.clock,
        random=world.random,
        log=world.log,
    )


def admission(roster: Roster) -> Admission:
    """Lets in clearing, and the brands of the roster with the very key they were admitted with."""

    def admit(caller: Caller) -> None:
        if caller.kind is not CallerKind.BRAND:
            return
        try:
            expected = roster.key_hash_of(caller.id)
        except NotFound:
            expected = b""
        if caller.key_hash != expected:
            raise Unauthenticated(
                f"{caller.id} is not known here by this certificate. If it was admitted a moment "
                "ago, repeat the call; otherwise ask the operator."
            )

    return admit


def _peer_endpoint(
    name: str, network: Network, log_service: LogService, world: Surroundings, limits: Limits
) -> Endpoint:
    """Brands and clearing, by certificate."""
    return Endpoint(
        {
            _service(peer_pb2, "PeerService"): network.peer_service,
            _service(log_pb2, "LogService"): log_service,
        },
        authenticator=CertificateAuthenticator(
            network=name, clock=world.clock, admit=admission(network.roster)
        ),
        permissions=permissions(),
        limiter=CallLimiter(world.clock, limits.rates.calls()),
        failures=FailureLimiter(world.clock, limits.rates.failures()),
        clock=world.clock,
        log=world.log,
        metrics=world.metrics,
    )


def _public_endpoint(
    rules: Rules,
    network: Network,
    log_service: LogService,
    queue: GatedQueue,
    store: NodeStore,
    webhooks: Webhooks,
    world: Surroundings,
    limits: Limits,
) -> Endpoint:
    """Members, guests and staff, by token or by nothing."""
    tokens = TokenIssuer(origin=rules.origin, secret=world.secret, clock=world.clock)
    standing = Sessions(store)

    async def lookup(key_id: str) -> RegisteredKey | None:
        return await world.read(lambda: store.registered_key(key_id))

    sessions = SessionService(
        origin=rules.origin,
        challenges=Challenges(
            origin=rules.origin, secret=world.secret, clock=world.clock, random=world.random
        ),
        tokens=tokens,
        lookup=lookup,
    )
    office_store = OfficeStore(world.engine, rules.participant)
    desk_store = DeskStore(world.engine, rules.participant)
    export = Export(world.engine, queue.store)
    member = MemberService(
        origin=rules.origin,
        store=store,
        office=office_store,
        members_desk=desk_store,
        export=export,
        queue=queue,
        read=world.read,
        clock=world.clock,
        desk=network.desk,
        sessions=standing,
    )
    merchant = MerchantService(
        store=store, queue=queue, read=world.read, desk=network.desk, sessions=standing
    )
    office = OfficeService(
        rules=rules,
        desk=desk_store,
        export=export,
        store=office_store,
        queue=queue,
        read=world.read,
        clock=world.clock,
        secret=world.secret,
        webhooks_changed=webhooks.changed,
    )
    programme = ProgrammeService(
        rules=rules, store=store, queue=queue, read=world.read, clock=world.clock
    )
    return Endpoint(
        {
            _service(member_pb2, "MemberService"): member,
            _service(merchant_pb2, "MerchantService"): merchant,
            _service(office_pb2, "OfficeService"): office,
            _service(programme_pb2, "ProgrammeService"): programme,
            _service(log_pb2, "LogService"): log_service,
            _service(log_pb2, "SessionService"): sessions,
        },
        authenticator=TokenAuthenticator(tokens, admit=standing.admit),
        permissions=permissions(),
        limiter=CallLimiter(world.clock, limits.rates.calls()),
        failures=FailureLimiter(world.clock, limits.rates.failures()),
        clock=world.clock,
        log=world.log,
        metrics=world.metrics,
    )


def _service(module: object, name: str) -> ServiceDescriptor:
    descriptor: ServiceDescriptor = module.DESCRIPTOR.services_by_name[name]  # type: ignore[attr-defined]
    return descriptor
