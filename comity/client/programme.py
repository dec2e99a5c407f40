"""A brand's programme at work: what happens, what it earned, where members stand.

Till, manager and member each call what is theirs, in a session of their key. Every write takes
the caller's `id`: the same id and content are answered alike, for ever.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from comity.rpc.channel import Channel, stub
from comity.v1 import programme_pb2 as pb
from comity.v1.entry_pb2 import MarkKind
from comity.v1.programme_pb2_grpc import ProgrammeServiceStub

# ruff: noqa: A002  an id is called id


def event(
    event_id: str,
    account: str,
    type: str,
    *,
    occurred_at_us: int = 0,
    attributes: Mapping[str, str | int | bool] | None = None,
) -> pb.Event:
    """An event as it is reported; the type of each attribute is that of its value."""
    found = pb.Event(event_id=event_id, account=account, type=type, occurred_at_us=occurred_at_us)
    for name, value in (attributes or {}).items():
        if isinstance(value, bool):
            found.attributes.add(name=name, truth=value)
        elif isinstance(value, int):
            found.attributes.add(name=name, number=value)
        else:
            found.attributes.add(name=name, text=value)
    return found


class ProgrammeClient:
    """`ProgrammeService`."""

    def __init__(self, channel: Channel) -> None:
        self._stub = stub(ProgrammeServiceStub, channel)

    # Tills and managers.

    async def record_events(self, events: Sequence[pb.Event]) -> Sequence[pb.EventResult]:
        """What each event earned, or why it was not taken, in their order."""
        return (await self._stub.RecordEvents(pb.RecordEventsRequest(events=events))).results

    async def give_mark(
        self, *, id: str, account: str, kind: MarkKind.ValueType, name: str, reason_code: str
    ) -> None:
        """A badge, title or tag by hand."""
        await self._stub.GiveMark(
            pb.GiveMarkRequest(
                id=id, account=account, kind=kind, name=name, reason_code=reason_code
            )
        )

    async def take_mark(
        self, *, id: str, account: str, kind: MarkKind.ValueType, name: str, reason_code: str
    ) -> None:
        await self._stub.TakeMark(
            pb.TakeMarkRequest(
                id=id, account=account, kind=kind, name=name, reason_code=reason_code
            )
        )

    async def explain_event(self, event_id: str) -> pb.ExplainEventResponse:
        """Why an event or a purchase earned, or did not."""
        return await self._stub.ExplainEvent(pb.ExplainEventRequest(event_id=event_id))

    async def publish(
        self, *, id: str, file: bytes, effective_at_us: int = 0, without_notice: bool = False
    ) -> pb.PublishProgrammeResponse:
        """A new version of the programme, in force from a time on; 0 is now."""
        return await self._stub.PublishProgramme(
            pb.PublishProgrammeRequest(
                id=id,
                file=file,
                effective_at_us=effective_at_us,
                without_notice=without_notice,
            )
        )

    async def programmes(self) -> pb.ListProgrammesResponse:
        """Every version there is, the oldest first."""
        return await self._stub.ListProgrammes(pb.ListProgrammesRequest())

    # Members.

    async def status(self) -> pb.GetStatusResponse:
        """Level, marks, tasks, what is missing, what expires."""
        return await self._stub.GetStatus(pb.GetStatusRequest())

    async def convert(self, *, id: str, conversion: str, points: int) -> int:
        """Turn points of one unit into another; returns how many they became."""
        request = pb.ConvertPointsRequest(id=id, conversion=conversion, points=points)
        return (await self._stub.ConvertPoints(request)).into_points
