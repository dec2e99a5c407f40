"""Transfers between members: the smallest book that does all that a ledger is for.

One transfer is one idempotent command. It hands one lot from the member who has it to another:
the lot's row and both balances change, and one TRANSFER entry with two sealed legs is hashed,
signed with its batch and kept. It is what every rule of a programme does, without the programme.
"""

from __future__ import annotations

import hashlib
import os
import random as seeded
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import ClassVar

from sqlalchemy import CheckConstraint, insert

from comity.errors import InsufficientPoints, NotFound
from comity.keys import SigningKey
from comity.ledger import entries, guard
from comity.ledger.command import Answer, Batch, Command, Content
from comity.ledger.engine import open_engine, writer
from comity.ledger.entries import LegDraft
from comity.ledger.guard import HeadFile
from comity.ledger.rows import Rows
from comity.ledger.schema import BigInt, field, key, ledger_table, service_metadata
from comity.ledger.sequencer import BATCH_LIMIT, Sequencer
from comity.ledger.signer import LogSigner
from comity.ledger.steps import Step
from comity.points import add
from comity.v1 import entry_pb2 as pb

NETWORK = "bench.example"
LEDGER = "grocery"
ORIGIN = f"{NETWORK}/{LEDGER}"
UNIT = f"{LEDGER}/points"
POINTS = 100

metadata = service_metadata()
accounts = ledger_table(
    metadata,
    "accounts",
    key("account"),
    field("available", BigInt),
    CheckConstraint("available >= 0", name="available"),
)
lots = ledger_table(
    metadata,
    "lots",
    key("lot"),
    field("account"),
    field("available", BigInt),
    field("expires_at_us", BigInt),
)


@dataclass(frozen=True, slots=True)
class Transfer:
    """Hand `lot` to the member with `target`."""

    step: ClassVar[Step] = Step.ADJUST
    caller: str
    id: str
    lot: str
    target: str

    def content(self) -> Mapping[str, Content]:
        return {"lot": self.lot, "target": self.target}


class Transfers:
    """The rules: a lot goes from whoever has it to the target."""

    def prefetch(self, rows: Rows, commands: Sequence[Command]) -> None:
        transfers = [one for one in commands if isinstance(one, Transfer)]
        names = [(one.lot,) for one in transfers]
        rows.load(lots, names)
        owners = [row["account"] for at in names if (row := rows.get(lots, at)) is not None]
        rows.load(accounts, [(name,) for name in (*owners, *(one.target for one in transfers))])

    def execute(self, batch: Batch, command: Command) -> bytes:
        assert isinstance(command, Transfer)
        rows, target = batch.rows, command.target
        lot = rows.get(lots, (command.lot,))
        receiver = rows.get(accounts, (target,))
        if lot is None or receiver is None:
            raise NotFound("There is no such lot or account here.")
        source, points = lot["account"], lot["available"]
        giver = rows.get(accounts, (source,))
        if giver is None or giver["available"] < points:
            raise InsufficientPoints("The account has fewer points than its lot.")
        if source != target:
            rows.put(accounts, {"account": source, "available": giver["available"] - points})
            balance = add(receiver["available"], points)
            rows.put(accounts, {"account": target, "available": balance})
            lot["account"] = target
            rows.put(lots, lot)
        expiry = lot["expires_at_us"]
        public, private = entries.seal_legs(
            [
                LegDraft(pb.ACCOUNT_CLASS_AVAILABLE, UNIT, -points, source, command.lot, expiry),
                LegDraft(pb.ACCOUNT_CLASS_AVAILABLE, UNIT, points, target, command.lot, expiry),
            ],
            batch.random,
        )
        body = entries.encode(pb.Transfer(legs=public), origin=ORIGIN, at_us=batch.now_us)
        opening = entries.canonical(pb.EntryOpening(legs=private))
        index = batch.append(body, kind="transfer", opening=opening)
        return b"%d" % index


class TransferBench:
    """One open ledger with members and lots, and endlessly many transfers for it."""

    def __init__(self, url: str, folder: Path, *, members: int, lots: int, seed: int = 1) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._engine = open_engine(url)
        self._random = seeded.Random(seed)
        self._accounts = [f"acc_{self._random.randbytes(16).hex()}" for _ in range(members)]
        self._lots = [f"{at}.0" for at in range(lots)]
        self._ids = count(1)
        self._sequencer = self._open()

    def batches(self, number: int, *, size: int = BATCH_LIMIT) -> list[list[Transfer]]:
        """New transfers, each with an id of its own."""
        choose, ids = self._random.choice, self._ids
        return [
            [
                Transfer("till", f"tx_{next(ids):032x}", choose(self._lots), choose(self._accounts))
                for _ in range(size)
            ]
            for _ in range(number)
        ]

    def run(self, seconds: float) -> float:
        """Transfers per second, over whole batches until the time is up."""
        done, elapsed = 0, 0.0
        while elapsed < seconds:
            (batch,) = self.batches(1)
            began = time.perf_counter()
            outcomes = self._sequencer.run_batch(batch)
            elapsed += time.perf_counter() - began
            assert all(isinstance(one, Answer) and not one.repeated for one in outcomes)
            done += len(outcomes)
        return done / elapsed

    def close(self) -> None:
        self._sequencer.close()
        self._engine.dispose()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _open(self) -> Sequencer:
        engine, random = self._engine, self._random
        with writer(engine).begin() as connection:
            metadata.create_all(connection)
        signer = LogSigner(ORIGIN, SigningKey(hashlib.sha256(b"bench").digest()))
        head_file = HeadFile(self._folder / "head")
        now_us = time.time_ns() // 1_000
        guard.init_ledger(
            engine,
            ledger=LEDGER,
            network=NETWORK,
            signer=signer,
            now_us=now_us,
            head_file=head_file,
        )
        held = dict.fromkeys(self._accounts, 0)
        rows = []
        for lot in self._lots:
            owner = random.choice(self._accounts)
            held[owner] += POINTS
            rows.append(
                {
                    "ledger": LEDGER,
                    "lot": lot,
                    "account": owner,
                    "available": POINTS,
                    "expires_at_us": now_us + 365 * 86_400_000_000,
                }
            )
        balances = [
            {"ledger": LEDGER, "account": account, "available": points}
            for account, points in held.items()
        ]
        with writer(engine).begin() as connection:
            connection.execute(insert(lots), rows)
            connection.execute(insert(accounts), balances)
        lease = guard.open_ledger(
            engine,
            ledger=LEDGER,
            network=NETWORK,
            signer=signer,
            holder="bench",
            now_us=now_us,
            head_file=head_file,
        )
        return Sequencer(
            engine=engine,
            lease=lease,
            book=Transfers(),
            signer=signer,
            clock=lambda: time.time_ns() // 1_000,
            random=os.urandom,
            head_file=head_file,
        )
