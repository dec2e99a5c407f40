"""A log's public face, at any organisation: its head, tiles, proofs; entries for auditors."""

from __future__ import annotations

from collections.abc import Sequence

from comity.rpc.channel import Channel, stub
from comity.v1 import log_pb2 as pb
from comity.v1.log_pb2_grpc import LogServiceStub


class LogClient:
    """`LogService`. Nothing that is answered has been verified; `comity.log` does that."""

    def __init__(self, channel: Channel) -> None:
        self._stub = stub(LogServiceStub, channel)

    async def get_checkpoint(self) -> pb.GetCheckpointResponse:
        """The newest published checkpoint, with the log's origin, key and network."""
        return await self._stub.GetCheckpoint(pb.GetCheckpointRequest())

    async def get_tile(self, *, level: int, index: int, width: int = 0) -> bytes:
        """The hashes of a tile (C2SP tlog-tiles); a `width` of 0 means a full one."""
        request = pb.GetTileRequest(level=level, index=index, width=width)
        return (await self._stub.GetTile(request)).hashes

    async def prove_consistency(self, *, old_size: int, new_size: int) -> Sequence[bytes]:
        """That the log of `new_size` leaves begins with the log of `old_size`."""
        request = pb.ProveConsistencyRequest(old_size=old_size, new_size=new_size)
        return tuple((await self._stub.ProveConsistency(request)).hashes)

    async def prove_inclusion(self, *, index: int, size: int = 0) -> pb.ProveInclusionResponse:
        """That a leaf stands at `index` under a checkpoint of at least `size`; 0: the newest."""
        request = pb.ProveInclusionRequest(index=index, size=size)
        return await self._stub.ProveInclusion(request)

    async def read_entries(self, *, from_index: int, limit: int) -> pb.ReadEntriesResponse:
        """Entries with their openings. Auditors only."""
        request = pb.ReadEntriesRequest(from_index=from_index, limit=limit)
        return await self._stub.ReadEntries(request)
