"""Machines of a simulated network: clearing's and the brands', each with a database that stays.

A host runs the production service, put together by the service's own `build`, as one simulated
process. It can die at any moment and start again on the same database, or on an older copy.
"""

from __future__ import annotations

import json
import logging
import random
import sqlite3
import traceback
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from sqlalchemy import Engine, MetaData

from clearing import build as clearing_build
from clearing import tables as clearing_tables
from clearing.rules import Rules as ClearingRules
from comity.clock import SECOND
from comity.ledger import guard
from comity.ledger.command import Answer
from comity.ledger.engine import open_engine, writer
from comity.ledger.guard import HeadFile
from comity.ledger.lease import Lease
from comity.ledger.sequencer import Sequencer
from comity.ledger.steps import Moment, Step
from comity.ledger.store import LedgerStore
from comity.rpc.endpoint import Endpoint
from comity.rpc.metrics import Metrics
from comity.rpc.tokens import ServerSecret
from comity.v1 import operator_pb2
from node import build as node_build
from node import staff
from node import tables as node_tables
from node.book import NodeBook, Rules
from node.commands import INTERNAL, AddStaffKey
from node.programme import read_programme
from tests.brand import programme_content
from tests.simulation import identities
from tests.simulation.identities import CLEARING, NETWORK
from tests.simulation.loop import Crash, Process
from tests.simulation.network import Network, SimulatedChannel

T = TypeVar("T")
Loops = Mapping[str, Callable[[], Awaitable[Any]]]


