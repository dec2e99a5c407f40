"""The public face of a log: checkpoints, tiles and proofs for anyone, entries for auditors."""

from __future__ import annotations

from collections.abc import Callable

from comity.errors import Malformed, NotFound
from comity.ledger.runner import Runner
from comity.ledger.store import LedgerStore
from comity.log.history import KeyHistory
from comity.log.merkle import leaf_hash
from comity.log.tiles import TILE_WIDTH
from comity.rpc.caller import Caller
from comity.v1 import entry_pb2, log_pb2


class LogService:
    """comity.v1.LogService over one ledger's store."""

    def __init__(
        self,
        store: LedgerStore,
        *,
        network: str,
        origin: str,
        keys: Callable[[], KeyHistory],
        read: Runner,
    ) -> None:
        """`keys` answers the log's keys as they are at the time of a call."""
        self._store = store
        self._network = network
        self._origin = origin
        self._keys = keys
        self._read = read

    async def get_checkpoint(
        self, caller: Caller, request: log_pb2.GetCheckpointRequest
    ) -> log_pb2.GetCheckpointResponse:
        keys, head = self._keys(), self._store.head()
        return log_pb2.GetCheckpointResponse(
            origin=self._origin,
            vkey=str(keys.at(head.size)),
            keys=str(keys),
            checkpoint=head.note,
            network=self._network,
        )

    async def get_tile(
        self, caller: Caller, request: log_pb2.GetTileRequest
    ) -> log_pb2.GetTileResponse:
        width = request.width or TILE_WIDTH
        tile = await self._read(lambda: self._store.tile(request.level, request.index))
        if len(tile) < 32 * width:
            raise NotFound(
                f"Tile {request.level}/{request.index} has {len(tile) // 32} hashes so far; "
                "ask for at most so many."
            )
        return log_pb2.GetTileResponse(hashes=tile[: 32 * width])

    async def prove_consistency(
        self, caller: Caller, request: log_pb2.ProveConsistencyRequest
    ) -> log_pb2.ProveConsistencyResponse:
        self._require_size(request.new_size, field="new_size")
        if not 0 < request.old_size <= request.new_size:
            raise Malformed(
                "Consistency is proven from a size of at least 1 to one not below it.",
                field="old_size",
            )
        hashes = await self._read(
            lambda: self._store.consistency(request.old_size, request.new_size)
        )
        return log_pb2.ProveConsistencyResponse(hashes=hashes)

    async def prove_inclusion(
        self, caller: Caller, request: log_pb2.ProveInclusionRequest
    ) -> log_pb2.ProveInclusionResponse:
        return await self._read(lambda: self._prove(request))

    async def read_entries(
        self, caller: Caller, request: log_pb2.ReadEntriesRequest
    ) -> log_pb2.ReadEntriesResponse:
        return await self._read(lambda: self._entries(request))

    def _prove(self, request: log_pb2.ProveInclusionRequest) -> log_pb2.ProveInclusionResponse:
        head = self._store.head()
        if request.size:
            self._require_size(request.size, field="size")
            head = self._store.checkpoint_at_or_after(request.size)
        if request.index >= head.size:
            raise NotFound(
                f"The log has {head.size} entries; there is none at {request.index}.", field="index"
            )
        proven = self._store.prove((request.index,), head).entries[0]
        return log_pb2.ProveInclusionResponse(
            leaf_hash=leaf_hash(proven.body), hashes=proven.path, checkpoint=head.note
        )

    def _entries(self, request: log_pb2.ReadEntriesRequest) -> log_pb2.ReadEntriesResponse:
        response = log_pb2.ReadEntriesResponse(checkpoint=self._store.head().note)
        for stored in self._store.entries(request.from_index, request.limit):
            opening = entry_pb2.EntryOpening.FromString(stored.opening or b"")
            response.entries.add(entry=stored.body, opening=opening)
        return response

    def _require_size(self, size: int, *, field: str) -> None:
        if size > self._store.head().size:
            raise NotFound(
                f"The log has {self._store.head().size} entries, fewer than {size}.",
                field=field,
            )
