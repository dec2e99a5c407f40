"""Following clearing's log, and carrying out what it decides.

    1. ask for the entries after our mirror, waiting for news
    2. hear clearing's heads; hash the entries onto the right edge of our mirror
    3. the root of that edge must be the signed one, or be linked to it
    4. read each entry; our own numbers must have no gap
    5. commit the page and what it does to points, in one batch
    6. tell whoever waits for a decision, an agreement or a settlement

The mirror remembers up to where effects are carried out, one page behind; after a crash the last
page's effects are submitted again, and the rows know what was done. An effect that does not fit
our own records moves nothing and raises an alarm.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from sqlalchemy import select

from comity.errors import BadStatement, ComityError, LedgerFault, Unavailable
from comity.ledger import entries
from comity.ledger.command import Command, Outcome
from comity.ledger.runner import Runner
from comity.ledger.store import LedgerStore
from comity.log.checkpoint import Checkpoint, read_checkpoint, verify_extension
from comity.log.merkle import HASH_SIZE, Frontier
from comity.v1 import clearing_pb2, peer_pb2
from comity.v1 import entry_pb2 as pb
from node.book import Rules
from node.decided import Decided
from node.gate import Alarm
from node.mirror import NETWORK_BODIES, Leaf, Mirror, check_numbers, effects, read_leaf
from node.peers import Peers
from node.redemption_tables import mirror, mirror_state
from node.returns import CountReversal

PAGE: Final = 512
"""Entries asked for at once; with their effects they fit one batch of the writer."""

WAIT_MS: Final = 10_000
FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 2.0

Listener = Callable[[Leaf], None]


class Feed:
    """One brand's reader of clearing's log."""

    def __init__(
        self,
        *,
        rules: Rules,
        peers: Peers,
        store: LedgerStore,
        read: Runner,
        alarm: Alarm,
        reported: Callable[[], int],
        wait_ms: int = WAIT_MS,
        ended: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`reported` answers the index of our log below which every DELIVERY is reported, `ended`
        is told LOST for each one that was reported too late and could not be taken back whole.
        """
        self._rules = rules
        self._peers = peers
        self._store = store
        self._read = read
        self._alarm = alarm
        self._reported = reported
        self._ended = ended
        self._wait_ms = wait_ms
        self._listeners: list[Listener] = []
        self._edge = Frontier()
        self._note = b""
        self._applied = 0
        self._last_seq = 0
        self._load()

    @property
    def size(self) -> int:
        """How many entries of clearing's log are mirrored."""
        return self._edge.size

    def listen(self, listener: Listener) -> None:
        """Have every entry of ours, of the network's and of settlements told, once committed."""
        self._listeners.append(listener)

    async def run(self) -> None:
        """Follow until cancelled. Raises only a fault of our own ledger."""
        await self._peers.gate.opened()
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                await self.catch_up()
                await self.step()
                pause_s = FIRST_PAUSE_S
                continue
            except LedgerFault:
                raise
            except Unavailable:
                pass
            except ComityError as error:
                self._alarm("following clearing", error)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def step(self) -> int:
        """Take one page, after waiting for news; returns how many entries it had."""
        # 1. and 2. The page, under heads that were heard.
        start = self.size
        page = await self._peers.follow(start=start, limit=PAGE, wait_ms=self._wait_ms)
        if not page.entries:
            if page.heads.checkpoint and read_checkpoint(page.heads.checkpoint).size > start:
                raise BadStatement("Clearing signed a longer log than it shows.")
            return 0
        leaves = self._read_page(page, start)
        edge = self._edge.copy()
        edge.extend(leaf.hash for leaf in leaves)
        # 3. The root.
        note = page.heads.checkpoint
        self._check_root(edge, page)
        # 4. Our numbers.
        last_seq = check_numbers(self._rules, leaves, self._last_seq)
        # 5. One batch.
        command = Mirror(
            origin=self._peers.clearing_origin,
            start=start,
            leaves=tuple(leaves),
            frontier=b"".join(edge.hashes),
            note=note,
            applied=self._applied,
            reported=self._reported(),
        )
        doing = self._effects(leaves)
        mirrored, *outcomes = await self._peers.submit_all([command, *doing])
        if isinstance(mirrored, ComityError):
            raise mirrored
        self._edge, self._note, self._last_seq = edge, note, last_seq
        self._settle(doing, outcomes)
        self._applied = edge.size
        # 6. The listeners.
        self._tell(leaves)
        return len(leaves)

    async def catch_up(self) -> None:
        """Submit the effects that a crash may have left undone."""
        while self._applied < self.size:
            leaves = await self._read(lambda: self.leaves(self._applied, PAGE))
            await self._carry_out(leaves)
            self._applied = leaves[-1].index + 1
            self._tell(leaves)

    async def again(self, decided: Decided) -> None:
        """Carry out a decision once more, as it stands in the mirror.

        For whoever was told of it outside the feed: what is not mirrored yet will come by itself.
        """
        if decided.index >= self.size:
            return
        leaves = await self._read(lambda: self.leaves(decided.index, 1))
        if leaves[0].hash != decided.hash:
            raise BadStatement("Clearing showed a decision that is not the one in its log.")
        await self._carry_out(leaves)

    # --- the mirror -------------------------------------------------------------------

    def leaves(self, start: int, limit: int) -> list[Leaf]:
        """Mirrored entries from an index on, read again."""
        table = mirror
        query = (
            select(table.c["index"], table.c.body, table.c.opening)
            .where(table.c.ledger == self._store.ledger, table.c["index"] >= start)
            .order_by(table.c["index"])
            .limit(limit)
        )
        with self._store.engine.connect() as connection:
            rows = connection.execute(query).all()
        origin = self._peers.clearing_origin
        return [
            read_leaf(self._rules, origin=origin, index=index, data=body, opening=opening)
            for index, body, opening in rows
        ]

    async def read_mirror(self, request: peer_pb2.ReadMirrorRequest) -> peer_pb2.ReadMirrorResponse:
        """Entries of clearing's log as mirrored here, for clearing to refill a lost tail."""
        leaves = await self._read(lambda: self.leaves(request.from_index, request.limit))
        response = peer_pb2.ReadMirrorResponse(checkpoint=self._note)
        for leaf in leaves:
            response.entries.append(leaf.data)
            if leaf.opening:
                response.openings[leaf.index].CopyFrom(pb.DecisionOpening.FromString(leaf.opening))
        return response

    def _load(self) -> None:
        table = mirror_state
        query = select(table).where(
            table.c.ledger == self._store.ledger, table.c.origin == self._peers.clearing_origin
        )
        with self._store.engine.connect() as connection:
            row = connection.execute(query).mappings().one_or_none()
        if row is None:
            return
        data = bytes(row["frontier"])
        hashes = [data[at : at + HASH_SIZE] for at in range(0, len(data), HASH_SIZE)]
        self._edge = Frontier(row["size"], hashes)
        self._note = bytes(row["note"])
        self._applied = row["applied"]
        self._last_seq = row["last_seq"]

    # --- one page ---------------------------------------------------------------------

    def _read_page(self, page: clearing_pb2.FollowResponse, start: int) -> list[Leaf]:
        leaves = []
        for place, data in enumerate(page.entries):
            index = start + place
            opening = None
            if index in page.openings:
                opening = page.openings[index].SerializeToString(deterministic=True)
            leaves.append(
                read_leaf(
                    self._rules,
                    origin=self._peers.clearing_origin,
                    index=index,
                    data=data,
                    opening=opening,
                )
            )
        return leaves

    def _check_root(self, edge: Frontier, page: clearing_pb2.FollowResponse) -> None:
        """Raises BadStatement unless the signed head has exactly these entries at its beginning.

        The checkpoint's signature was verified when the page's heads were heard.
        """
        head = read_checkpoint(page.heads.checkpoint)
        ours = Checkpoint(head.origin, edge.size, edge.root())
        if edge.size == head.size:
            if ours.root != head.root:
                raise BadStatement("Clearing's entries do not lead to the head it signed.")
            return
        if not page.HasField("link") or page.link.from_size != edge.size:
            raise BadStatement("Clearing's page is not linked to the head it came with.")
        verify_extension(ours, head, tuple(page.link.hashes))

    def _effects(self, leaves: Sequence[Leaf]) -> list[Command]:
        return [one for leaf in leaves for one in effects(self._rules, leaf)]

    async def _carry_out(self, leaves: Sequence[Leaf]) -> None:
        doing = self._effects(leaves)
        self._settle(doing, await self._peers.submit_all(doing))

    def _settle(self, doing: Sequence[Command], outcomes: Sequence[Outcome]) -> None:
        """Alarm for what did not fit; raises what must be submitted again."""
        for command, outcome in zip(doing, outcomes, strict=True):
            if isinstance(outcome, Unavailable | LedgerFault):
                raise outcome
            if isinstance(outcome, ComityError):
                self._alarm(f"{command.step.value} by clearing's feed", outcome)
            elif isinstance(command, CountReversal) and outcome.body:
                self._ended("LOST")

    def _tell(self, leaves: Sequence[Leaf]) -> None:
        for leaf in leaves:
            kind = leaf.entry.WhichOneof("body")
            if kind in NETWORK_BODIES:
                self._peers.roster.reload()
            if kind in ("rotate", "revoke"):
                self._peers.recheck(entries.body(leaf.entry).participant)
            if leaf.decided is not None or kind in ("agreement", "settlement"):
                for listener in self._listeners:
                    listener(leaf)
