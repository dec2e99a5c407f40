"""What the clearing operator's staff do, over mutual TLS with an operator certificate.

Every write takes the caller's `id`: the same id and content are answered alike, for ever.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final

from comity.client.paging import walk
from comity.rpc.channel import Channel, stub
from comity.v1 import operator_pb2 as pb
from comity.v1.clearing_pb2 import WindowStatement
from comity.v1.common_pb2 import AgreementTerms, Money, Statement
from comity.v1.entry_pb2 import ParticipantStatus
from comity.v1.operator_pb2_grpc import OperatorServiceStub

# ruff: noqa: A002  an id is called id

WORK_TIMEOUT_S: Final = 120.0
"""For settling and reconciling, which read whole windows."""


class OperatorClient:
    """`OperatorService`."""

    def __init__(self, channel: Channel) -> None:
        self._stub = stub(OperatorServiceStub, channel)

    async def admit_participant(
        self, request: pb.AdmitParticipantRequest
    ) -> pb.AdmitParticipantResponse:
        """Admit the brand whose node made this request; answers its certificate."""
        return await self._stub.AdmitParticipant(request)

    async def admit_auditor(self, *, id: str, auditor: str, public_key: bytes) -> str:
        """Answers the key id the auditor opens sessions with."""
        request = pb.AdmitAuditorRequest(id=id, auditor=auditor, public_key=public_key)
        return (await self._stub.AdmitAuditor(request)).key_id

    async def rotate_participant_key(
        self, request: pb.RotateParticipantKeyRequest
    ) -> pb.RotateParticipantKeyResponse:
        """Exchange the log key of the brand whose node made this request."""
        return await self._stub.RotateParticipantKey(request)

    async def revoke_participant(self, *, id: str, participant: str, reason: str) -> Statement:
        """End a brand's part in the network, for good."""
        request = pb.RevokeParticipantRequest(id=id, participant=participant, reason=reason)
        return (await self._stub.RevokeParticipant(request)).revoke

    async def revoke_auditor(self, *, id: str, key_id: str) -> None:
        """End an auditor's key, and its sessions."""
        await self._stub.RevokeAuditor(pb.RevokeAuditorRequest(id=id, key_id=key_id))

    async def set_standing(
        self, *, id: str, participant: str, status: ParticipantStatus.ValueType, reason: str
    ) -> Statement:
        request = pb.SetStandingRequest(
            id=id, participant=participant, status=status, reason=reason
        )
        return (await self._stub.SetStanding(request)).standing

    async def set_cap(self, *, id: str, participant: str, net_debit_cap: Money) -> Statement:
        """How far below zero the participant's position may go."""
        request = pb.SetCapRequest(id=id, participant=participant, net_debit_cap=net_debit_cap)
        return (await self._stub.SetCap(request)).cap

    async def list_participants(self) -> Sequence[pb.Participant]:
        return (await self._stub.ListParticipants(pb.ListParticipantsRequest())).participants

    async def list_agreements(self) -> Sequence[AgreementTerms]:
        return (await self._stub.ListAgreements(pb.ListAgreementsRequest())).agreements

    async def close_window(self, *, id: str, window: int) -> pb.CloseWindowResponse:
        return await self._stub.CloseWindow(pb.CloseWindowRequest(id=id, window=window))

    async def settle_window(self, *, id: str, window: int) -> pb.SettleWindowResponse:
        request = pb.SettleWindowRequest(id=id, window=window)
        return await self._stub.SettleWindow(request, timeout=WORK_TIMEOUT_S)

    async def list_windows(
        self, *, limit: int = 100, before: int = 0
    ) -> Sequence[pb.WindowSummary]:
        """Newest first; `before` continues below that number."""
        request = pb.ListWindowsRequest(limit=limit, before=before)
        return (await self._stub.ListWindows(request)).windows

    async def reconcile_window(self, window: int) -> pb.ReconcileWindowResponse:
        """Compares the books of both brands and clearing."""
        request = pb.ReconcileWindowRequest(window=window)
        return await self._stub.ReconcileWindow(request, timeout=WORK_TIMEOUT_S)

    async def read_participant_window(self, *, window: int, participant: str) -> WindowStatement:
        request = pb.ReadParticipantWindowRequest(window=window, participant=participant)
        return (await self._stub.ReadParticipantWindow(request)).statement

    async def list_decisions(self, *, from_index: int, limit: int) -> pb.ListDecisionsResponse:
        request = pb.ListDecisionsRequest(from_index=from_index, limit=limit)
        return await self._stub.ListDecisions(request)

    def decisions(
        self, *, from_index: int = 0, at_most: int | None = None
    ) -> AsyncIterator[pb.ListedDecision]:
        """Decisions from an index of the log on, oldest first."""

        async def read(cursor: str) -> tuple[Sequence[pb.ListedDecision], str]:
            start = int(cursor) if cursor else from_index
            page = await self.list_decisions(from_index=start, limit=1_000)
            ended = not page.decisions or page.next_index <= start
            return page.decisions, "" if ended else str(page.next_index)

        return walk(read, at_most=at_most)