class Trouble(logging.Handler):
    """Hears what the kernel logs as an error: in a simulated network there is no reason for one."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__(logging.ERROR)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        said = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            said += "\n" + "".join(traceback.format_exception(record.exc_info[1]))
        self._tell(said)


class Log:
    """Where a service logs: alarms and errors are kept, the rest is forgotten."""

    def __init__(self, who: str, ground: Ground) -> None:
        self._who = who
        self._tell = ground.complain
        self._alarm = ground.alarmed

    def error(self, event: str, **said: Any) -> None:
        raised = said.pop("exc_info", None)
        if isinstance(raised, BaseException):
            said["error"] = repr(raised)
            if raised.__traceback__ is not None:
                frame = raised.__traceback__
                while frame.tb_next is not None:
                    frame = frame.tb_next
                said["at"] = f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}"
        if event == "alarm":
            self._alarm(self._who, said)
        else:
            self._tell(f"{self._who}: {event} {said}")

    critical = exception = error

    def info(self, event: str, **said: Any) -> None:
        """Not kept."""

    debug = warning = info

    def bind(self, **bound: Any) -> Log:
        return self


@dataclass(slots=True)
class Trap:
    """A crash to come: at a moment of the so-many-th commit of a step."""

    step: Step
    moment: Moment
    after: int = 0


@dataclass(slots=True)
class Ground:
    """What all hosts share: the network, time, one seed, and whoever wants to know."""

    seed: object
    network: Network
    now_us: Callable[[], int]
    hosts: dict[str, Host] = field(default_factory=dict)
    complain: Callable[[str], None] = print
    """Told of what must not happen: failures inside a service, loops that end."""
    alarmed: Callable[[str, Mapping[str, Any]], None] = lambda who, said: None
    """Told of what a service thinks an operator should look at."""
    committed: Callable[[Host], None] = lambda host: None
    steps: dict[Step, int] = field(default_factory=dict)
    """How often each step was committed."""

    def channel(
        self,
        sender: str,
        receiver: str,
        *,
        public: bool = False,
        timeout_s: float = 10.0,
        wire: str = "",
    ) -> SimulatedChannel:
        """The way from one organisation, or person, to another's listener.

        `wire` names the caller's end of it where that is not the sender's own machine.
        """

        def destination() -> tuple[Process, Endpoint] | None:
            host = self.hosts[receiver]
            if host.process is None or not host.process.alive:
                return None
            return host.process, host.public if public else host.peer

        show = identities.anonymous(sender) if public else identities.credentials(sender)
        return SimulatedChannel(
            self.network,
            destination,
            show,
            sender=wire or sender,
            receiver=receiver,
            default_timeout_s=timeout_s,
        )


class Host:
    """One machine: a database, perhaps a head file, and a process now and then."""

    metadata: ClassVar[MetaData]
    peer: Endpoint
    public: Endpoint

    def __init__(self, name: str, ground: Ground, *, folder: Path | None = None) -> None:
        self.name = name
        self.ground = ground
        self.engine = take_engine(self.metadata)
        self.head_path = folder / f"{name}.head" if folder is not None else None
        self.process: Process | None = None
        self.starts = 0
        self.deaths = 0
        self.skew_us = 0
        self.traps: list[Trap] = []
        self.ended: BaseException | None = None
        """Why the process stopped by itself, if it did."""
        ground.hosts[name] = self

    # --- what a process is given ------------------------------------------------------

    @property
    def ledger(self) -> str:
        return self.name

    @property
    def store(self) -> LedgerStore:
        """The ledger as its database has it, read from outside any process."""
        return LedgerStore(self.engine, self.ledger)

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.alive

    def clock(self) -> int:
        """This machine's clock, off by its skew."""
        return self.ground.now_us() + self.skew_us

    def randomness(self) -> Callable[[int], bytes]:
        """Random bytes of one process's life."""
        return random.Random(f"{self.ground.seed} {self.name} {self.starts}").randbytes

    def head_file(self) -> HeadFile | None:
        return HeadFile(self.head_path) if self.head_path is not None else None

    async def write(self, work: Callable[[], T], /) -> T:
        """The writer's runner: inline, and every commit is looked at."""
        assert self.process is not None
        outcome = await self.process.run(work)
        try:
            self.ground.committed(self)
        except Exception as error:  # noqa: BLE001 - whoever looks on never disturbs
            self.ground.complain(f"{self.name} could not be looked at: {error!r}")
        return outcome

    def fault(self, step: Step, moment: Moment) -> None:
        """The sequencer's hook: counts steps, and dies where a trap says so."""
        if moment == "after":
            self.ground.steps[step] = self.ground.steps.get(step, 0) + 1
        for trap in self.traps:
            if (trap.step, trap.moment) == (step, moment):
                if trap.after:
                    trap.after -= 1
                    continue
                self.traps.remove(trap)
                self.kill()
                raise Crash

    # --- life -------------------------------------------------------------------------

    def create(self) -> None:
        """Make the tables and an empty ledger."""
        guard.init_ledger(
            self.engine,
            ledger=self.ledger,
            network=NETWORK,
            signer=identities.signer(self.name),
            now_us=self.clock(),
            head_file=self.head_file(),
        )

    def open(self, head_file: HeadFile | None) -> Lease:
        """Verify the ledger and take its lease; whoever had it on this machine is dead.

        From then on `signer` is the log's, with the keys that the ledger names.
        """
        self.signer = identities.signer(self.name)
        return guard.open_ledger(
            self.engine,
            ledger=self.ledger,
            network=NETWORK,
            signer=self.signer,
            holder=f"{self.name}/{self.starts}",
            now_us=self.clock(),
            is_dead=lambda _: True,
            head_file=head_file,
        )

    def start(self) -> None:
        """Start the process. Raises what the service refuses to start for."""
        assert not self.alive, f"{self.name} runs already"
        self.starts += 1
        self.ended = None
        self.process = Process(self.name, on_death=self._died)
        try:
            loops = self._build()
        except BaseException:
            self.process = None
            raise
        for name, loop in loops.items():
            self._run(self.process, name, loop)

    def kill(self) -> None:
        """End the process at once, wherever it stands."""
        if self.process is not None:
            self.process.kill()

    def _build(self) -> Loops:
        raise NotImplementedError

    def _run(self, process: Process, name: str, loop: Callable[[], Awaitable[Any]]) -> None:
        async def run() -> None:
            await loop()

        task = process.spawn(run())

        def done(_: object) -> None:
            if task.cancelled() or not process.alive:
                return
            # As in production: a loop that fails, or ends, stops the process.
            self.ended = task.exception() or RuntimeError(f"{name} ended by itself")
            process.kill()
            if not isinstance(self.ended, Crash):
                self.ground.complain(f"{self.name}: the loop {name} ended: {self.ended!r}")

        task.add_done_callback(done)

    def _died(self) -> None:
        self.deaths += 1

    # --- copies -----------------------------------------------------------------------

    def copy(self) -> bytes:
        """The whole database, as a backup has it."""
        return _copy(self.engine)

    def restore(self, copy: bytes) -> None:
        """Put a copy in place of the database, while no process runs."""
        assert not self.alive
        _put(self.engine, copy)

    def close(self) -> None:
        """End the process and give the database away."""
        self.kill()
        _free[id(self.metadata)].append(self.engine)


# --- databases --------------------------------------------------------------------------------

_free: dict[int, list[Engine]] = defaultdict(list)
"""Engines that nobody uses, by the tables they have: what they have learnt of SQL stays."""
_empty: dict[int, bytes] = {}


def take_engine(metadata: MetaData) -> Engine:
    """An engine on a database in memory with empty tables."""
    which = id(metadata)
    if which not in _empty:
        first = open_engine("sqlite://")
        with writer(first).begin() as connection:
            metadata.create_all(connection)
        _empty[which] = _copy(first)
        _free[which].append(first)
    engine = _free[which].pop() if _free[which] else open_engine("sqlite://")
    _put(engine, _empty[which])
    return engine


