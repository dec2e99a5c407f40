"""One valid request for every RPC, against a network in which everything has happened once.

`REQUESTS` is the table: the RPC, where it is called and by whom, and what to send. A write takes
effect when it is first sent; one which carries an id is answered alike when it is sent again.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from google.protobuf import json_format
from google.protobuf.message import Message

import node.init
from cli.demo.network import free_ports
from comity.client.member import enrol_message
from comity.client.session import key_name
from comity.clock import system_clock
from comity.keys import SigningKey
from comity.rpc.tokens import challenge_message
from comity.v1 import (
    clearing_pb2,
    log_pb2,
    member_pb2,
    merchant_pb2,
    operator_pb2,
    peer_pb2,
)
from comity.v1.common_pb2 import HeadExchange
from comity.v1.entry_pb2 import PARTICIPANT_STATUS_ACTIVE
from comity.v1.merchant_pb2 import Purchase
from comity.wallet.pending import consent
from tests.e2e import crash_stage
from tests.e2e.crash_stage import ACCEPTOR, CLEARING, ISSUER, REWARD
from tests.e2e.rpc_cast import OFFERED, PURCHASE, TO_END, Cast, an_offer, euro

Build = Callable[[Cast], Awaitable[Message]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A row of the table. `place` and `who` are as in `tests.e2e.rpc_callers`."""

    rpc: str
    place: str
    who: str
    build: Build
    answer: type[Message]

    @property
    def name(self) -> str:
        return self.rpc.rpartition(".")[2]


# --- requests which take some making --------------------------------------------------------


def heads() -> HeadExchange:
    """The least that one organisation can tell another: the time."""
    return HeadExchange(now_us=system_clock())


def _fixed(message: Message | Callable[[Cast], Message]) -> Build:
    async def build(cast: Cast) -> Message:
        made = message(cast) if callable(message) else message
        copy = type(made)()
        copy.CopyFrom(made)
        return copy

    return build


def _proof(cast: Cast, kind: type[Any], **more: Any) -> Message:
    key, name = SigningKey.generate(secrets.token_bytes), f"key-{secrets.token_hex(8)}"
    signature = key.sign(enrol_message(cast.origin(ISSUER), name))
    made: Message = kind(id=name, public_key=key.public.raw, signature=signature, **more)
    return made


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

Row = tuple[str, str, Build]
"""The RPC's name, who calls it, and what is sent."""


def _rows(service: str, place: str, module: Any, *rows: Row) -> list[Request]:
    return [
        Request(
            rpc=f"comity.v1.{service}/{name}",
            place=place,
            who=who,
            build=build,
            answer=getattr(module, f"{name}Response"),
        )
        for name, who, build in rows
    ]


_LOG = _rows(
    "LogService",
    f"{ISSUER}/public",
    log_pb2,
    ("GetCheckpoint", "anonymous", _fixed(log_pb2.GetCheckpointRequest())),
    ("GetTile", "anonymous", _fixed(log_pb2.GetTileRequest(width=1))),
    (
        "ProveConsistency",
        "anonymous",
        _fixed(log_pb2.ProveConsistencyRequest(old_size=1, new_size=2)),
    ),
    ("ProveInclusion", "anonymous", _fixed(log_pb2.ProveInclusionRequest(index=1, size=2))),
    ("ReadEntries", "auditor", _fixed(log_pb2.ReadEntriesRequest(limit=2))),
)

_SESSION = _rows(
    "SessionService",
    f"{ISSUER}/public",
    log_pb2,
    (
        "BeginSession",
        "anonymous",
        _fixed(lambda cast: log_pb2.BeginSessionRequest(key_id=key_name(cast.key))),
    ),
    ("OpenSession", "anonymous", _open_session),
)

_MEMBER = _rows(
    "MemberService",
    f"{ISSUER}/public",
    member_pb2,
    (
        "Enrol",
        "anonymous",
        _fixed(
            lambda cast: _proof(
                cast,
                member_pb2.EnrolRequest,
                profile=member_pb2.Profile(name="Ada", email="ada@example.org"),
            )
        ),
    ),
    ("AddDevice", "member", _fixed(lambda cast: _proof(cast, member_pb2.AddDeviceRequest))),
    ("ListDevices", "member", _fixed(member_pb2.ListDevicesRequest())),
    (
        "RevokeDevice",
        "member",
        _fixed(
            lambda cast: member_pb2.RevokeDeviceRequest(
                id="revoke", key_id=key_name(cast.second_device)
            )
        ),
    ),
    ("GetBalance", "member", _fixed(member_pb2.GetBalanceRequest())),
    ("ListLots", "member", _fixed(member_pb2.ListLotsRequest(limit=5))),
    ("ListActivity", "member", _fixed(member_pb2.ListActivityRequest(limit=5))),
    (
        "GetIssuerReceipt",
        "member",
        _fixed(
            lambda cast: member_pb2.GetIssuerReceiptRequest(
                redemption_id=cast.redemption.redemption_id
            )
        ),
    ),
)

