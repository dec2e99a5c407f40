"""A book as small as can be: accounts with balances, kept by one ledger."""

from __future__ import annotations

import hashlib
import random as seeded
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from sqlalchemy import CheckConstraint, Engine

from comity.clock import Clock
from comity.errors import InsufficientPoints, Malformed
from comity.keys import SigningKey
from comity.ledger import guard
from comity.ledger.command import Batch, Command, Content
from comity.ledger.engine import writer
from comity.ledger.guard import HeadFile
from comity.ledger.lease import Lease
from comity.ledger.rows import Rows
from comity.ledger.schema import BigInt, key, ledger_table, service_metadata
from comity.ledger.schema import field as column
from comity.ledger.sequencer import Sequencer
from comity.ledger.signer import LogSigner
from comity.ledger.steps import Fault, Step, no_fault
from comity.ledger.store import LedgerStore

metadata = service_metadata()
accounts = ledger_table(
    metadata,
    "accounts",
    key("account"),
    column("owner"),
    column("points", BigInt),
    CheckConstraint("points >= 0", name="points"),
)

NETWORK = "comity.example"
LEDGER = "grocery"


@dataclass(frozen=True, slots=True)
class Deposit:
    step: ClassVar[Step] = Step.PURCHASE
    caller: str
    id: str
    account: str
    points: int

    def content(self) -> Mapping[str, Content]:
        return {"account": self.account, "points": self.points}


@dataclass(frozen=True, slots=True)
class Transfer:
    step: ClassVar[Step] = Step.ADJUST
    caller: str
    id: str
    source: str
    target: str
    points: int

    def content(self) -> Mapping[str, Content]:
        return {"source": self.source, "target": self.target, "points": self.points}


@dataclass(frozen=True, slots=True)
class Stumble:
    """Writes first, then fails in the way it is told."""

    step: ClassVar[Step] = Step.STOCK
    caller: str
    id: str
    error: type[Exception]
    account: str = "a"

    def content(self) -> Mapping[str, Content]:
        return {"error": self.error.__name__}


class Accounts:
    """The toy's rules."""

    def __init__(self) -> None:
        self.executed = 0

    def prefetch(self, rows: Rows, commands: Sequence[Command]) -> None:
        names: list[str] = []
        for command in commands:
            match command:
                case Transfer():
                    names += (command.source, command.target)
                case Deposit() | Stumble():
                    names.append(command.account)
        rows.load(accounts, ((name,) for name in names))

    def execute(self, batch: Batch, command: Command) -> bytes:
        self.executed += 1
        match command:
            case Deposit():
                self._move(batch, command.account, command.points)
                entry = f"deposit {command.account} {command.points}"
            case Transfer():
                if command.points <= 0:
                    raise Malformed("Points must be positive.", field="points")
                self._move(batch, command.target, command.points)
                self._move(batch, command.source, -command.points)
                entry = f"transfer {command.source} {command.target} {command.points}"
            case Stumble():
                self._move(batch, command.account, 1_000)
                batch.append(b"never", kind="stumble")
                raise command.error("It stumbled.")
            case _:
                raise TypeError(command)
        index = batch.append(entry.encode(), kind=command.step, opening=batch.random(16))
        return b"%d" % index

    def _move(self, batch: Batch, account: str, points: int) -> None:
        row = batch.rows.get(accounts, (account,))
        if row is None:
            row = {"account": account, "owner": "nobody", "points": 0}
        row["points"] += points
        if row["points"] < 0:
            raise InsufficientPoints(
                f"Account {account} has too few points.", metadata={"account": account}
            )
        batch.rows.put(accounts, row)


@dataclass(slots=True)
class Ticking:
    """A clock that tests move."""

    now_us: int = 1_700_000_000_000_000

    def __call__(self) -> int:
        return self.now_us


def signer(origin: str = f"{NETWORK}/{LEDGER}", seed: bytes = b"k") -> LogSigner:
    return LogSigner(origin, SigningKey(hashlib.sha256(seed).digest()))


@dataclass(slots=True)
class World:
    """One ledger in one database, opened as often as a test likes."""

    engine: Engine
    folder: Path
    clock: Ticking = field(default_factory=Ticking)
    book: Accounts = field(default_factory=Accounts)

    @property
    def head_file(self) -> HeadFile:
        return HeadFile(self.folder / "head")

    def create(self) -> None:
        with writer(self.engine).begin() as connection:
            metadata.create_all(connection)
        self.init()

    def init(self) -> None:
        guard.init_ledger(
            self.engine,
            ledger=LEDGER,
            network=NETWORK,
            signer=signer(),
            now_us=self.clock(),
            head_file=self.head_file,
        )

    def open(
        self,
        *,
        holder: str = "test",
        dead: bool = True,
        key: bytes = b"k",
        head_file: HeadFile | None = None,
    ) -> Lease:
        return guard.open_ledger(
            self.engine,
            ledger=LEDGER,
            network=NETWORK,
            signer=signer(seed=key),
            holder=holder,
            now_us=self.clock(),
            is_dead=lambda _: dead,
            head_file=head_file or self.head_file,
        )

    def start(self, *, fault: Fault = no_fault, clock: Clock | None = None) -> Sequencer:
        """A writer as after a restart: it takes over from whoever wrote before."""
        head_file = self.head_file
        lease = self.open(head_file=head_file)
        return Sequencer(
            engine=self.engine,
            lease=lease,
            book=self.book,
            signer=signer(),
            clock=clock or self.clock,
            random=seeded.Random(7).randbytes,
            head_file=head_file,
            fault=fault,
        )

    def store(self) -> LedgerStore:
        """A reader with nothing in memory."""
        return LedgerStore(self.engine, LEDGER)

    def balances(self) -> dict[str, int]:
        with self.engine.connect() as connection:
            rows = connection.execute(accounts.select()).all()
        return {row.account: row.points for row in rows}
