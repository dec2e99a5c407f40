"""comity.v1.ClearingService: what brands ask of clearing.

Each method reads: hear the caller's heads, verify what it shows, submit, answer in statements.
Callers are brands of the roster; the endpoint has seen to that.
"""

from __future__ import annotations

from clearing.answers import Statements, failure
from clearing.desk import Desk
from clearing.evidence import Evidence
from clearing.feed import Feed
from clearing.liveness import Liveness
from clearing.roster import Roster
from clearing.store import ClearingStore
from clearing.window_reports import window_statement
from comity.errors import ComityError, Forbidden
from comity.ledger.heads import HeadKeeper
from comity.ledger.runner import Runner
from comity.ledger.store import Head
from comity.rpc.caller import Caller
from comity.v1 import clearing_pb2 as pb
from comity.v1.common_pb2 import HeadExchange, Link


class ClearingService:
    """The use cases of brands."""

    def __init__(
        self,
        *,
        desk: Desk,
        evidence: Evidence,
        heads: HeadKeeper,
        roster: Roster,
        liveness: Liveness,
        feed: Feed,
        statements: Statements,
        store: ClearingStore,
        read: Runner,
    ) -> None:
        self._desk = desk
        self._evidence = evidence
        self._heads = heads
        self._roster = roster
        self._liveness = liveness
        self._feed = feed
        self._statements = statements
        self._store = store
        self._read = read

    async def claim(self, caller: Caller, request: pb.ClaimRequest) -> pb.ClaimResponse:
        """One decision for each item, or why there is none."""
        self._evidence.hear(caller.id, request.heads)
        claims = self._evidence.each(
            request.claims, lambda item: self._evidence.claim(caller.id, item)
        )
        outcomes = await self._desk.submit_read(claims)
        head, decided = await self._statements.decided(caller.id, outcomes)
        return pb.ClaimResponse(
            heads=self._mine(caller, head),
            results=[
                pb.ClaimResult(failure=failure(one))
                if isinstance(one, ComityError)
                else pb.ClaimResult(decided=one)
                for one in decided
            ],
        )

    async def report(self, caller: Caller, request: pb.ReportRequest) -> pb.ReportResponse:
        """Take note of deliveries; a result without a failure says that it is done."""
        self._evidence.hear(caller.id, request.heads)
        reports = self._evidence.each(
            request.deliveries, lambda statement: self._evidence.delivery(caller.id, statement)
        )
        outcomes = await self._desk.submit_read(reports)
        return pb.ReportResponse(
            heads=self._mine(caller),
            results=[
                pb.ReportResult(failure=failure(one))
                if isinstance(one, ComityError)
                else pb.ReportResult()
                for one in outcomes
            ],
        )

    async def resolve(self, caller: Caller, request: pb.ResolveRequest) -> pb.ResolveResponse:
        """The decisions on redemptions of the caller's, oldest first; nothing is decided here."""
        self._evidence.hear(caller.id, request.heads)
        keys = [(key.issuer, key.acceptor, key.redemption_id) for key in request.keys]
        for key in keys:
            if caller.id not in key[:2]:
                raise Forbidden("A redemption is shown to its two brands only.", field="keys")
        await self._desk.submit_all([])
        found = await self._read(lambda: self._store.decisions_on(keys))
        indices = [row["entry_index"] for rows in found.values() for row in rows]
        head, shown = await self._statements.show(caller.id, indices)
        return pb.ResolveResponse(
            heads=self._mine(caller, head),
            results=[
                pb.ResolveResult(
                    decisions=[shown[row["entry_index"]] for row in found.get(key, ())]
                )
                for key in keys
            ],
        )

    async def follow(self, caller: Caller, request: pb.FollowRequest) -> pb.FollowResponse:
        """A page of clearing's log; waits for news where there is none.

        Nothing relies on the heads it teaches: they are stored with the next batch, which is at
        the latest the one of the follower's next pulse.
        """
        self._evidence.hear_follower(caller.id, request.heads)
        page = await self._feed.page(
            caller.id,
            start=request.from_index,
            limit=request.limit,
            wait_s=request.wait_ms / 1_000,
        )
        self._liveness.require_whole()
        link = None
        if page.link:
            link = Link(from_size=request.from_index + len(page.entries), hashes=page.link)
        return pb.FollowResponse(
            heads=self._mine(caller, page.head),
            entries=page.entries,
            link=link,
            openings=page.openings,
        )

    async def register_agreement(
        self, caller: Caller, request: pb.RegisterAgreementRequest
    ) -> pb.RegisterAgreementResponse:
        """Put an agreement in force, or end it."""
        self._evidence.hear(caller.id, request.heads)
        self._liveness.require_someone()
        command = self._evidence.agreement(caller.id, request)
        answer = await self._desk.submit(command)
        return pb.RegisterAgreementResponse(
            heads=self._mine(caller), agreement=await self._statements.one(answer.body)
        )

    async def pulse(self, caller: Caller, request: pb.PulseRequest) -> pb.PulseResponse:
        """Exchange heads."""
        self._evidence.hear_follower(caller.id, request.heads)
        await self._desk.submit_all([])
        return pb.PulseResponse(heads=self._mine(caller))

    async def acknowledge(
        self, caller: Caller, request: pb.AcknowledgeRequest
    ) -> pb.AcknowledgeResponse:
        """Take note of an ACK or PROTEST."""
        self._evidence.hear(caller.id, request.heads)
        command = self._evidence.acknowledgement(caller.id, request.statement)
        await self._desk.submit(command)
        return pb.AcknowledgeResponse(heads=self._mine(caller))

    async def read_window(
        self, caller: Caller, request: pb.ReadWindowRequest
    ) -> pb.ReadWindowResponse:
        """The caller's own statement of one window."""
        return pb.ReadWindowResponse(
            statement=await window_statement(
                request.window,
                caller.id,
                store=self._store,
                statements=self._statements,
                read=self._read,
            )
        )

    def _mine(self, caller: Caller, head: Head | None = None) -> HeadExchange:
        return self._heads.mine(self._roster.member(caller.id).origin, head)
