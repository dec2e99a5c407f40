"""One valid request for every RPC, against a network in which everything has happened once.

`REQUESTS` is the table: the RPC, where it is called and by whom, and what to send. A write takes
effect when it is first sent; one which carries an id is answered alike when it is sent again.
"""

from __future__ import annotations

import secrets
from functools import partial
from typing import Any, Final

from google.protobuf import json_format
from google.protobuf.message import Message

import node.init
from cli.demo.network import free_ports
from comity.client.member import enrol_message
from comity.client.session import key_name
from comity.clock import DAY, system_clock
from comity.keys import SigningKey
from comity.rpc.tokens import challenge_message
from comity.v1 import (
    clearing_pb2,
    log_pb2,
    member_pb2,
    merchant_pb2,
    office_pb2,
    operator_pb2,
    peer_pb2,
    programme_pb2,
)
from comity.v1.entry_pb2 import PARTICIPANT_STATUS_ACTIVE
from comity.v1.merchant_pb2 import Purchase
from comity.wallet.pending import consent
from tests.e2e import crash_stage, rpc_office, rpc_programme
from tests.e2e.crash_stage import ACCEPTOR, CLEARING, ISSUER, REWARD
from tests.e2e.rpc_cast import OFFERED, PURCHASE, TO_END, Cast, an_offer, euro
from tests.e2e.rpc_key_requests import KEY_ROWS
from tests.e2e.rpc_row import Request, fixed, heads, proof, rows

# --- requests which take some making --------------------------------------------------------


def _enrolled(cast: Cast) -> Message:
    """Proof of a key that was enrolled, under an id that need not be the enrolment's."""
    signature = cast.key.sign(enrol_message(cast.origin(ISSUER), "enrolled"))
    return member_pb2.GetEnrolmentRequest(
        id="enrolled", public_key=cast.key.public.raw, signature=signature
    )


async def _open_session(cast: Cast) -> Message:
    name = key_name(cast.key)
    begin = log_pb2.BeginSessionRequest(key_id=name).SerializeToString()
    answer = await cast.callers.send(
        f"{ISSUER}/public", "anonymous", "comity.v1.SessionService/BeginSession", begin
    )
    challenge = log_pb2.BeginSessionResponse.FromString(answer).challenge
    signature = cast.key.sign(challenge_message(cast.origin(ISSUER), challenge))
    return log_pb2.OpenSessionRequest(key_id=name, challenge=challenge, signature=signature)


async def redeem(cast: Cast) -> member_pb2.RedeemRequest:
    """A redemption which nobody has asked for yet."""
    offer = await an_offer(cast.stage)
    return consent(offer, key=cast.key, max_points=offer.points, not_after_us=offer.expires_at_us)


async def _place_holds(cast: Cast) -> Message:
    asked = await redeem(cast)
    hold = peer_pb2.HoldRequest(quote=asked.quote, mandate=asked.mandate)
    return peer_pb2.PlaceHoldsRequest(heads=heads(), holds=[hold])


def _claim(cast: Cast) -> Message:
    """A hold and a pledge which are decided already, and the abort of what nobody began."""
    return clearing_pb2.ClaimRequest(
        heads=heads(),
        claims=[
            clearing_pb2.ClaimItem(
                hold=clearing_pb2.HoldClaim(hold=cast.statement(0), quote=cast.offer.quote)
            ),
            clearing_pb2.ClaimItem(
                pledge=clearing_pb2.PledgeClaim(pledge=cast.shown[ACCEPTOR, "pledge"])
            ),
            clearing_pb2.ClaimItem(
                abort=clearing_pb2.AbortClaim(
                    issuer=ISSUER,
                    acceptor=ACCEPTOR,
                    redemption_id=f"rdm_{secrets.token_hex(16)}",
                )
            ),
        ],
    )


def _admission(cast: Cast) -> Message:
    name = f"brand{secrets.token_hex(3)}"
    home, (peer, public) = cast.stage.network.folder / name, free_ports(2)
    node.init.init(
        home,
        network=cast.stage.network.name,
        participant=name,
        display_name=name,
        peer_address=f"127.0.0.1:{peer}",
        public_address=f"127.0.0.1:{public}",
        database_url="",
        programme=crash_stage.programme(name).encode(),
        clock=system_clock,
        random=secrets.token_bytes,
    )
    asked = json_format.Parse(
        (home / "request.json").read_text("utf-8"), operator_pb2.AdmitParticipantRequest()
    )
    asked.caps.append(euro(10))
    return asked


async def _window(cast: Cast, kind: type[Any], *, closed: bool) -> Message:
    """A request about the open window, or about the one before it."""
    number = await cast.stage.open_window()
    made: Message = kind(id=f"window-{secrets.token_hex(4)}", window=number - int(closed))
    return made