@contextmanager
def driver(engine: Engine) -> Iterator[sqlite3.Connection]:
    """The one connection of a database in memory."""
    pooled = engine.raw_connection()
    try:
        connection = pooled.driver_connection
        assert isinstance(connection, sqlite3.Connection)
        yield connection
    finally:
        pooled.close()


def _copy(engine: Engine) -> bytes:
    with driver(engine) as connection:
        return connection.serialize()


def _put(engine: Engine, copy: bytes) -> None:
    with driver(engine) as connection:
        connection.deserialize(copy)


class ClearingHost(Host):
    """Clearing's machine."""

    metadata = clearing_tables.metadata
    service: clearing_build.Clearing

    def __init__(
        self, ground: Ground, *, rules: ClearingRules | None = None, folder: Path | None = None
    ) -> None:
        super().__init__(CLEARING, ground, folder=folder)
        self.rules = rules or ClearingRules(report_grace_us=5 * SECOND)

    def _build(self) -> Loops:
        assert self.process is not None
        head_file = self.head_file()
        self.service = clearing_build.build(
            network_config(),
            self.rules,
            clearing_build.Surroundings(
                engine=self.engine,
                lease=self.open(head_file),
                signer=self.signer,
                authority=identities.authority(),
                secret=ServerSecret(identities.secret(CLEARING)),
                clock=self.clock,
                random=self.randomness(),
                write=self.write,
                read=self.process.run,
                peers=lambda name: self.ground.channel(CLEARING, name),
                log=Log(self.name, self.ground),  # type: ignore[arg-type]
                metrics=Metrics(),
                head_file=head_file,
                fault=self.fault,
            ),
        )
        self.peer, self.public = self.service.peer, self.service.public
        return self.service.loops


def network_config() -> operator_pb2.NetworkConfig:
    """What every brand knows of the network from the start."""
    signer = identities.signer(CLEARING)
    return operator_pb2.NetworkConfig(
        network=NETWORK,
        clearing_origin=signer.origin,
        clearing_vkey=signer.vkey,
        clearing_peer_address="clearing.test:1",
        clearing_public_address="clearing.test:2",
        ca_certificate=identities.authority().pem,
    )


class BrandHost(Host):
    """A brand's machine."""

    metadata = node_tables.metadata
    service: node_build.Node

    def __init__(
        self,
        name: str,
        ground: Ground,
        *,
        programme: Mapping[str, Any] | None = None,
        limits: node_build.Limits | None = None,
        folder: Path | None = None,
    ) -> None:
        super().__init__(name, ground, folder=folder)
        content = programme_content(name, **{"zone": "UTC"} | dict(programme or {}))
        self.programme = read_programme(json.dumps(content).encode())
        self.limits = limits or node_build.Limits(sweep_s=10.0, redeem_wait_s=4.0)

    def create(self) -> None:
        """Also the first manager's key, as `node init` does."""
        super().create()
        head_file = self.head_file()
        rules = Rules(network=NETWORK, participant=self.name, programme=self.programme.programme)
        sequencer = Sequencer(
            engine=self.engine,
            lease=self.open(head_file),
            book=NodeBook(rules, staff.HANDLERS),
            signer=self.signer,
            clock=self.clock,
            random=self.randomness(),
            head_file=head_file,
        )
        manager = identities.key(f"manager {self.name}").public.raw
        (outcome,) = sequencer.run_batch(
            [
                AddStaffKey(
                    caller=INTERNAL, id="init", role="manager", name="owner", public_key=manager
                )
            ]
        )
        assert isinstance(outcome, Answer), outcome
        sequencer.close()

    def _build(self) -> Loops:
        assert self.process is not None
        head_file = self.head_file()
        self.service = node_build.build(
            node_build.Brand(
                network=NETWORK,
                participant=self.name,
                programme=self.programme,
                clearing_vkey=identities.signer(CLEARING).vkey,
            ),
            node_build.Surroundings(
                engine=self.engine,
                lease=self.open(head_file),
                signer=self.signer,
                secret=ServerSecret(identities.secret(self.name)),
                clock=self.clock,
                random=self.randomness(),
                write=self.write,
                read=self.process.run,
                clearing=self.ground.channel(self.name, CLEARING),
                connect=lambda name, address: self.ground.channel(self.name, name),
                log=Log(self.name, self.ground),  # type: ignore[arg-type]
                metrics=Metrics(),
                head_file=head_file,
                fault=self.fault,
            ),
            self.limits,
        )
        self.peer, self.public = self.service.peer, self.service.public
        return self.service.loops
