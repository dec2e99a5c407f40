"""The table of what has expired, is somebody else's, was used before, or is not signed.

One row a case: the RPC, what is changed in its valid request, and the refusal with its field.
"""

from __future__ import annotations

from typing import Final

from comity.v1 import clearing_pb2
from tests.e2e import rpc_office_cases, rpc_programme_cases
from tests.e2e.crash_stage import ACCEPTOR, ISSUER
from tests.e2e.rpc_cast import PURCHASE
from tests.e2e.rpc_changes import (
    NO_KEY,
    NO_SIGNATURE,
    NOBODY,
    NOTHING,
    Case,
    answered_for_another,
    between_others,
    challenge_elsewhere,
    challenge_for_another,
    elsewhere_,
    enrolled_before,
    euro,
    expired_hold,
    expired_quote,
    foreign_admission,
    held_quote,
    hold_claim,
    hold_of,
    last_manager,
    long_hold,
    mandate_of,
    old_challenge,
    one_claim,
    only_,
    other_quote,
    put,
    reused_id,
    shows_,
    signed_elsewhere,
    unknown_signer,
    used_hold,
    used_quote,
)

M, P, C, O = "MemberService", "PeerService", "ClearingService", "OperatorService"  # noqa: E741
S, L, SHOP = "SessionService", "LogService", "MerchantService"

NO_BRAND = ("NOT_FOUND", "participant")