def _reward() -> member_pb2.Reward:
    return member_pb2.Reward(
        reward_id="plate",
        title="A plate",
        kind=member_pb2.REWARD_KIND_VOUCHER,
        price_points=50,
        retail=euro(60),
        stock=5,
        active=True,
    )


# --- the table ------------------------------------------------------------------------------

_LOG = rows(
    "LogService",
    f"{ISSUER}/public",
    log_pb2,
    ("GetCheckpoint", "anonymous", fixed(log_pb2.GetCheckpointRequest())),
    ("GetTile", "anonymous", fixed(log_pb2.GetTileRequest(width=1))),
    (
        "ProveConsistency",
        "anonymous",
        fixed(log_pb2.ProveConsistencyRequest(old_size=1, new_size=2)),
    ),
    ("ProveInclusion", "anonymous", fixed(log_pb2.ProveInclusionRequest(index=1, size=2))),
    ("ReadEntries", "auditor", fixed(log_pb2.ReadEntriesRequest(limit=2))),
)

_SESSION = rows(
    "SessionService",
    f"{ISSUER}/public",
    log_pb2,
    (
        "BeginSession",
        "anonymous",
        fixed(lambda cast: log_pb2.BeginSessionRequest(key_id=key_name(cast.key))),
    ),
    ("OpenSession", "anonymous", _open_session),
)

_MEMBER = rows(
    "MemberService",
    f"{ISSUER}/public",
    member_pb2,
    (
        "Enrol",
        "anonymous",
        fixed(
            lambda cast: proof(
                cast,
                member_pb2.EnrolRequest,
                profile=member_pb2.Profile(name="Ada", email="ada@example.org"),
            )
        ),
    ),
    ("GetEnrolment", "anonymous", fixed(_enrolled)),
    ("AddDevice", "member", fixed(lambda cast: proof(cast, member_pb2.AddDeviceRequest))),
    ("ListDevices", "member", fixed(member_pb2.ListDevicesRequest())),
    (
        "RevokeDevice",
        "member",
        fixed(
            lambda cast: member_pb2.RevokeDeviceRequest(
                id="revoke", key_id=key_name(cast.second_device)
            )
        ),
    ),
    ("GetBalance", "member", fixed(member_pb2.GetBalanceRequest())),
    ("ListLots", "member", fixed(member_pb2.ListLotsRequest(limit=5))),
    ("ListActivity", "member", fixed(member_pb2.ListActivityRequest(limit=5))),
    (
        "GetIssuerReceipt",
        "member",
        fixed(
            lambda cast: member_pb2.GetIssuerReceiptRequest(
                redemption_id=cast.redemption.redemption_id
            )
        ),
    ),
)

_RIGHTS = rows(
    "MemberService",
    f"{ISSUER}/public",
    member_pb2,
    (
        "ClaimPurchase",
        "member",
        fixed(
            lambda _: member_pb2.ClaimPurchaseRequest(
                id="claim",
                purchase_id="missed",
                amount=euro(140),
                occurred_at_us=system_clock() // DAY * DAY,
            )
        ),
    ),
    ("ListMyClaims", "member", fixed(member_pb2.ListMyClaimsRequest())),
    ("ExportMyData", "member", fixed(member_pb2.ExportMyDataRequest(cursor="devices/0"))),
)

_GUEST = rows(
    "MemberService",
    f"{ACCEPTOR}/public",
    member_pb2,
    ("ListRewards", "anonymous", fixed(member_pb2.ListRewardsRequest(limit=5))),
    (
        "GetQuote",
        "anonymous",
        fixed(member_pb2.GetQuoteRequest(issuer=ISSUER, reward_id=REWARD, quantity=1)),
    ),
    ("Redeem", "anonymous", redeem),
    (
        "GetRedemption",
        "anonymous",
        fixed(
            lambda cast: member_pb2.GetRedemptionRequest(
                redemption_id=cast.redemption.redemption_id, pickup_key=cast.offer.pickup_key
            )
        ),
    ),
)

_ISSUING = rows(
    "MerchantService",
    f"{ISSUER}/public",
    merchant_pb2,
    (
        "RecordPurchases",
        "till",
        fixed(
            lambda cast: merchant_pb2.RecordPurchasesRequest(
                purchases=[
                    Purchase(purchase_id="sale-one", account=cast.account, amount=euro(300)),
                    Purchase(purchase_id="sale-two", account=cast.account, amount=euro(400)),
                ]
            )
        ),
    ),
    (
        "RefundPurchase",
        "till",
        fixed(
            merchant_pb2.RefundPurchaseRequest(
                id="refund", purchase_id=PURCHASE, cumulative=euro(100)
            )
        ),
    ),
    (
        "AdjustPoints",
        "manager",
        fixed(
            lambda cast: merchant_pb2.AdjustPointsRequest(
                id="adjust", account=cast.account, points=5, reason_code="GOODWILL"
            )
        ),
    ),
    (
        "LockMember",
        "manager",
        fixed(
            lambda cast: merchant_pb2.LockMemberRequest(
                id="lock", account=cast.stranger, locked=True
            )
        ),
    ),
    (
        "EraseMember",
        "manager",
        fixed(lambda cast: merchant_pb2.EraseMemberRequest(id="erase", account=cast.leaving)),
    ),
    ("GetTotals", "manager", fixed(merchant_pb2.GetTotalsRequest())),
)

