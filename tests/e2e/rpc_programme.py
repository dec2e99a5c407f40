"""ProgrammeService in the table of requests: a valid one for every RPC; and points that pay."""

from __future__ import annotations

from typing import Final

from comity.client.programme import event
from comity.v1 import merchant_pb2, programme_pb2
from comity.v1.entry_pb2 import MARK_KIND_BADGE
from tests.e2e import crash_programme, crash_stage
from tests.e2e.crash_stage import ISSUER
from tests.e2e.rpc_cast import PURCHASE, euro
from tests.e2e.rpc_row import Row, fixed

ROWS: Final[tuple[Row, ...]] = (
    (
        "RecordEvents",
        "till",
        fixed(
            lambda cast: programme_pb2.RecordEventsRequest(
                events=[event("signed-in", cast.account, "sign_in")]
            )
        ),
    ),
    (
        "GiveMark",
        "manager",
        fixed(
            lambda cast: programme_pb2.GiveMarkRequest(
                id="give",
                account=cast.account,
                kind=MARK_KIND_BADGE,
                name="founder",
                reason_code="THANKS",
            )
        ),
    ),
    (
        "TakeMark",
        "manager",
        fixed(
            lambda cast: programme_pb2.TakeMarkRequest(
                id="take",
                account=cast.stranger,
                kind=MARK_KIND_BADGE,
                name="founder",
                reason_code="MISTAKE",
            )
        ),
    ),
    ("ExplainEvent", "manager", fixed(programme_pb2.ExplainEventRequest(event_id=PURCHASE))),
    (
        "PublishProgramme",
        "manager",
        fixed(
            programme_pb2.PublishProgrammeRequest(
                id="publish", file=crash_stage.programme(ISSUER, 900).encode()
            )
        ),
    ),
    ("ListProgrammes", "till", fixed(programme_pb2.ListProgrammesRequest())),
    ("GetStatus", "member", fixed(programme_pb2.GetStatusRequest())),
    (
        "ConvertPoints",
        "member",
        fixed(
            programme_pb2.ConvertPointsRequest(
                id="convert", conversion="tokens-to-points", points=1
            )
        ),
    ),
)

PAYMENT_ROWS: Final[tuple[Row, ...]] = (
    (
        "PayWithPoints",
        "till",
        fixed(
            lambda cast: merchant_pb2.PayWithPointsRequest(
                id="pay", account=cast.account, order_id="order-one", amount=euro(9), points=5
            )
        ),
    ),
    (
        "RefundPayment",
        "till",
        fixed(
            merchant_pb2.RefundPaymentRequest(
                id="pay-refund", order_id=crash_programme.ORDER, cumulative=euro(30)
            )
        ),
    ),
)
"""Rows of MerchantService."""
