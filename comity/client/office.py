"""How managers operate a programme at their node, in a session of a manager's key.

Every write takes the caller's `id`: the same id and content are answered alike, for ever.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from comity.client.export import collected
from comity.client.paging import PAGE, walk
from comity.rpc.channel import Channel, stub
from comity.v1 import office_pb2 as pb
from comity.v1.common_pb2 import Money
from comity.v1.member_pb2 import ExportPage, PurchaseClaim
from comity.v1.office_pb2_grpc import OfficeServiceStub

# ruff: noqa: A002  an id is called id


class OfficeClient:
    """`OfficeService`."""

    def __init__(self, channel: Channel) -> None:
        self._stub = stub(OfficeServiceStub, channel)

    # Who joins.

    async def create_invitations(
        self, *, id: str, count: int = 1, valid_days: int = 30
    ) -> Sequence[str]:
        """Codes for one enrolment each."""
        request = pb.CreateInvitationsRequest(id=id, count=count, valid_days=valid_days)
        return (await self._stub.CreateInvitations(request)).codes

    def invitations(self, *, at_most: int | None = None) -> AsyncIterator[pb.Invitation]:
        """Every invitation that was made."""

        async def read(cursor: str) -> tuple[Sequence[pb.Invitation], str]:
            page = await self._stub.ListInvitations(
                pb.ListInvitationsRequest(limit=PAGE, cursor=cursor)
            )
            return page.invitations, page.next_cursor

        return walk(read, at_most=at_most)

    async def revoke_invitation(self, *, id: str, code: str) -> None:
        await self._stub.RevokeInvitation(pb.RevokeInvitationRequest(id=id, code=code))

    def applications(self, *, at_most: int | None = None) -> AsyncIterator[pb.Application]:
        """The enrolments that wait."""

        async def read(cursor: str) -> tuple[Sequence[pb.Application], str]:
            page = await self._stub.ListApplications(
                pb.ListApplicationsRequest(limit=PAGE, cursor=cursor)
            )
            return page.applications, page.next_cursor

        return walk(read, at_most=at_most)

    async def admit_applicant(self, *, id: str, account: str) -> None:
        await self._stub.AdmitApplicant(pb.AdmitApplicantRequest(id=id, account=account))

    async def refuse_applicant(self, *, id: str, account: str, reason_code: str) -> None:
        await self._stub.RefuseApplicant(
            pb.RefuseApplicantRequest(id=id, account=account, reason_code=reason_code)
        )

    async def confirm_payment(
        self, *, id: str, account: str, amount: Money, reference: str
    ) -> None:
        """The fee was taken: the applicant is a member."""
        await self._stub.ConfirmPayment(
            pb.ConfirmPaymentRequest(id=id, account=account, amount=amount, reference=reference)
        )

    # Points by hand, and spending.

    async def propose_adjustment(
        self, *, id: str, account: str, points: int, reason_code: str
    ) -> pb.ProposeAdjustmentResponse:
        """Give points or take them; above the programme's limit it waits for another manager."""
        return await self._stub.ProposeAdjustment(
            pb.ProposeAdjustmentRequest(
                id=id, account=account, points=points, reason_code=reason_code
            )
        )

    async def approve_adjustment(self, *, id: str, adjustment_id: str) -> int:
        """The second pair of eyes; answers the index of the entry."""
        request = pb.ApproveAdjustmentRequest(id=id, adjustment_id=adjustment_id)
        return (await self._stub.ApproveAdjustment(request)).index

    async def reject_adjustment(self, *, id: str, adjustment_id: str) -> None:
        request = pb.RejectAdjustmentRequest(id=id, adjustment_id=adjustment_id)
        await self._stub.RejectAdjustment(request)

    def adjustments(
        self, *, waiting: bool = False, at_most: int | None = None
    ) -> AsyncIterator[pb.PointsAdjustment]:
        """What was done by hand, or waits, the newest first."""

        async def read(cursor: str) -> tuple[Sequence[pb.PointsAdjustment], str]:
            page = await self._stub.ListAdjustments(
                pb.ListAdjustmentsRequest(limit=PAGE, cursor=cursor, waiting=waiting)
            )
            return page.adjustments, page.next_cursor

        return walk(read, at_most=at_most)

    async def set_burn_freeze(self, *, id: str, frozen: bool, reason_code: str) -> None:
        """Nobody spends, at once; or everybody may again."""
        await self._stub.SetBurnFreeze(
            pb.SetBurnFreezeRequest(id=id, frozen=frozen, reason_code=reason_code)
        )

    async def get_burn_freeze(self) -> pb.GetBurnFreezeResponse:
        return await self._stub.GetBurnFreeze(pb.GetBurnFreezeRequest())

    # Single members.

    def claims(self, *, at_most: int | None = None) -> AsyncIterator[PurchaseClaim]:
        """Missed purchases that wait to be compared with the brand's sales."""

        async def read(cursor: str) -> tuple[Sequence[PurchaseClaim], str]:
            page = await self._stub.ListClaims(pb.ListClaimsRequest(limit=PAGE, cursor=cursor))
            return page.claims, page.next_cursor

        return walk(read, at_most=at_most)

    async def confirm_claim(self, *, id: str, claim_id: str, amount: Money) -> int:
        """The purchase earns by this amount; answers the points."""
        request = pb.ConfirmClaimRequest(id=id, claim_id=claim_id, amount=amount)
        return (await self._stub.ConfirmClaim(request)).points

    async def reject_claim(self, *, id: str, claim_id: str, reason_code: str) -> None:
        await self._stub.RejectClaim(
            pb.RejectClaimRequest(id=id, claim_id=claim_id, reason_code=reason_code)
        )

    async def export_member(self, account: str) -> Mapping[str, list[Any]]:
        """Everything the brand holds on a member, by section."""

        async def read(cursor: str) -> ExportPage:
            request = pb.ExportMemberRequest(account=account, cursor=cursor)
            return (await self._stub.ExportMember(request)).page

        return await collected(read)

    async def import_members(
        self, members: Sequence[pb.MemberImport], *, timeout_s: float | None = None
    ) -> Sequence[pb.MemberImported]:
        """At most 1,024 members of an older programme; results in their order."""
        request = pb.ImportMembersRequest(members=members)
        return (await self._stub.ImportMembers(request, timeout=timeout_s)).results

    # Webhooks.

    async def add_webhook(
        self,
        *,
        id: str,
        name: str,
        url: str,
        kinds: Sequence[str] = (),
        from_index: int | None = None,
    ) -> pb.WebhookKeys:
        """Tell an endpoint of what changes, from an entry on or from now on; answers its keys."""
        request = pb.AddWebhookRequest(
            id=id, name=name, url=url, kinds=kinds, from_index=from_index
        )
        return (await self._stub.AddWebhook(request)).keys

    async def list_webhooks(self) -> Sequence[pb.Webhook]:
        """The endpoints, how far each has come, and what is wrong with it."""
        return (await self._stub.ListWebhooks(pb.ListWebhooksRequest())).webhooks

    async def set_webhook(
        self, *, id: str, name: str, paused: bool = False, from_index: int | None = None
    ) -> None:
        """Pause an endpoint, or start it again, perhaps from an earlier entry."""
        request = pb.SetWebhookRequest(id=id, name=name, paused=paused, from_index=from_index)
        await self._stub.SetWebhook(request)

    async def rotate_webhook(self, *, id: str, name: str) -> pb.WebhookKeys:
        """New keys; the old ones sign beside them for another day."""
        return (await self._stub.RotateWebhook(pb.RotateWebhookRequest(id=id, name=name))).keys

    async def remove_webhook(self, *, id: str, name: str) -> None:
        await self._stub.RemoveWebhook(pb.RemoveWebhookRequest(id=id, name=name))
