"""One brand's ledger under test, without a network: commands in, outcomes and rows out."""

from __future__ import annotations

import hashlib
import random as seeded
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from google.protobuf.message import Message
from sqlalchemy import Engine, select

from comity.clock import DAY
from comity.errors import ComityError
from comity.keys import SigningKey
from comity.ledger import entries, guard
from comity.ledger.command import Answer, Command, Outcome
from comity.ledger.engine import open_engine, writer
from comity.ledger.sequencer import Sequencer
from comity.ledger.signer import LogSigner
from comity.ledger.store import LedgerStore
from comity.v1 import entry_pb2, member_pb2, merchant_pb2
from node import (
    adjustments,
    declaration,
    enrolment,
    events,
    marking,
    members,
    payments,
    purchases,
    rewards,
    staff,
    sweep,
    tables,
    vouchers,
)
from node.accounts import MEMBER_PARTS
from node.book import NodeBook, Rules
from node.commands import AdjustPoints, Enrol, RecordPurchase, RefundPurchase, Sweep
from node.programme import Programme
from node.standing import review_changed
from node.store import NodeStore
from node.versions import Versions

NETWORK, LEDGER = "comity.example", "grocery"
UNIT = f"{LEDGER}/points"
ORIGIN = f"{NETWORK}/{LEDGER}"
START_US = 1_767_225_600_000_000
"""2026-01-01 00:00 UTC."""

UNIT_FIELDS = ("expiry", "clawback", "expired_lot_grace_days")

M = TypeVar("M", bound=Message)


def programme(**changes: Any) -> Programme:
    """A programme of one point a cent, for ever, spendable at once; and `changes` to it."""
    return Programme.model_validate(programme_content("Grocery Plus", **changes))


def programme_content(name: str, **changes: Any) -> dict[str, Any]:
    """What the file of such a programme holds.

    Beside the file's own fields `changes` may give those of its one unit, and its `rate`.
    """
    unit = {"clawback": "debt"} | {one: changes.pop(one) for one in UNIT_FIELDS if one in changes}
    rate = changes.pop("rate", {"points": 1, "per_minor": 1})
    return {
        "version": "1",
        "name": name,
        "zone": "Europe/Amsterdam",
        "currency": "EUR",
        "units": {"points": unit},
        "earn": {"purchase": {"on": "purchase", "rate": rate}},
    } | changes


def signing_key(name: str) -> SigningKey:
    return SigningKey(hashlib.sha256(name.encode()).digest())


