"""A running server's log: as a stranger by its hash tiles, as an auditor by every entry."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from comity.errors import BadStatement, ComityError
from comity.log.checkpoint import Checkpoint, open_checkpoint, verify_extension
from comity.log.history import KeyHistory
from comity.log.merkle import HASH_SIZE
from comity.log.tiles import MAX_TILE_LEVEL, TILE_WIDTH, TileKey, TileTree, tile_width
from comity.rpc.channel import Channel, stub
from comity.v1 import log_pb2 as pb
from comity.v1.log_pb2_grpc import LogServiceStub
from comity.verify.log import PAGE, LogPass, check_head
from comity.verify.report import Check, Report, refused

if TYPE_CHECKING:
    from comity.v1.log_pb2_grpc import LogServiceAsyncStub

Progress = Callable[[int, int], None]


async def server(
    channel: Channel,
    *,
    vkey: str | None = None,
    earlier: bytes | None = None,
    auditor: bool = False,
    final: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Verify the log of the organisation at the other end of `channel`.

    Anyone: the checkpoint is signed, its root is that of the published leaf hashes, the upper
    tiles follow from the lowest, and the log extends the one of `earlier`, a checkpoint kept
    from before. With `auditor` (the channel's session is an auditor's): every entry with its
    openings, and the whole replay. `vkey` are the keys as known from elsewhere; without the
    server's own word is taken. The report's `note` is worth keeping for the next time.
    """
    calls = stub(LogServiceStub, channel)
    answer = await calls.GetCheckpoint(pb.GetCheckpointRequest())
    checks: list[Check] = []
    try:
        told = KeyHistory.parse(answer.keys or answer.vkey)
        verifier = KeyHistory.parse(vkey) if vkey else told
        head = open_checkpoint(answer.checkpoint, origin=verifier.name, verifier=verifier)
        verifier = verifier.completed_by(told)
    except ComityError as error:
        return Report(subject=answer.origin, checks=(refused("signature", error),))
    known = "known" if vkey is not None else "the server gives"
    checks.append(Check("signature", True, f"The head is signed by the key {known}."))
    tiles = _Tiles(calls, head)
    checks += await tiles.checks(progress)
    if earlier is not None:
        checks.append(await _extends(calls, earlier, head, verifier))
    replay = None
    if auditor:
        taken = await _read_entries(calls, head, progress)
        replay = taken.replay
        entries = check_head(taken.tree, head)
        checks.append(Check("entries", entries.passed, entries.detail))
        checks += taken.checks(final=final)
    return Report(
        subject=verifier.name,
        checks=tuple(checks),
        figures={"entries": head.size},
        replay=replay,
        note=answer.checkpoint,
    )


class _Tiles:
    """The published hashes, from the lowest tiles upwards."""

    def __init__(self, calls: LogServiceAsyncStub, head: Checkpoint) -> None:
        self._calls = calls
        self._head = head
        self._computed: dict[TileKey, bytes] = {}
        self._tree = TileTree(0, lambda level, index: b"")

    async def checks(self, progress: Progress | None) -> list[Check]:
        """Whether they lead to the signed root, and whether the upper ones follow."""
        try:
            await self._read_leaves(progress)
        except ComityError as error:
            return [refused("tiles", error)]
        root = check_head(self._tree, self._head)
        try:
            count = await self._read_upper()
        except ComityError as error:
            return [root, refused("tiles", error)]
        detail = f"{count} tiles above the lowest follow from them."
        return [root, Check("tiles", passed=True, detail=detail)]

    async def _read_leaves(self, progress: Progress | None) -> None:
        size = self._head.size
        for index in range(-(-size // TILE_WIDTH)):
            hashes = await self._tile(0, index)
            changed = self._tree.append(
                hashes[at : at + HASH_SIZE] for at in range(0, len(hashes), HASH_SIZE)
            )
            self._computed.update((at, tile) for at, tile in changed.items() if at[0])
            if progress is not None:
                progress(self._tree.size, size)

    async def _read_upper(self) -> int:
        count = 0
        for level in range(1, MAX_TILE_LEVEL + 1):
            for index in range(-(-(self._head.size >> 8 * level) // TILE_WIDTH)):
                if await self._tile(level, index) != self._computed[level, index]:
                    raise BadStatement(f"Tile {level}/{index} does not follow from those below.")
                count += 1
        return count

    async def _tile(self, level: int, index: int) -> bytes:
        width = tile_width(level, index, self._head.size)
        request = pb.GetTileRequest(level=level, index=index, width=width)
        hashes: bytes = (await self._calls.GetTile(request)).hashes
        if len(hashes) != width * HASH_SIZE:
            raise BadStatement(f"Tile {level}/{index} has {len(hashes)} bytes, not {width} hashes.")
        return hashes


async def _extends(
    calls: LogServiceAsyncStub, earlier: bytes, head: Checkpoint, verifier: KeyHistory
) -> Check:
    try:
        old = open_checkpoint(earlier, origin=verifier.name, verifier=verifier)
        if old.size > head.size:
            raise BadStatement(f"The log had {old.size} entries before and has {head.size} now.")
        hashes: tuple[bytes, ...] = ()
        if old.size:
            request = pb.ProveConsistencyRequest(old_size=old.size, new_size=head.size)
            hashes = tuple((await calls.ProveConsistency(request)).hashes)
        verify_extension(old, head, hashes)
    except ComityError as error:
        return refused("I8", error)
    return Check("I8", True, f"The log of {old.size} entries only grew, to {head.size}.")


async def _read_entries(
    calls: LogServiceAsyncStub, head: Checkpoint, progress: Progress | None
) -> LogPass:
    taken = LogPass(head.origin, opened=True)
    while taken.size < head.size:
        limit = min(PAGE, head.size - taken.size)
        request = pb.ReadEntriesRequest(from_index=taken.size, limit=limit)
        page = (await calls.ReadEntries(request)).entries
        if not page:
            break
        rows = page[:limit]
        taken.add([row.entry for row in rows], [row.opening.SerializeToString() for row in rows])
        if progress is not None:
            progress(taken.size, head.size)
    return taken
