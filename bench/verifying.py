"""Verifying a whole log, beside one SHA-256 over each of its entries."""

from __future__ import annotations

import hashlib
import random as seeded
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.measure import Extent, Figure, in_turns
from comity.keys import SigningKey
from comity.ledger import entries
from comity.ledger.entries import LegDraft
from comity.ledger.signer import LogSigner
from comity.log.merkle import leaf_hash
from comity.log.note import VerifierKey
from comity.log.tiles import TileTree
from comity.serve.process import spare_collector
from comity.v1 import entry_pb2 as pb
from comity.verify import log as verify

ENTRIES = 100_000
MEMBERS = 5_000
ORIGIN = "bench.example/grocery"
UNIT = "grocery/points"
POINTS = 100


def _written(count: int) -> Iterator[tuple[bytes, bytes]]:
    """Entries and openings: accruals, each followed by an entry which spends its lot."""
    random = seeded.Random(2)
    members = [f"acc_{random.randbytes(16).hex()}" for _ in range(MEMBERS)]
    began_us = 1_790_000_000_000_000
    available, issued = pb.ACCOUNT_CLASS_AVAILABLE, pb.ACCOUNT_CLASS_ISSUED
    for index in range(0, count, 2):
        giver = random.choice(members)
        lot, at_us = f"{index}.0", began_us + index
        expires = at_us + 365 * 86_400_000_000

        def sealed(body: Any, *drafts: LegDraft, at_us: int = at_us) -> tuple[bytes, bytes]:
            public, private = entries.seal_legs(drafts, random.randbytes)
            body.legs.extend(public)
            data = entries.encode(body, origin=ORIGIN, at_us=at_us)
            return data, entries.canonical(pb.EntryOpening(legs=private))

        yield sealed(
            pb.Accrual(event=random.randbytes(32), programme_version="1"),
            LegDraft(available, UNIT, POINTS, giver, lot, expires),
            LegDraft(issued, UNIT, -POINTS),
        )
        yield sealed(
            pb.Transfer(),
            LegDraft(available, UNIT, -POINTS, giver, lot, expires),
            LegDraft(pb.ACCOUNT_CLASS_SPENT, UNIT, POINTS),
        )


class Log:
    """A signed log in memory."""

    def __init__(self, count: int) -> None:
        pairs = list(_written(count))
        self.bodies = [body for body, _ in pairs]
        self.openings = [opening for _, opening in pairs]
        tree = TileTree(0, lambda level, index: b"")
        tree.append(leaf_hash(body) for body in self.bodies)
        signer = LogSigner(ORIGIN, SigningKey(hashlib.sha256(b"bench").digest()))
        self.checkpoint = signer.sign(tree.size, tree.root())
        self.verifier = VerifierKey.parse(signer.vkey)

    def verify(self) -> float:
        """Seconds for leaf hashes, root, signature, legs and replayed balances."""
        began = time.perf_counter()
        report = verify.log(self.bodies, self.checkpoint, self.verifier, self.openings)
        elapsed = time.perf_counter() - began
        assert report.passed, report.rows()
        return elapsed

    def hash(self) -> float:
        """Seconds for one SHA-256 call per entry."""
        sha256 = hashlib.sha256
        began = time.perf_counter()
        for body in self.bodies:
            sha256(body).digest()
        return time.perf_counter() - began


def verify_log(folder: Path, extent: Extent) -> list[Figure]:
    """Verifying a log of 100,000 entries."""
    log = Log(extent.count(ENTRIES))
    spare_collector()
    log.hash()
    value, baseline = in_turns(extent.rounds, log.verify, log.hash)
    return [
        Figure(
            name="verify_log",
            value=value,
            unit=f"s for {len(log.bodies):,} entries",
            baseline="s for one SHA-256 call per entry over the same bytes",
            baseline_value=baseline,
            floor=40,
            wish=15,
            at_most=True,
        )
    ]