CASES: Final = (
    *rpc_office_cases.CASES,
    *rpc_programme_cases.CASES,
    # Logs and sessions.
    Case(f"{L}/GetTile", "no such tile", put(index=9, level=3), "NOT_FOUND"),
    Case(f"{L}/ProveConsistency", "no such size", put(new_size=10**6), "NOT_FOUND", "new_size"),
    Case(f"{L}/ProveConsistency", "shrinking", put(old_size=3), "MALFORMED", "old_size"),
    Case(f"{L}/ProveInclusion", "no such entry", put(index=10**6), "NOT_FOUND", "index"),
    Case(f"{L}/ProveInclusion", "no such size", put(size=10**6), "NOT_FOUND", "size"),
    Case(
        f"{S}/OpenSession", "unsigned", put(signature=NO_SIGNATURE), "UNAUTHENTICATED", "signature"
    ),
    Case(f"{S}/OpenSession", "expired challenge", old_challenge, "UNAUTHENTICATED", "challenge"),
    Case(
        f"{S}/OpenSession",
        "challenge of another server",
        challenge_elsewhere,
        "UNAUTHENTICATED",
        "challenge",
    ),
    Case(
        f"{S}/OpenSession",
        "challenge for another key",
        challenge_for_another,
        "UNAUTHENTICATED",
        "challenge",
    ),
    Case(
        f"{S}/OpenSession",
        "answer to another server",
        answered_for_another,
        "UNAUTHENTICATED",
        "signature",
    ),
    # Members.
    Case(f"{M}/Enrol", "unsigned", put(signature=NO_SIGNATURE), "MALFORMED", "signature"),
    Case(f"{M}/Enrol", "signed for another brand", signed_elsewhere, "MALFORMED", "signature"),
    Case(f"{M}/Enrol", "no key", put(public_key=bytes(32)), "MALFORMED"),
    Case(f"{M}/Enrol", "key of a member", enrolled_before, "CONFLICT", "public_key"),
    Case(f"{M}/AddDevice", "unsigned", put(signature=NO_SIGNATURE), "MALFORMED", "signature"),
    Case(f"{M}/AddDevice", "signed for another brand", signed_elsewhere, "MALFORMED", "signature"),
    Case(f"{M}/AddDevice", "key of a member", enrolled_before, "CONFLICT", "public_key"),
    Case(
        f"{M}/RevokeDevice",
        "somebody else's",
        put(key_id="key_0123456789abcdef"),
        "NOT_FOUND",
        "key_id",
    ),
    Case(f"{M}/ListLots", "no cursor of ours", put(cursor="zzz"), "MALFORMED", "cursor"),
    Case(f"{M}/ListActivity", "no cursor of ours", put(cursor="zzz"), "MALFORMED", "cursor"),
    Case(
        f"{M}/GetIssuerReceipt",
        "somebody else's",
        put(redemption_id=NOTHING),
        "NOT_FOUND",
        "redemption_id",
    ),
    # Guests.
    Case(f"{M}/GetQuote", "issuer without agreement", put(issuer="cumin"), "AGREEMENT_INACTIVE"),
    Case(f"{M}/GetQuote", "no such reward", put(reward_id="moon"), "NOT_FOUND", "reward_id"),
    Case(f"{M}/GetQuote", "above the maximum", put(acceptor_points=10**9), "LIMIT_EXCEEDED"),
    Case(
        f"{M}/GetQuote",
        "more than can be counted",
        put(acceptor_points=2**63 - 1),
        "LIMIT_EXCEEDED",
    ),
    Case(f"{M}/Redeem", "unsealed quote", put(seal=bytes(32)), "FORBIDDEN", "seal"),
    Case(f"{M}/Redeem", "expired quote", expired_quote, "QUOTE_EXPIRED"),
    Case(
        f"{M}/Redeem",
        "expired mandate",
        mandate_of(not_after_us=1),
        "MANDATE_REJECTED",
        "not_after_us",
    ),
    Case(
        f"{M}/Redeem",
        "mandate for less",
        mandate_of(max_points=1),
        "MANDATE_REJECTED",
        "max_points",
    ),
    Case(
        f"{M}/Redeem",
        "mandate for another quote",
        mandate_of(quote_digest=bytes(32)),
        "MANDATE_REJECTED",
        "quote_digest",
    ),
    Case(
        f"{M}/Redeem",
        "mandate for another acceptor",
        mandate_of(acceptor="cumin"),
        "MANDATE_REJECTED",
        "acceptor",
    ),
    Case(
        f"{M}/Redeem",
        "mandate for another network",
        mandate_of(network="x"),
        "MANDATE_REJECTED",
        "network",
    ),
    Case(f"{M}/Redeem", "no mandate", put(mandate__mandate=b"\xff" * 40), "BAD_STATEMENT"),
    Case(
        f"{M}/Redeem",
        "somebody else's pickup key",
        put(pickup_key=bytes(16)),
        "FORBIDDEN",
        "pickup_key",
    ),
    Case(f"{M}/Redeem", "another reward", put(reward_id="plate"), "MANDATE_REJECTED", "reward_id"),
    Case(f"{M}/Redeem", "replayed with another mandate", used_quote, "CONFLICT", "mandate"),
    Case(
        f"{M}/GetRedemption",
        "somebody else's pickup key",
        put(pickup_key=bytes(16)),
        "FORBIDDEN",
        "pickup_key",
    ),
    Case(
        f"{M}/GetRedemption",
        "somebody else's redemption",
        put(redemption_id=NOTHING),
        "FORBIDDEN",
        "pickup_key",
    ),
    # Tills and managers.
    Case(
        f"{SHOP}/RecordPurchases", "no such member", only_(account=NOBODY), "NOT_FOUND", "account"
    ),
    Case(
        f"{SHOP}/RecordPurchases",
        "another currency",
        only_(amount__currency="USD"),
        "MALFORMED",
        "amount.currency",
    ),
    Case(
        f"{SHOP}/RecordPurchases",
        "nothing paid",
        only_(amount__minor=0),
        "MALFORMED",
        "amount.minor",
    ),
    Case(
        f"{SHOP}/RecordPurchases",
        "in the future",
        only_(occurred_at_us=2**62),
        "LIMIT_EXCEEDED",
        "occurred_at_us",
    ),
    Case(
        f"{SHOP}/RecordPurchases",
        "replayed with another amount",
        only_(purchase_id=PURCHASE),
        "CONFLICT",
        "amount.minor",
    ),
    Case(
        f"{SHOP}/PutReward", "replayed with another reward", put(id="mug"), "CONFLICT", "reward_id"
    ),
    Case(f"{SHOP}/SetStock", "replayed", put(id="mug"), "CONFLICT", "change"),
    Case(
        f"{SHOP}/RefundPurchase",
        "no such purchase",
        put(purchase_id="x"),
        "NOT_FOUND",
        "purchase_id",
    ),
    Case(
        f"{SHOP}/RefundPurchase",
        "more than was paid",
        put(cumulative=euro(10**9)),
        "NOT_REVERSIBLE",
        "cumulative.minor",
    ),
    Case(
        f"{SHOP}/RefundPurchase",
        "another currency",
        put(cumulative__currency="USD"),
        "MALFORMED",
        "cumulative.currency",
    ),
    Case(
        f"{SHOP}/RecordPartnerPurchase",
        "issuer without agreement",
        put(issuer="cumin"),
        "AGREEMENT_INACTIVE",
    ),
    Case(
        f"{SHOP}/RecordPartnerPurchase",
        "another currency",
        put(amount__currency="USD"),
        "MALFORMED",
        "amount.currency",
    ),
    Case(
        f"{SHOP}/RefundPartnerPurchase",
        "no such sale",
        put(purchase_id="nothing"),
        "NOT_FOUND",
        "purchase_id",
    ),
    Case(
        f"{SHOP}/RefundPartnerPurchase",
        "more than was paid",
        put(cumulative=euro(10**9)),
        "NOT_REVERSIBLE",
        "cumulative.minor",
    ),
    Case(
        f"{SHOP}/RefundPartnerPurchase",
        "another currency",
        put(cumulative__currency="USD"),
        "MALFORMED",
        "cumulative.currency",
    ),
    Case(
        f"{SHOP}/CheckVoucher",
        "typing error",
        put(code="AAAA-AAAA-AAAA-AAAA-A"),
        "MALFORMED",
        "code",
    ),
    Case(
        f"{SHOP}/CheckVoucher",
        "no such voucher",
        put(code="0000-0000-0000-0000-0"),
        "NOT_FOUND",
        "code",
    ),
    Case(
        f"{SHOP}/UseVoucher",
        "no such voucher",
        put(code="0000-0000-0000-0000-0"),
        "NOT_FOUND",
        "code",
    ),
    Case(
        f"{SHOP}/UseVoucher",
        "used before",
        lambda cast, m: setattr(m, "code", cast.used),
        "ALREADY_USED",
    ),
    Case(
        f"{SHOP}/ReverseRedemption",
        "somebody else's",
        put(redemption_id=NOTHING),
        "NOT_REVERSIBLE",
    ),
    Case(
        f"{SHOP}/ReverseRedemption",
        "more than was taken",
        put(cumulative_points=10**9),
        "NOT_REVERSIBLE",
    ),
    Case(
        f"{SHOP}/FindRedemption",
        "somebody else's",
        put(redemption_id=NOTHING),
        "NOT_FOUND",
        "redemption_id",
    ),
    Case(f"{SHOP}/AdjustPoints", "no such member", put(account=NOBODY), "NOT_FOUND", "account"),
    Case(
        f"{SHOP}/AdjustPoints",
        "takes more than there is",
        put(points=-(10**9)),
        "INSUFFICIENT_POINTS",
    ),
    Case(f"{SHOP}/SetStock", "no such reward", put(reward_id="moon"), "NOT_FOUND", "reward_id"),
    Case(
        f"{SHOP}/SetStock",
        "takes more than there is",
        put(change=-(10**9)),
        "OUT_OF_STOCK",
        "change",
    ),
    Case(f"{SHOP}/AddStaffKey", "no key", put(public_key=bytes(32)), "MALFORMED"),
    Case(f"{SHOP}/RemoveStaffKey", "nobody's", put(key_id=NO_KEY), "NOT_FOUND", "key_id"),
    Case(f"{SHOP}/RemoveStaffKey", "the last manager", last_manager, "REFUSED"),
    Case(f"{SHOP}/LockMember", "no such member", put(account=NOBODY), "NOT_FOUND", "account"),
    Case(f"{SHOP}/EraseMember", "no such member", put(account=NOBODY), "NOT_FOUND", "account"),
    Case(f"{SHOP}/ProposeAgreement", "between others", between_others, "FORBIDDEN", "terms"),
    Case(
        f"{SHOP}/ProposeAgreement",
        "ends before it begins",
        put(terms__valid_until_us=1),
        "MALFORMED",
        "terms.valid_until_us",
    ),
    Case(
        f"{SHOP}/ProposeAgreement",
        "a version that exists",
        put(terms__agreement_id="agr_main"),
        "CONFLICT",
        "terms.version",
    ),
    Case(
        f"{SHOP}/AcceptAgreement",
        "never offered",
        put(agreement_id="agr_none"),
        "NOT_FOUND",
        "agreement_id",
    ),
    Case(f"{SHOP}/AcceptAgreement", "in force already", put(agreement_id="agr_main"), "CONFLICT"),
    Case(
        f"{SHOP}/TerminateAgreement",
        "never made",
        put(agreement_id="agr_none"),
        "NOT_FOUND",
        "agreement_id",
    ),
    Case(f"{SHOP}/ListRedemptions", "no cursor of ours", put(cursor="zzz"), "MALFORMED", "cursor"),
    Case(f"{SHOP}/ListRedemptions", "no digit", put(cursor="²/rdm_"), "MALFORMED", "cursor"),
    Case(f"{SHOP}/ListRedemptions", "no time", put(cursor="9" * 60), "MALFORMED", "cursor"),
    Case(f"{M}/ListLots", "no time", put(cursor="9" * 60), "MALFORMED", "cursor"),
    Case(f"{M}/ListActivity", "no index", put(cursor="9" * 60), "MALFORMED", "cursor"),
    Case(f"{SHOP}/GetWindowStatement", "no such window", put(window=999), "NOT_FOUND", "window"),
    # Brands.
    Case(f"{P}/PlaceHolds", "expired quote", expired_hold, "QUOTE_EXPIRED"),
    Case(f"{P}/PlaceHolds", "quote that lives too long", long_hold, "MALFORMED", "expires_at_us"),
    Case(f"{P}/PlaceHolds", "quote of another acceptor", held_quote(acceptor="cumin"), "FORBIDDEN"),
    Case(
        f"{P}/PlaceHolds",
        "quote for another issuer",
        held_quote(issuer=ACCEPTOR),
        "MANDATE_REJECTED",
        "issuer",
    ),
    Case(f"{P}/PlaceHolds", "figures not agreed on", held_quote(points=1), "MALFORMED", "points"),
    Case(
        f"{P}/PlaceHolds",
        "no such agreement",
        held_quote(agreement_id="agr_x"),
        "AGREEMENT_INACTIVE",
    ),
    Case(
        f"{P}/PlaceHolds",
        "expired mandate",
        mandate_of(not_after_us=1),
        "MANDATE_REJECTED",
        "not_after_us",
    ),
    Case(
        f"{P}/PlaceHolds",
        "mandate for less",
        mandate_of(max_points=1),
        "MANDATE_REJECTED",
        "max_points",
    ),
    Case(
        f"{P}/PlaceHolds",
        "unsigned mandate",
        hold_of(mandate__signature=NO_SIGNATURE),
        "BAD_STATEMENT",
    ),
    Case(
        f"{P}/PlaceHolds",
        "signed by nobody's device",
        unknown_signer,
        "MANDATE_REJECTED",
        "key_id",
    ),
    Case(
        f"{P}/PlaceHolds", "a quote of random bytes", hold_of(quote=b"\xff" * 50), "BAD_STATEMENT"
    ),
    Case(
        f"{P}/PlaceHolds",
        "a mandate of random bytes",
        hold_of(mandate__mandate=b"\xff" * 50),
        "BAD_STATEMENT",
    ),
    Case(f"{P}/PlaceHolds", "replayed with another mandate", used_hold, "CONFLICT", "mandate"),
    Case(f"{P}/PlaceHolds", "to itself", put(), "FORBIDDEN", who=ISSUER),
    Case(
        f"{P}/DeliverPledges", "another account", put(pledges__0__account=NOBODY), "BAD_STATEMENT"
    ),
    Case(f"{P}/DeliverPledges", "another salt", put(pledges__0__salt=bytes(16)), "BAD_STATEMENT"),
    Case(
        f"{P}/DeliverPledges",
        "takes back more than was pledged",
        put(pledges__0__refund_points=10**9),
        "NOT_REVERSIBLE",
        "refund_points",
    ),
    Case(
        f"{P}/OfferAgreement",
        "of another kind",
        shows_("statement", ACCEPTOR, "delivery"),
        "MALFORMED",
    ),
    Case(
        f"{P}/OfferAgreement", "one's own", shows_("statement", ISSUER, "propose"), "BAD_STATEMENT"
    ),
    # Clearing.
    Case(f"{C}/Claim", "with another quote", one_claim(hold=other_quote), "MALFORMED", "quote"),
    Case(f"{C}/Claim", "a hold by its issuer", one_claim(hold=hold_claim), "FORBIDDEN", who=ISSUER),
    Case(f"{C}/Claim", "a decided redemption with another hold", reused_id, "CONFLICT", "hold"),
    Case(
        f"{C}/Claim",
        "a pledge of another partner",
        one_claim(
            pledge=lambda cast: clearing_pb2.PledgeClaim(pledge=cast.shown[ACCEPTOR, "pledge"])
        ),
        "BAD_STATEMENT",
        who=ISSUER,
    ),
    Case(
        f"{C}/Claim",
        "an abort between others",
        one_claim(
            abort=lambda _: clearing_pb2.AbortClaim(
                issuer=ISSUER, acceptor="cumin", redemption_id=NOTHING
            )
        ),
        "FORBIDDEN",
    ),
    Case(
        f"{C}/Claim",
        "an early abort by the issuer",
        one_claim(
            abort=lambda _: clearing_pb2.AbortClaim(
                issuer=ISSUER, acceptor=ACCEPTOR, redemption_id=NOTHING
            )
        ),
        "FORBIDDEN",
        "hold",
        who=ISSUER,
    ),
    Case(f"{C}/Report", "another's delivery", put(), "BAD_STATEMENT", who=ISSUER),
    Case(
        f"{C}/Resolve",
        "others' redemption",
        put(keys__0__issuer="cumin", keys__0__acceptor="dill"),
        "FORBIDDEN",
        "keys",
    ),
    Case(
        f"{C}/RegisterAgreement",
        "nothing",
        lambda _, m: m.ClearField("accept"),
        "MALFORMED",
        "accept",
    ),
    Case(
        f"{C}/RegisterAgreement",
        "of another kind",
        shows_("accept", ACCEPTOR, "delivery"),
        "MALFORMED",
    ),
    Case(
        f"{C}/RegisterAgreement",
        "both at once",
        shows_("terminate", ACCEPTOR, "accept"),
        "MALFORMED",
        "terminate",
    ),
    Case(f"{C}/Acknowledge", "another's", shows_("statement", ISSUER, "ack"), "BAD_STATEMENT"),
    Case(
        f"{C}/Acknowledge",
        "of another kind",
        shows_("statement", ACCEPTOR, "delivery"),
        "MALFORMED",
    ),
    Case(f"{C}/ReadWindow", "no such window", put(window=999), "NOT_FOUND", "window"),
    # The operator.
    Case(f"{O}/AdmitParticipant", "unsigned", put(binding=NO_SIGNATURE), "MALFORMED"),
    Case(f"{O}/AdmitParticipant", "no request", put(certificate_request=b"x"), "MALFORMED"),
    Case(f"{O}/AdmitParticipant", "no key", put(vkey="x"), "MALFORMED"),
    Case(f"{O}/AdmitParticipant", "another's name", foreign_admission, "MALFORMED"),
    Case(f"{O}/AdmitParticipant", "a log of another network", elsewhere_, "MALFORMED"),
    Case(f"{O}/RotateParticipantKey", "no such brand", put(participant="cumin"), *NO_BRAND),
    Case(
        f"{O}/RotateParticipantKey",
        "the new key has not signed",
        put(new_signature=NO_SIGNATURE),
        "MALFORMED",
        "new_signature",
    ),
    Case(
        f"{O}/RotateParticipantKey",
        "the old key has not signed",
        put(old_signature=NO_SIGNATURE),
        "MALFORMED",
        "old_signature",
    ),
    Case(
        f"{O}/RotateParticipantKey",
        "without the old key, and no last size",
        put(old_signature=b""),
        "MALFORMED",
        "last_size",
    ),
    Case(
        f"{O}/RotateParticipantKey",
        "so late that it never comes",
        put(last_size=10**9),
        "MALFORMED",
        "last_size",
    ),
    Case(f"{O}/RotateParticipantKey", "no key", put(vkey="x"), "MALFORMED"),
    Case(f"{O}/RevokeParticipant", "no such brand", put(participant="cumin"), *NO_BRAND),
    Case(f"{O}/RevokeAuditor", "no such key", put(key_id="key_0"), "NOT_FOUND", "key_id"),
    Case(f"{O}/SetStanding", "no such brand", put(participant="cumin"), "NOT_FOUND", "participant"),
    Case(f"{O}/SetCap", "no such brand", put(participant="cumin"), "NOT_FOUND", "participant"),
    Case(f"{O}/SetCap", "below zero", put(net_debit_cap__minor=-1), "MALFORMED", "net_debit_cap"),
    Case(f"{O}/CloseWindow", "closed before", put(window=1), "ALREADY_DECIDED", "window"),
    Case(f"{O}/SettleWindow", "still open", put(window=999), "NOT_FOUND", "window"),
    Case(f"{O}/ReconcileWindow", "no such window", put(window=999), "NOT_FOUND", "window"),
    Case(f"{O}/ReadParticipantWindow", "no such window", put(window=999), "NOT_FOUND", "window"),
    Case(f"{O}/ReadParticipantWindow", "no such brand", put(participant="cumin"), "NOT_FOUND"),
    Case(f"{O}/AdmitAuditor", "no key", put(public_key=bytes(32)), "MALFORMED"),
)

_OTHERS: Final = rpc_office_cases.WITHOUT_CASES | rpc_programme_cases.WITHOUT_CASES
WITHOUT_CASES: Final = _OTHERS | frozenset(
    {
        # They ask for a page or for the caller's own, and name nothing that could be wrong.
        *(f"{L}/{name}" for name in ("GetCheckpoint", "ReadEntries")),
        *(f"{M}/{name}" for name in ("ListDevices", "GetBalance", "ListRewards")),
        *(f"{SHOP}/{name}" for name in ("GetTotals", "ListBrandAgreements")),
        *(f"{P}/{name}" for name in ("ReadBook", "ReadMirror")),
        f"{C}/Follow",
        *(
            f"{O}/{name}"
            for name in ("ListParticipants", "ListAgreements", "ListWindows", "ListDecisions")
        ),
        # An unknown key gets a challenge like any other, so that nobody can ask who is a member.
        f"{S}/BeginSession",
        # They show heads and nothing else.
        f"{P}/ExchangeHeads",
        f"{C}/Pulse",
    }
)
