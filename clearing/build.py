"""Clearing put together: every object handed what it needs, nothing read from outside.

`main` calls this with sockets, threads and the system clock, the simulated world with its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from google.protobuf.descriptor import ServiceDescriptor
from sqlalchemy import Engine
from structlog.typing import FilteringBoundLogger

from clearing.answers import Statements
from clearing.book import ClearingBook
from clearing.desk import Desk
from clearing.evidence import Evidence
from clearing.feed import Feed
from clearing.liveness import Liveness
from clearing.operator_service import OperatorService
from clearing.reconcile import Peers, Reconciliation
from clearing.roster import Roster
from clearing.rules import Rules
from clearing.service import ClearingService
from clearing.store import ClearingStore
from clearing.sweep import Sweep
from clearing.tally import Tally
from comity.clock import Clock
from comity.errors import Unauthenticated
from comity.keys import Random
from comity.ledger.guard import HeadFile
from comity.ledger.heads import HeadKeeper
from comity.ledger.lease import Lease
from comity.ledger.queue import CommandQueue
from comity.ledger.runner import Runner
from comity.ledger.sequencer import Sequencer
from comity.ledger.signer import LogSigner
from comity.ledger.steps import Fault, no_fault
from comity.ledger.store import LedgerStore
from comity.rpc.authentication import CertificateAuthenticator, TokenAuthenticator
from comity.rpc.authorisation import permissions
from comity.rpc.authority import Authority
from comity.rpc.caller import Caller, CallerKind
from comity.rpc.endpoint import Endpoint
from comity.rpc.limits import CallLimiter, FailureLimiter, Rates
from comity.rpc.metrics import Metrics
from comity.rpc.tokens import Challenges, ServerSecret, TokenIssuer
from comity.serve.log_service import LogService
from comity.serve.process import Loop
from comity.serve.session_service import RegisteredKey, SessionService
from comity.v1 import clearing_pb2, log_pb2, operator_pb2

LEDGER = "clearing"
"""The ledger id of clearing, and its name in `<network>/clearing`."""


def origin_of(network: str) -> str:
    """The origin of clearing's log."""
    return f"{network}/{LEDGER}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a process gives to clearing: the outside world, as arguments.

    `lease` comes from `open_ledger`, which verified the ledger. `write` runs the sequencer's
    batches one at a time, `read` whatever else waits for the database. `peers` is a channel to a
    participant's peer listener.
    """

    engine: Engine
    lease: Lease
    signer: LogSigner
    authority: Authority
    secret: ServerSecret
    clock: Clock
    random: Random
    write: Runner
    read: Runner
    peers: Peers
    log: FilteringBoundLogger
    metrics: Metrics
    rates: Rates = field(default_factory=Rates)
    head_file: HeadFile | None = None
    fault: Fault = no_fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Clearing:
    """A clearing service which can be called, and loops which have to run beside it."""

    peer: Endpoint
    public: Endpoint
    loops: Mapping[str, Loop]
    queue: CommandQueue
    ledger: LedgerStore
    store: ClearingStore
    heads: HeadKeeper
    roster: Roster
    liveness: Liveness
    sweep: Sweep
    feed: Feed


def build(config: operator_pb2.NetworkConfig, rules: Rules, world: Surroundings) -> Clearing:
    """Clearing of the network which `config` describes."""
    clock, read, origin = world.clock, world.read, world.signer.origin
    ledger = LedgerStore(world.engine, LEDGER)
    store = ClearingStore(world.engine, LEDGER)
    roster = Roster(config.network, store.participants())
    heads = HeadKeeper(
        ledger,
        origin=origin,
        verifier_of=lambda asked: (
            world.signer.history if asked == origin else roster.verifier_of(asked)
        ),
        clock=clock,
    )
    queue = CommandQueue(
        Sequencer(
            engine=world.engine,
            lease=world.lease,
            book=ClearingBook(origin=origin, network=config.network, skew_us=rules.skew_us),
            signer=world.signer,
            clock=clock,
            random=world.random,
            store=ledger,
            head_file=world.head_file,
            fault=world.fault,
        ),
        write=world.write,
        read=read,
        count_batch=world.metrics.batches("ledger"),
    )
    world.metrics.depth("ledger", lambda: queue.waiting)
    world.metrics.positions(store.running)
    world.metrics.decisions(Tally(store, start=ledger.head().size))
    liveness = Liveness(
        heads=heads,
        roster=roster,
        clock=clock,
        link_within_us=rules.link_within_us,
        skew_us=rules.skew_us,
    )
    feed = Feed(ledger, read=read)
    desk = Desk(queue=queue, feed=feed)
    statements = Statements(queue=queue, store=store, read=read)
    service = ClearingService(
        desk=desk,
        evidence=Evidence(heads=heads, roster=roster, liveness=liveness, learn=desk.learn),
        heads=heads,
        roster=roster,
        liveness=liveness,
        feed=feed,
        statements=statements,
        store=store,
        read=read,
    )
    operators = OperatorService(
        config=config,
        authority=world.authority,
        desk=desk,
        heads=heads,
        roster=roster,
        liveness=liveness,
        statements=statements,
        store=store,
        reconciliation=Reconciliation(store=store, peers=world.peers, read=read),
        clock=clock,
        read=read,
        acknowledge_within_us=rules.acknowledge_within_us,
    )
    sweep = Sweep(
        desk=desk,
        liveness=liveness,
        store=store,
        ledger=ledger,
        clock=clock,
        read=read,
        grace_us=rules.report_grace_us,
    )
    log_service = LogService(
        ledger,
        network=config.network,
        origin=origin,
        keys=lambda: world.signer.history,
        read=read,
    )
    return Clearing(
        peer=_peer_endpoint(config.network, roster, service, operators, log_service, world),
        public=_public_endpoint(origin, log_service, store, world),
        loops={"sweep": sweep.run, "lease": queue.keep_lease, "faults": liveness.watch},
        queue=queue,
        ledger=ledger,
        store=store,
        heads=heads,
        roster=roster,
        liveness=liveness,
        sweep=sweep,
        feed=feed,
    )


def _peer_endpoint(
    network: str,
    roster: Roster,
    service: ClearingService,
    operators: OperatorService,
    log_service: LogService,
    world: Surroundings,
) -> Endpoint:
    """Brands and operators, by certificate."""
    return Endpoint(
        {
            _service(clearing_pb2, "ClearingService"): service,
            _service(operator_pb2, "OperatorService"): operators,
            _service(log_pb2, "LogService"): log_service,
        },
        authenticator=CertificateAuthenticator(
            network=network, clock=world.clock, admit=roster.admit_caller
        ),
        permissions=permissions(),
        limiter=CallLimiter(world.clock, world.rates.calls()),
        failures=FailureLimiter(world.clock, world.rates.failures()),
        clock=world.clock,
        log=world.log,
        metrics=world.metrics,
    )


def _public_endpoint(
    origin: str, log_service: LogService, store: ClearingStore, world: Surroundings
) -> Endpoint:
    """Everyone who checks the log; auditors, by token."""
    tokens = TokenIssuer(origin=origin, secret=world.secret, clock=world.clock)

    async def auditor(key_id: str) -> RegisteredKey | None:
        row = await world.read(lambda: store.auditor(key_id))
        if row is None:
            return None
        return RegisteredKey(
            public_key=bytes(row["public_key"]), kind=CallerKind.AUDITOR, subject=row["auditor"]
        )

    sessions = SessionService(
        origin=origin,
        challenges=Challenges(
            origin=origin, secret=world.secret, clock=world.clock, random=world.random
        ),
        tokens=tokens,
        lookup=auditor,
    )
    return Endpoint(
        {
            _service(log_pb2, "LogService"): log_service,
            _service(log_pb2, "SessionService"): sessions,
        },
        authenticator=TokenAuthenticator(tokens, admit=lambda caller: _standing(store, caller)),
        permissions=permissions(),
        limiter=CallLimiter(world.clock, world.rates.calls()),
        failures=FailureLimiter(world.clock, world.rates.failures()),
        clock=world.clock,
        log=world.log,
        metrics=world.metrics,
    )


def _standing(store: ClearingStore, caller: Caller) -> None:
    """Raises Unauthenticated for a session whose key was revoked. Auditors call rarely."""
    assert caller.key_hash is not None, "a token names its key"
    found = store.auditor(f"key_{caller.key_hash[:8].hex()}")
    if found is None or found["auditor"] != caller.id:
        raise Unauthenticated("The key of this session was revoked; ask the operator for access.")


def _service(module: object, name: str) -> ServiceDescriptor:
    descriptor: ServiceDescriptor = module.DESCRIPTOR.services_by_name[name]  # type: ignore[attr-defined]
    return descriptor
