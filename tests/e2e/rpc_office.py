"""OfficeService in the table of requests: a valid one for every RPC."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from google.protobuf.message import Message

from comity.v1 import member_pb2, office_pb2
from tests.e2e.rpc_cast import Cast, euro
from tests.e2e.rpc_row import Row, fixed

Said = tuple[str, str, Message | Callable[[Cast], Message]]

HOOK: Final = "https://crm.example/loyalty"

_AT_ISSUER: Final[tuple[Said, ...]] = (
    (
        "CreateInvitations",
        "manager",
        office_pb2.CreateInvitationsRequest(id="invite", count=2, valid_days=7),
    ),
    ("ListInvitations", "manager", office_pb2.ListInvitationsRequest(limit=5)),
    (
        "RevokeInvitation",
        "manager",
        lambda cast: office_pb2.RevokeInvitationRequest(id="revoke", code=cast.office.invitation),
    ),
    (
        "ProposeAdjustment",
        "manager",
        lambda cast: office_pb2.ProposeAdjustmentRequest(
            id="propose-points", account=cast.account, points=5, reason_code="GOODWILL"
        ),
    ),
    (
        "ApproveAdjustment",
        "manager",
        lambda cast: office_pb2.ApproveAdjustmentRequest(
            id="approve-points", adjustment_id=cast.office.adjustments[0]
        ),
    ),
    (
        "RejectAdjustment",
        "manager",
        lambda cast: office_pb2.RejectAdjustmentRequest(
            id="reject-points", adjustment_id=cast.office.adjustments[1]
        ),
    ),
    ("ListAdjustments", "manager", office_pb2.ListAdjustmentsRequest(limit=5)),
    (
        "SetBurnFreeze",
        "manager",
        office_pb2.SetBurnFreezeRequest(id="lift", frozen=False, reason_code="DRILL"),
    ),
    ("GetBurnFreeze", "manager", office_pb2.GetBurnFreezeRequest()),
    ("ListClaims", "till", office_pb2.ListClaimsRequest(limit=5)),
    (
        "ConfirmClaim",
        "till",
        lambda cast: office_pb2.ConfirmClaimRequest(
            id="confirm", claim_id=cast.office.claims[0], amount=euro(120)
        ),
    ),
    (
        "RejectClaim",
        "till",
        lambda cast: office_pb2.RejectClaimRequest(
            id="reject", claim_id=cast.office.claims[1], reason_code="NO_SALE"
        ),
    ),
    (
        "ExportMember",
        "manager",
        lambda cast: office_pb2.ExportMemberRequest(account=cast.account, cursor="devices/0"),
    ),
    (
        "ImportMembers",
        "manager",
        office_pb2.ImportMembersRequest(
            members=[
                office_pb2.MemberImport(
                    reference="card-1",
                    profile=member_pb2.Profile(name="Ada", birth_date="1990-03-21", region="NL"),
                    points=10,
                )
            ]
        ),
    ),
    (
        "AddWebhook",
        "manager",
        office_pb2.AddWebhookRequest(
            id="webhook", name="crm", url=HOOK, kinds=["points", "marks"], from_index=0
        ),
    ),
    ("ListWebhooks", "manager", office_pb2.ListWebhooksRequest()),
    (
        "SetWebhook",
        "manager",
        office_pb2.SetWebhookRequest(id="pause", name="mail", paused=True, from_index=0),
    ),
    ("RotateWebhook", "manager", office_pb2.RotateWebhookRequest(id="rotate", name="mail")),
    ("RemoveWebhook", "manager", office_pb2.RemoveWebhookRequest(id="unhook", name="old")),
)

_AT_ACCEPTOR: Final[tuple[Said, ...]] = (
    ("ListApplications", "manager", office_pb2.ListApplicationsRequest(limit=5)),
    (
        "AdmitApplicant",
        "manager",
        lambda cast: office_pb2.AdmitApplicantRequest(
            id="admit", account=cast.office.applicants[0]
        ),
    ),
    (
        "RefuseApplicant",
        "manager",
        lambda cast: office_pb2.RefuseApplicantRequest(
            id="refuse", account=cast.office.applicants[1], reason_code="DOUBT"
        ),
    ),
    (
        "ConfirmPayment",
        "till",
        lambda cast: office_pb2.ConfirmPaymentRequest(
            id="fee-2",
            account=cast.office.applicants[2],
            amount=euro(500),
            reference="fee-2",
        ),
    ),
)


AT_ISSUER: Final[list[Row]] = [(name, who, fixed(said)) for name, who, said in _AT_ISSUER]
AT_ACCEPTOR: Final[list[Row]] = [(name, who, fixed(said)) for name, who, said in _AT_ACCEPTOR]
