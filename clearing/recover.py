"""`comity clearing recover`: refill a lost tail of clearing's log from the brands' mirrors.

    1. open the ledger as it is, without regard to what was signed later
    2. read every brand's mirror from our end on
    3. take the mirror under the highest head of ours, and check that its entries lead there
    4. merge the openings: each brand holds its own part
    5. append the entries and rebuild the tables, in one commit
    6. check that no head anybody showed, nor the head file, lies beyond

Nothing is signed but heads that were signed before: the same entries lead to the same roots. If
bytes are missing everywhere, nothing is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Engine

from clearing.build import LEDGER
from clearing.reconcile import Peers
from clearing.replay import Refill, ReplayBook
from clearing.store import ClearingStore
from comity.clock import Clock
from comity.errors import BadStatement, ComityError, NotFound
from comity.keys import Random
from comity.ledger import entries, guard
from comity.ledger.guard import HeadFile
from comity.ledger.lease import Lease
from comity.ledger.sequencer import Sequencer
from comity.ledger.signer import LogSigner
from comity.ledger.store import LedgerStore
from comity.log.merkle import leaf_hash
from comity.log.tiles import TileTree
from comity.rpc.channel import stub
from comity.v1.entry_pb2 import Decision, DecisionOpening
from comity.v1.peer_pb2 import ReadMirrorRequest
from comity.v1.peer_pb2_grpc import PeerServiceStub

PAGE = 1_000


@dataclass(slots=True)
class Mirror:
    """What one brand holds of our log beyond our end."""

    participant: str
    size: int
    root: bytes
    leaves: list[bytes]
    openings: dict[int, DecisionOpening]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What a recovery did."""

    size_before: int
    size: int
    asked: tuple[str, ...]
    unreachable: tuple[str, ...]


async def recover(
    *,
    engine: Engine,
    lease: Lease,
    signer: LogSigner,
    network: str,
    peers: Peers,
    clock: Clock,
    random: Random,
    head_file: HeadFile | None = None,
) -> Recovered:
    """Refill the ledger. `lease` comes from `open_ledger` without a head file.

    Raises NotFound where figures are missing, BadStatement for mirrors that contradict our log,
    ShorterLedger if a higher head is known than any mirror leads to.
    """
    store = LedgerStore(engine, LEDGER)
    before = store.head().size
    mirrors, unreachable = await _read_mirrors(engine, store, signer, peers)
    # 3. The highest head, and the entries that lead to it.
    best = max(mirrors, key=lambda mirror: len(mirror.leaves), default=None)
    if best is not None and best.leaves:
        _require_leads(store, best)
        command = Refill(
            start=before, leaves=tuple(best.leaves), openings=_merged(mirrors, best.leaves, before)
        )
        sequencer = Sequencer(
            engine=engine,
            lease=lease,
            book=ReplayBook(origin=signer.origin, network=network),
            signer=signer,
            clock=clock,
            random=random,
            store=store,
        )
        # 5. One commit.
        (outcome,) = sequencer.run_batch([command])
        if isinstance(outcome, ComityError):
            raise outcome
    # 6. Nothing beyond.
    _require_newest(store, mirrors, head_file)
    if head_file is not None:
        head_file.bind(signer.origin)
        head_file.keep(store.head(), now=True)
    return Recovered(
        size_before=before,
        size=store.head().size,
        asked=tuple(mirror.participant for mirror in mirrors),
        unreachable=unreachable,
    )


async def _read_mirrors(
    engine: Engine, store: LedgerStore, signer: LogSigner, peers: Peers
) -> tuple[list[Mirror], tuple[str, ...]]:
    """Every brand's mirror from our end on, and who could not be read."""
    mirrors, unreachable = [], []
    for row in ClearingStore(engine, LEDGER).participants():
        name = row["participant"]
        try:
            mirrors.append(await _read_mirror(name, store.head().size, signer, peers))
        except ComityError:
            unreachable.append(name)
    if unreachable and not mirrors:
        raise NotFound(
            f"No brand's mirror can be read ({', '.join(unreachable)}); start their nodes and "
            "recover again."
        )
    return mirrors, tuple(unreachable)


async def _read_mirror(name: str, start: int, signer: LogSigner, peers: Peers) -> Mirror:
    call = stub(PeerServiceStub, peers(name)).ReadMirror
    found = Mirror(participant=name, size=0, root=b"", leaves=[], openings={})
    while True:
        page = await call(ReadMirrorRequest(from_index=start + len(found.leaves), limit=PAGE))
        if page.checkpoint:
            found.size, found.root = signer.verify(page.checkpoint)
        found.leaves += page.entries
        for index, opening in page.openings.items():
            found.openings[index] = opening
        if not page.entries or start + len(found.leaves) >= found.size:
            del found.leaves[max(found.size - start, 0) :]
            return found


def _require_leads(store: LedgerStore, mirror: Mirror) -> None:
    """Raises BadStatement unless our log and the mirror's entries have the mirror's root."""
    head = store.head()
    frontier = TileTree(head.size, store.tile).frontier()
    frontier.extend(map(leaf_hash, mirror.leaves))
    if (frontier.size, frontier.root()) != (mirror.size, mirror.root):
        raise BadStatement(
            f"The mirror of {mirror.participant} does not continue this log to the head of "
            f"{mirror.size} entries that it shows."
        )


def _merged(
    mirrors: Sequence[Mirror], leaves: Sequence[bytes], start: int
) -> dict[int, DecisionOpening]:
    """Each decision's opening, from the parts that true openings of it add."""
    merged: dict[int, DecisionOpening] = {}
    for place, leaf in enumerate(leaves):
        entry = entries.decode(leaf)
        if entry.WhichOneof("body") != "decision":
            continue
        for mirror in mirrors:
            part = mirror.openings.get(start + place)
            if part is not None and _opens(entry.decision, part):
                merged.setdefault(start + place, DecisionOpening()).MergeFrom(part)
    return merged


def _opens(decision: Decision, part: DecisionOpening) -> bool:
    try:
        entries.check_decision_opening(decision, part)
    except BadStatement:
        return False
    return True


def _require_newest(
    store: LedgerStore, mirrors: Sequence[Mirror], head_file: HeadFile | None
) -> None:
    """Raises ShorterLedger or ForkedLedger while a head is known that we do not extend."""
    for mirror in mirrors:
        if mirror.size:
            guard.check_known_head(store, size=mirror.size, root=mirror.root)
    kept = head_file.read() if head_file is not None else None
    if kept is not None:
        guard.check_known_head(store, size=kept.size, root=kept.root)
