"""comity.v1.ProgrammeService: the programme at work, for tills, managers and members.

Nothing is decided here: requests become commands or reads.
"""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection

from comity.clock import Clock
from comity.errors import ComityError, NotFound
from comity.ledger.command import Outcome
from comity.ledger.queue import CommandQueue
from comity.ledger.rows import Rows
from comity.ledger.runner import Runner
from comity.rpc.caller import Caller
from comity.v1 import common_pb2
from comity.v1 import programme_pb2 as pb
from node.book import Rules
from node.commands import ConvertPoints, PublishProgramme, RecordEvent, SetMark
from node.event_tables import earnings, events
from node.events import attributes_of
from node.member_service import session_key
from node.programme import read_programme
from node.status import status
from node.store import NodeStore
from node.tables import programmes


class ProgrammeService:
    """One method for each RPC."""

    def __init__(
        self,
        *,
        rules: Rules,
        store: NodeStore,
        queue: CommandQueue,
        read: Runner,
        clock: Clock,
    ) -> None:
        self._rules = rules
        self._store = store
        self._queue = queue
        self._read = read
        self._clock = clock

    # --- tills ------------------------------------------------------------------------

    async def record_events(
        self, caller: Caller, request: pb.RecordEventsRequest
    ) -> pb.RecordEventsResponse:
        commands = [
            RecordEvent(
                event_id=one.event_id,
                account=one.account,
                type=one.type,
                occurred_at_us=one.occurred_at_us,
                attributes=attributes_of(one.attributes),
            )
            for one in request.events
        ]
        outcomes = await self._queue.submit_all(commands)
        return pb.RecordEventsResponse(results=[_event_result(one) for one in outcomes])

    # --- managers ---------------------------------------------------------------------

    async def give_mark(self, caller: Caller, request: pb.GiveMarkRequest) -> pb.GiveMarkResponse:
        answer = await self._queue.submit(_mark(caller, request, given=True))
        return pb.GiveMarkResponse.FromString(answer.body)

    async def take_mark(self, caller: Caller, request: pb.TakeMarkRequest) -> pb.TakeMarkResponse:
        answer = await self._queue.submit(_mark(caller, request, given=False))
        return pb.TakeMarkResponse.FromString(answer.body)

    async def explain_event(
        self, caller: Caller, request: pb.ExplainEventRequest
    ) -> pb.ExplainEventResponse:
        return await self._read(lambda: self._explained(request.event_id))

    async def publish_programme(
        self, caller: Caller, request: pb.PublishProgrammeRequest
    ) -> pb.PublishProgrammeResponse:
        # Refused here, or a bad file would spoil a whole batch.
        found = read_programme(request.file)
        command = PublishProgramme(
            caller=caller.name,
            id=request.id,
            version=found.programme.version,
            file=request.file,
            effective_at_us=request.effective_at_us,
            without_notice=request.without_notice,
        )
        answer = await self._queue.submit(command)
        return pb.PublishProgrammeResponse.FromString(answer.body)

    async def list_programmes(
        self, caller: Caller, request: pb.ListProgrammesRequest
    ) -> pb.ListProgrammesResponse:
        return await self._read(self._listed)

    # --- members ----------------------------------------------------------------------

    async def get_status(
        self, caller: Caller, request: pb.GetStatusRequest
    ) -> pb.GetStatusResponse:
        return await self._read(lambda: self._status(caller))

    async def convert_points(
        self, caller: Caller, request: pb.ConvertPointsRequest
    ) -> pb.ConvertPointsResponse:
        command = ConvertPoints(
            caller=caller.name,
            id=request.id,
            account=caller.id,
            acting_key=session_key(caller),
            conversion=request.conversion,
            points=request.points,
        )
        answer = await self._queue.submit(command)
        return pb.ConvertPointsResponse.FromString(answer.body)

    # --- reading ----------------------------------------------------------------------

    def _now(self, connection: Connection) -> tuple[Rules, Rows]:
        """The rules in force now, and rows to read with."""
        rows = Rows(connection, self._store.ledger, now_us=self._clock())
        if self._rules.versions is None:
            return self._rules, rows
        self._rules.versions.refresh(rows)
        programme = self._rules.versions.at(rows.now_us)
        if programme is not self._rules.programme:
            self._rules = replace(self._rules, programme=programme)
        return self._rules, rows

    def _status(self, caller: Caller) -> pb.GetStatusResponse:
        with self._store.member(caller.id, device=session_key(caller)) as connection:
            rules, rows = self._now(connection)
            return status(rules, rows, caller.id)

    def _explained(self, event_id: str) -> pb.ExplainEventResponse:
        with self._store.engine.connect() as connection:
            rows = Rows(connection, self._store.ledger)
            rows.load(events, [(event_id,)])
            rows.load_where(earnings, "event_id", [event_id])
            row, found = (
                rows.get(events, (event_id,)),
                rows.find(earnings, "event_id", event_id),
            )
        if row is None:
            raise NotFound(f"There is no event {event_id} here.", field="event_id")
        answer = pb.ExplainEventResponse(
            event_id=event_id,
            account=row["account"],
            type=row["type"],
            occurred_at_us=row["at_us"],
            recorded_at_us=row["recorded_at_us"],
            programme_version=row["programme_version"],
            refunded_minor=row["refunded_minor"],
            details=pb.EventDetails.FromString(row["details"]),
        )
        if row["currency"]:
            answer.amount.currency, answer.amount.minor = row["currency"], row["amount_minor"]
        for one in sorted(found, key=lambda earning: int(earning["place"])):
            answer.earnings.add(
                rule=one["rule"],
                unit=one["unit"],
                points=one["points"],
                reversed_points=one["reversed_points"],
                source=one["source"],
                funded_by=one["funded_by"],
            )
        return answer

    def _listed(self) -> pb.ListProgrammesResponse:
        index = programmes.c["index"]
        with self._store.engine.connect() as connection:
            rules, rows = self._now(connection)
            found = rows.load_query(programmes, index >= 0, order_by=(index,))
        answer = pb.ListProgrammesResponse(current=rules.programme.version)
        for row in found:
            answer.programmes.add(**row)
        return answer


def _mark(
    caller: Caller, request: pb.GiveMarkRequest | pb.TakeMarkRequest, *, given: bool
) -> SetMark:
    return SetMark(
        caller=caller.name,
        id=request.id,
        account=request.account,
        kind=int(request.kind),
        name=request.name,
        given=given,
        reason_code=request.reason_code,
    )


def _event_result(outcome: Outcome) -> pb.EventResult:
    if isinstance(outcome, ComityError):
        failure = common_pb2.Failure(
            code=outcome.code,
            message=outcome.message,
            field=outcome.field,
            metadata=outcome.metadata,
        )
        return pb.EventResult(failure=failure)
    return pb.EventResult.FromString(outcome.body)