@dataclass
class Brand:
    """A started ledger whose clock the test moves."""

    programme: Programme
    engine: Engine = field(default_factory=lambda: open_engine("sqlite://"))
    now_us: int = START_US
    seed: int = 7
    count: int = 0

    def __post_init__(self) -> None:
        with writer(self.engine).begin() as connection:
            tables.metadata.create_all(connection)
        signer = LogSigner(ORIGIN, signing_key("log"))
        guard.init_ledger(
            self.engine, ledger=LEDGER, network=NETWORK, signer=signer, now_us=self.now_us
        )
        lease = guard.open_ledger(
            self.engine,
            ledger=LEDGER,
            network=NETWORK,
            signer=signer,
            holder="test",
            now_us=self.now_us,
        )
        self.rules = Rules(
            network=NETWORK,
            participant=LEDGER,
            programme=self.programme,
            versions=Versions(self.programme),
        )
        book = NodeBook(
            self.rules,
            *(one.HANDLERS for one in (adjustments, declaration, enrolment, members, events)),
            *(one.HANDLERS for one in (purchases, payments, marking, rewards, staff, sweep)),
            vouchers.HANDLERS,
            review=review_changed,
        )
        self.sequencer = Sequencer(
            engine=self.engine,
            lease=lease,
            book=book,
            signer=signer,
            clock=lambda: self.now_us,
            random=seeded.Random(self.seed).randbytes,
        )
        self.store = NodeStore(self.engine, LEDGER)

    # --- asking -----------------------------------------------------------------------

    def run(self, *commands: Command) -> list[Outcome]:
        """One batch."""
        return self.sequencer.run_batch(commands)

    def do(self, command: Command) -> Answer:
        """One command that must succeed, or raise what it was answered."""
        (outcome,) = self.run(command)
        if isinstance(outcome, ComityError):
            raise outcome
        return outcome

    def ask(self, command: Command, kind: Callable[[], M]) -> M:
        """One command's answer, as a message."""
        message = kind()
        message.ParseFromString(self.do(command).body)
        return message

    def new_id(self) -> str:
        self.count += 1
        return f"id-{self.count}"

    def enrol(self, name: str = "alice") -> str:
        key = signing_key(name).public.raw
        return self.ask(Enrol(id=f"enrol-{name}", public_key=key), member_pb2.EnrolResponse).account

    def buy(
        self, account: str, minor: int, *, purchase_id: str = "", at_us: int = 0
    ) -> merchant_pb2.PurchaseResult:
        command = RecordPurchase(
            purchase_id=purchase_id or self.new_id(),
            account=account,
            currency="EUR",
            minor=minor,
            occurred_at_us=at_us,
        )
        return self.ask(command, merchant_pb2.PurchaseResult)

    def refund(self, purchase_id: str, cumulative: int) -> merchant_pb2.RefundPurchaseResponse:
        command = RefundPurchase(
            caller="till:front",
            id=self.new_id(),
            purchase_id=purchase_id,
            currency="EUR",
            cumulative_minor=cumulative,
        )
        return self.ask(command, merchant_pb2.RefundPurchaseResponse)

    def adjust(self, account: str, points: int) -> merchant_pb2.AdjustPointsResponse:
        command = AdjustPoints(
            caller="manager:ann",
            id=self.new_id(),
            account=account,
            points=points,
            reason_code="goodwill",
        )
        return self.ask(command, merchant_pb2.AdjustPointsResponse)

    def sweep(self) -> int:
        return int(self.do(Sweep(limit=1_000)).body)

    def pass_days(self, days: int) -> None:
        self.now_us += days * DAY

    # --- looking ----------------------------------------------------------------------

    def balance(self, account: str) -> tuple[int, int, int, int]:
        """(pending, available, held, debt) as a member sees them now."""
        (one,) = self.store.balances(account, self.now_us)
        return one.pending, one.available, one.held, one.debt

    def rows(self, name: str) -> list[dict[str, Any]]:
        """A whole table."""
        with self.engine.connect() as connection:
            found = connection.execute(select(tables.metadata.tables[name])).mappings()
            return [dict(row) for row in found]

    def kinds(self) -> list[str]:
        """The log's entries by type."""
        return [one.kind for one in self.entries()]

    def entries(self) -> Sequence[Any]:
        store = LedgerStore(self.engine, LEDGER)
        size = store.head().size
        return [one for at in range(0, size, 1_000) for one in store.entries(at, 1_000)]

    def check(self) -> None:
        """What must hold after every commit (invariants I1, I2, I3, I10, I18)."""
        replayed: dict[tuple[str, str], int] = defaultdict(int)
        by_lot: dict[tuple[str, str], int] = defaultdict(int)
        by_class: dict[int, int] = defaultdict(int)
        for stored in self.entries():
            entry = entries.decode(stored.body, origin=ORIGIN)
            opening = entry_pb2.EntryOpening.FromString(stored.opening or b"")
            for leg, opened in zip(entries.legs(entry), opening.legs, strict=True):
                entries.check_leg(leg, opened)
                by_class[leg.account_class] += leg.points
                part = MEMBER_PARTS.get(leg.account_class)
                if part:
                    replayed[opened.account, part] += leg.points
                    if opened.lot:
                        by_lot[opened.lot, part] += leg.points
        assert sum(by_class.values()) == 0
        for row in self.rows("class_totals"):
            assert by_class[row["account_class"]] == row["points"]
        of_lots: dict[tuple[str, str], int] = defaultdict(int)
        for row in self.rows("lots"):
            for part in ("pending", "available", "held"):
                assert row[part] == by_lot[row["lot"], part]
                of_lots[row["account"], part] += row[part]
        for row in self.rows("accounts"):
            for part in ("pending", "available", "held"):
                assert row[part] == of_lots[row["account"], part]
            for part in ("pending", "available", "held", "debt"):
                assert row[part] == replayed[row["account"], part]