_ACCEPTING = rows(
    "MerchantService",
    f"{ACCEPTOR}/public",
    merchant_pb2,
    (
        "RecordPartnerPurchase",
        "till",
        fixed(
            lambda cast: merchant_pb2.RecordPartnerPurchaseRequest(
                purchase_id="partner-sale",
                issuer=ISSUER,
                account=cast.account,
                amount=euro(300),
            )
        ),
    ),
    (
        "RefundPartnerPurchase",
        "till",
        fixed(
            lambda cast: merchant_pb2.RefundPartnerPurchaseRequest(
                id="partner-refund",
                purchase_id=cast.stage.partner_sales[0],
                cumulative=euro(100),
            )
        ),
    ),
    (
        "CheckVoucher",
        "till",
        fixed(lambda cast: merchant_pb2.CheckVoucherRequest(code=cast.used)),
    ),
    (
        "UseVoucher",
        "till",
        fixed(lambda cast: merchant_pb2.UseVoucherRequest(id="use", code=cast.fresh)),
    ),
    (
        "ReverseRedemption",
        "till",
        fixed(
            lambda cast: merchant_pb2.ReverseRedemptionRequest(
                id="reverse",
                redemption_id=cast.redemption.redemption_id,
                reason_code="GOODS_RETURNED",
            )
        ),
    ),
    (
        "FindRedemption",
        "till",
        fixed(
            lambda cast: merchant_pb2.FindRedemptionRequest(
                redemption_id=cast.redemption.redemption_id
            )
        ),
    ),
    (
        "PutReward",
        "manager",
        fixed(merchant_pb2.PutRewardRequest(id="put-plate", reward=_reward())),
    ),
    (
        "SetStock",
        "manager",
        fixed(merchant_pb2.SetStockRequest(id="more", reward_id=REWARD, change=2)),
    ),
    (
        "AddStaffKey",
        "manager",
        fixed(
            merchant_pb2.AddStaffKeyRequest(
                id="till-two",
                role="till",
                name="till-two",
                public_key=SigningKey.generate(secrets.token_bytes).public.raw,
            )
        ),
    ),
    (
        "RemoveStaffKey",
        "manager",
        fixed(
            lambda cast: merchant_pb2.RemoveStaffKeyRequest(
                id="till-old", key_id=key_name(cast.departing)
            )
        ),
    ),
    (
        "ProposeAgreement",
        "manager",
        fixed(
            lambda _: merchant_pb2.ProposeAgreementRequest(
                id="propose",
                terms=crash_stage.terms("agr_proposed", issuer=ACCEPTOR, acceptor=ISSUER),
            )
        ),
    ),
    (
        "TerminateAgreement",
        "manager",
        fixed(merchant_pb2.TerminateAgreementRequest(id="end", agreement_id=TO_END, version=1)),
    ),
    (
        "AcceptAgreement",
        "manager",
        fixed(merchant_pb2.AcceptAgreementRequest(id="accept", agreement_id=OFFERED, version=1)),
    ),
    ("ListBrandAgreements", "manager", fixed(merchant_pb2.ListBrandAgreementsRequest())),
    ("ListRedemptions", "manager", fixed(merchant_pb2.ListRedemptionsRequest(limit=5))),
    ("GetWindowStatement", "manager", fixed(merchant_pb2.GetWindowStatementRequest(window=1))),
)

_PEER = rows(
    "PeerService",
    f"{ISSUER}/peer",
    peer_pb2,
    ("PlaceHolds", "brand", _place_holds),
    (
        "DeliverPledges",
        "brand",
        fixed(
            lambda cast: peer_pb2.DeliverPledgesRequest(
                heads=heads(),
                pledges=[
                    peer_pb2.PledgeNotice(
                        pledge=cast.shown[ACCEPTOR, "pledge"],
                        account=cast.account,
                        salt=cast.pledge_salt,
                    )
                ],
            )
        ),
    ),
    (
        "OfferAgreement",
        "brand",
        fixed(
            lambda cast: peer_pb2.OfferAgreementRequest(
                heads=heads(), statement=cast.shown[ACCEPTOR, "accept"]
            )
        ),
    ),
    (
        "ExchangeHeads",
        "brand",
        fixed(lambda _: peer_pb2.ExchangeHeadsRequest(heads=heads())),
    ),
    ("ReadBook", "clearing", fixed(peer_pb2.ReadBookRequest(from_seq=1, limit=5, block=2))),
    ("ReadMirror", "clearing", fixed(peer_pb2.ReadMirrorRequest(limit=5))),
)

