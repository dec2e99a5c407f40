"""Events through a whole programme: points, growth, limits, levels, badges and tags.

One event is one idempotent command: it is judged by the programme's rules, its points become
lots, levels and marks follow, the verdict of every rule is kept; durable, hashed, signed.
"""

from __future__ import annotations

import os
import random as seeded
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path

from bench.measure import Extent, Figure, in_turns
from bench.transfers import TransferBench
from comity.ledger import guard
from comity.ledger.command import Answer, Command
from comity.ledger.engine import open_engine, writer
from comity.ledger.guard import HeadFile
from comity.ledger.sequencer import BATCH_LIMIT, Sequencer
from comity.ledger.signer import LogSigner
from comity.serve.process import spare_collector
from comity.v1 import member_pb2
from node.book import NodeBook, Rules
from node.build import PROGRAMME_HANDLERS
from node.commands import Enrol, RecordEvent, RecordPurchase
from node.programme import Programme
from node.standing import review_changed
from node.tables import metadata
from node.versions import Versions
from tests.brand import signing_key
from tests.club import content

NETWORK, LEDGER = "bench.example", "grocery"
ORIGIN = f"{NETWORK}/{LEDGER}"
MEMBERS = 10_000
LOTS = 10_000


class EventBench:
    """One open ledger with members, and endlessly many events of theirs.

    Of three events two are purchases, small ones mostly, and one is a sign-in.
    """

    def __init__(self, folder: Path, *, members: int, seed: int = 1) -> None:
        folder.mkdir(parents=True)
        self._random = seeded.Random(seed)
        self._ids = count(1)
        self._engine = open_engine(f"sqlite:///{folder / 'ledger.db'}")
        with writer(self._engine).begin() as connection:
            metadata.create_all(connection)
        signer, head_file = LogSigner(ORIGIN, signing_key("bench")), HeadFile(folder / "head")
        at_us = time.time_ns() // 1_000
        guard.init_ledger(
            self._engine,
            ledger=LEDGER,
            network=NETWORK,
            signer=signer,
            now_us=at_us,
            head_file=head_file,
        )
        lease = guard.open_ledger(
            self._engine,
            ledger=LEDGER,
            network=NETWORK,
            signer=signer,
            holder="bench",
            now_us=at_us,
            head_file=head_file,
        )
        programme = Programme.model_validate(content())
        rules = Rules(
            network=NETWORK,
            participant=LEDGER,
            programme=programme,
            versions=Versions(programme),
        )
        self._sequencer = Sequencer(
            engine=self._engine,
            lease=lease,
            book=NodeBook(rules, *PROGRAMME_HANDLERS, review=review_changed),
            signer=signer,
            clock=lambda: time.time_ns() // 1_000,
            random=os.urandom,
            head_file=head_file,
        )
        self._accounts = self._enrolled(members)

    def run(self, seconds: float) -> float:
        """Events per second, over whole batches until the time is up."""
        done, elapsed = 0, 0.0
        while elapsed < seconds:
            batch = [self._event() for _ in range(BATCH_LIMIT)]
            began = time.perf_counter()
            outcomes = self._sequencer.run_batch(batch)
            elapsed += time.perf_counter() - began
            assert all(isinstance(one, Answer) and not one.repeated for one in outcomes)
            done += len(outcomes)
        return done / elapsed

    def close(self) -> None:
        self._sequencer.close()
        self._engine.dispose()

    def _event(self) -> Command:
        number, account = next(self._ids), self._random.choice(self._accounts)
        if number % 3 == 0:
            return RecordEvent(event_id=f"e{number:x}", account=account, type="sign_in")
        return RecordPurchase(
            purchase_id=f"p{number:x}",
            account=account,
            currency="EUR",
            minor=self._random.randrange(100, 5_000),
        )

    def _enrolled(self, members: int) -> list[str]:
        found: list[str] = []
        while len(found) < members:
            first, last = len(found), min(len(found) + BATCH_LIMIT, members)
            batch = [
                Enrol(id=f"enrol-{n}", public_key=signing_key(f"member {n}").public.raw)
                for n in range(first, last)
            ]
            for one in self._sequencer.run_batch(batch):
                assert isinstance(one, Answer)
                found.append(member_pb2.EnrolResponse.FromString(one.body).account)
        return found


@contextmanager
def _transfers(folder: Path) -> Iterator[TransferBench]:
    url = f"sqlite:///{folder / 'transfers.db'}"
    found = TransferBench(url, folder / "transfers", members=MEMBERS, lots=LOTS)
    with closing(found):
        found.run(0.3)
        yield found


def programme_events(folder: Path, extent: Extent) -> list[Figure]:
    """Events through a programme of everything beside transfers on the same kind of ledger."""
    members = extent.count(MEMBERS)
    with (
        closing(EventBench(folder / "events", members=members)) as events,
        _transfers(folder) as transfers,
    ):
        events.run(0.3)
        spare_collector()
        value, baseline = in_turns(
            extent.rounds,
            lambda: events.run(extent.seconds(4.0)),
            lambda: transfers.run(extent.seconds(2.0)),
        )
    return [
        Figure(
            name="programme_events",
            value=value,
            unit="events/s",
            baseline="transfers/s in one process on SQLite (`ledger_sqlite`)",
            baseline_value=baseline,
            floor=0.4,
            wish=0.7,
        )
    ]