_GUEST = _rows(
    "MemberService",
    f"{ACCEPTOR}/public",
    member_pb2,
    ("ListRewards", "anonymous", _fixed(member_pb2.ListRewardsRequest(limit=5))),
    (
        "GetQuote",
        "anonymous",
        _fixed(member_pb2.GetQuoteRequest(issuer=ISSUER, reward_id=REWARD, quantity=1)),
    ),
    ("Redeem", "anonymous", redeem),
    (
        "GetRedemption",
        "anonymous",
        _fixed(
            lambda cast: member_pb2.GetRedemptionRequest(
                redemption_id=cast.redemption.redemption_id, pickup_key=cast.offer.pickup_key
            )
        ),
    ),
)

_ISSUING = _rows(
    "MerchantService",
    f"{ISSUER}/public",
    merchant_pb2,
    (
        "RecordPurchases",
        "till",
        _fixed(
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
        _fixed(
            merchant_pb2.RefundPurchaseRequest(
                id="refund", purchase_id=PURCHASE, cumulative=euro(100)
            )
        ),
    ),
    (
        "AdjustPoints",
        "manager",
        _fixed(
            lambda cast: merchant_pb2.AdjustPointsRequest(
                id="adjust", account=cast.account, points=5, reason_code="GOODWILL"
            )
        ),
    ),
    (
        "LockMember",
        "manager",
        _fixed(
            lambda cast: merchant_pb2.LockMemberRequest(
                id="lock", account=cast.stranger, locked=True
            )
        ),
    ),
    (
        "EraseMember",
        "manager",
        _fixed(lambda cast: merchant_pb2.EraseMemberRequest(id="erase", account=cast.leaving)),
    ),
    ("GetTotals", "manager", _fixed(merchant_pb2.GetTotalsRequest())),
)

_ACCEPTING = _rows(
    "MerchantService",
    f"{ACCEPTOR}/public",
    merchant_pb2,
    (
        "RecordPartnerPurchase",
        "till",
        _fixed(
            lambda cast: merchant_pb2.RecordPartnerPurchaseRequest(
                purchase_id="partner-sale",
                issuer=ISSUER,
                account=cast.account,
                amount=euro(300),
            )
        ),
    ),
    (
        "CheckVoucher",
        "till",
        _fixed(lambda cast: merchant_pb2.CheckVoucherRequest(code=cast.used)),
    ),
    (
        "UseVoucher",
        "till",
        _fixed(lambda cast: merchant_pb2.UseVoucherRequest(id="use", code=cast.fresh)),
    ),
    (
        "ReverseRedemption",
        "till",
        _fixed(
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
        _fixed(
            lambda cast: merchant_pb2.FindRedemptionRequest(
                redemption_id=cast.redemption.redemption_id
            )
        ),
    ),
    (
        "PutReward",
        "manager",
        _fixed(merchant_pb2.PutRewardRequest(id="put-plate", reward=_reward())),
    ),
    (
        "SetStock",
        "manager",
        _fixed(merchant_pb2.SetStockRequest(id="more", reward_id=REWARD, change=2)),
    ),
    (
        "AddStaffKey",
        "manager",
        _fixed(
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
        _fixed(
            lambda cast: merchant_pb2.RemoveStaffKeyRequest(
                id="till-old", key_id=key_name(cast.departing)
            )
        ),
    ),
    (
        "ProposeAgreement",
        "manager",
        _fixed(
            lambda _: merchant_pb2.ProposeAgreementRequest(
                id="propose",
                terms=crash_stage.terms("agr_proposed", issuer=ACCEPTOR, acceptor=ISSUER),
            )
        ),
    ),
    (
        "TerminateAgreement",
        "manager",
        _fixed(merchant_pb2.TerminateAgreementRequest(id="end", agreement_id=TO_END, version=1)),
    ),
    (
        "AcceptAgreement",
        "manager",
        _fixed(merchant_pb2.AcceptAgreementRequest(id="accept", agreement_id=OFFERED, version=1)),
    ),
    ("ListBrandAgreements", "manager", _fixed(merchant_pb2.ListBrandAgreementsRequest())),
    ("ListRedemptions", "manager", _fixed(merchant_pb2.ListRedemptionsRequest(limit=5))),
    ("GetWindowStatement", "manager", _fixed(merchant_pb2.GetWindowStatementRequest(window=1))),
)

_PEER = _rows(
    "PeerService",
    f"{ISSUER}/peer",
    peer_pb2,
    ("PlaceHolds", "brand", _place_holds),
    (
        "DeliverPledges",
        "brand",
        _fixed(
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
        _fixed(
            lambda cast: peer_pb2.OfferAgreementRequest(
                heads=heads(), statement=cast.shown[ACCEPTOR, "accept"]
            )
        ),
    ),
    (
        "ExchangeHeads",
        "brand",
        _fixed(lambda _: peer_pb2.ExchangeHeadsRequest(heads=heads())),
    ),
    ("ReadBook", "clearing", _fixed(peer_pb2.ReadBookRequest(from_seq=1, limit=5, block=2))),
    ("ReadMirror", "clearing", _fixed(peer_pb2.ReadMirrorRequest(limit=5))),
)

_CLEARING = [
    *_rows(
        "ClearingService",
        f"{CLEARING}/peer",
        clearing_pb2,
        ("Claim", ACCEPTOR, _fixed(_claim)),
        (
            "Report",
            ACCEPTOR,
            _fixed(
                lambda cast: clearing_pb2.ReportRequest(
                    heads=heads(), deliveries=[cast.statement(2)]
                )
            ),
        ),
        (
            "Resolve",
            ACCEPTOR,
            _fixed(
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
            _fixed(lambda _: clearing_pb2.FollowRequest(heads=heads(), limit=3, wait_ms=1)),
        ),
        (
            "RegisterAgreement",
            ACCEPTOR,
            _fixed(
                lambda cast: clearing_pb2.RegisterAgreementRequest(
                    heads=heads(),
                    propose=cast.shown[ISSUER, "propose"],
                    accept=cast.shown[ACCEPTOR, "accept"],
                )
            ),
        ),
        ("Pulse", ACCEPTOR, _fixed(lambda _: clearing_pb2.PulseRequest(heads=heads()))),
        (
            "Acknowledge",
            ACCEPTOR,
            _fixed(
                lambda cast: clearing_pb2.AcknowledgeRequest(
                    heads=heads(), statement=cast.shown[ACCEPTOR, "ack"]
                )
            ),
        ),
        ("ReadWindow", ACCEPTOR, _fixed(clearing_pb2.ReadWindowRequest(window=1))),
    )
]

_OPERATOR = _rows(
    "OperatorService",
    f"{CLEARING}/peer",
    operator_pb2,
    ("AdmitParticipant", "operator", _fixed(_admission)),
    (
        "SetStanding",
        "operator",
        _fixed(
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
        _fixed(
            operator_pb2.SetCapRequest(
                id="cap", participant=ISSUER, net_debit_cap=euro(crash_stage.CAP_MINOR)
            )
        ),
    ),
    ("ListParticipants", "operator", _fixed(operator_pb2.ListParticipantsRequest())),
    ("ListAgreements", "operator", _fixed(operator_pb2.ListAgreementsRequest())),
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
    ("ListWindows", "operator", _fixed(operator_pb2.ListWindowsRequest(limit=5))),
    ("ReconcileWindow", "operator", _fixed(operator_pb2.ReconcileWindowRequest(window=1))),
    (
        "ReadParticipantWindow",
        "operator",
        _fixed(operator_pb2.ReadParticipantWindowRequest(window=1, participant=ISSUER)),
    ),
    ("ListDecisions", "operator", _fixed(operator_pb2.ListDecisionsRequest(limit=5))),
    (
        "AdmitAuditor",
        "operator",
        _fixed(
            operator_pb2.AdmitAuditorRequest(
                id="auditor-two",
                auditor="auditor-two",
                public_key=SigningKey.generate(secrets.token_bytes).public.raw,
            )
        ),
    ),
)

REQUESTS: Final[tuple[Request, ...]] = (
    *_LOG,
    *_SESSION,
    *_MEMBER,
    *_GUEST,
    *_ISSUING,
    *_ACCEPTING,
    *_PEER,
    *_CLEARING,
    *_OPERATOR,
)