_CLEARING = [
    *rows(
        "ClearingService",
        f"{CLEARING}/peer",
        clearing_pb2,
        ("Claim", ACCEPTOR, fixed(_claim)),
        (
            "Report",
            ACCEPTOR,
            fixed(
                lambda cast: clearing_pb2.ReportRequest(
                    heads=heads(), deliveries=[cast.statement(2)]
                )
            ),
        ),
        (
            "Resolve",
            ACCEPTOR,
            fixed(
                lambda cast: clearing_pb2.ResolveRequest(
                    heads=heads(),
                    keys=[
                        clearing_pb2.RedemptionKey(
                            issuer=ISSUER,
                            acceptor=ACCEPTOR,
                            redemption_id=cast.redemption.redemption_id,
                        )
                    ],
                )
            ),
        ),
        (
            "Follow",
            ACCEPTOR,
            fixed(lambda _: clearing_pb2.FollowRequest(heads=heads(), limit=3, wait_ms=1)),
        ),
        (
            "RegisterAgreement",
            ACCEPTOR,
            fixed(
                lambda cast: clearing_pb2.RegisterAgreementRequest(
                    heads=heads(),
                    propose=cast.shown[ISSUER, "propose"],
                    accept=cast.shown[ACCEPTOR, "accept"],
                )
            ),
        ),
        ("Pulse", ACCEPTOR, fixed(lambda _: clearing_pb2.PulseRequest(heads=heads()))),
        (
            "Acknowledge",
            ACCEPTOR,
            fixed(
                lambda cast: clearing_pb2.AcknowledgeRequest(
                    heads=heads(), statement=cast.shown[ACCEPTOR, "ack"]
                )
            ),
        ),
        ("ReadWindow", ACCEPTOR, fixed(clearing_pb2.ReadWindowRequest(window=1))),
    )
]

_OPERATOR = rows(
    "OperatorService",
    f"{CLEARING}/peer",
    operator_pb2,
    ("AdmitParticipant", "operator", fixed(_admission)),
    (
        "SetStanding",
        "operator",
        fixed(
            operator_pb2.SetStandingRequest(
                id="standing",
                participant=ISSUER,
                status=PARTICIPANT_STATUS_ACTIVE,
                reason="nothing is wrong",
            )
        ),
    ),
    (
        "SetCap",
        "operator",
        fixed(
            operator_pb2.SetCapRequest(
                id="cap", participant=ISSUER, net_debit_cap=euro(crash_stage.CAP_MINOR)
            )
        ),
    ),
    ("ListParticipants", "operator", fixed(operator_pb2.ListParticipantsRequest())),
    ("ListAgreements", "operator", fixed(operator_pb2.ListAgreementsRequest())),
    (
        "CloseWindow",
        "operator",
        partial(_window, kind=operator_pb2.CloseWindowRequest, closed=False),
    ),
    (
        "SettleWindow",
        "operator",
        partial(_window, kind=operator_pb2.SettleWindowRequest, closed=True),
    ),
    ("ListWindows", "operator", fixed(operator_pb2.ListWindowsRequest(limit=5))),
    ("ReconcileWindow", "operator", fixed(operator_pb2.ReconcileWindowRequest(window=1))),
    (
        "ReadParticipantWindow",
        "operator",
        fixed(operator_pb2.ReadParticipantWindowRequest(window=1, participant=ISSUER)),
    ),
    ("ListDecisions", "operator", fixed(operator_pb2.ListDecisionsRequest(limit=5))),
    *KEY_ROWS,
)

_OFFICE = (
    *rows("OfficeService", f"{ISSUER}/public", office_pb2, *rpc_office.AT_ISSUER),
    *rows("OfficeService", f"{ACCEPTOR}/public", office_pb2, *rpc_office.AT_ACCEPTOR),
)
_PAYMENTS = rows("MerchantService", f"{ISSUER}/public", merchant_pb2, *rpc_programme.PAYMENT_ROWS)
_PROGRAMME = rows("ProgrammeService", f"{ISSUER}/public", programme_pb2, *rpc_programme.ROWS)

REQUESTS: Final[tuple[Request, ...]] = (
    *_LOG,
    *_SESSION,
    *_MEMBER,
    *_RIGHTS,
    *_GUEST,
    *_ISSUING,
    *_ACCEPTING,
    *_OFFICE,
    *_PAYMENTS,
    *_PROGRAMME,
    *_PEER,
    *_CLEARING,
    *_OPERATOR,
)
