"""OfficeService in the table of requests: a valid one for every RPC."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from google.protobuf.message import Message

from comity.v1 import office_pb2
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
