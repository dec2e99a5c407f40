"""Operating a programme, in the table of what its receiver knows better."""

from __future__ import annotations

from typing import Any, Final

from tests.e2e.rpc_cast import PURCHASE, Cast
from tests.e2e.rpc_changes import NO_SIGNATURE, NOBODY, Case, put

M, O = "MemberService", "OfficeService"  # noqa: E741
NOWHERE: Final = ("MALFORMED", "cursor")
NOBODY_HERE: Final = ("NOT_FOUND", "account")
NO_CODE: Final = "0000-0000-0000-0000-0"
LONG: Final = ("LIMIT_EXCEEDED", "occurred_at_us")


def typing_error(_: Cast, message: Any) -> None:
    message.code = message.code[:-1] + ("0" if message.code[-1] != "0" else "1")


def other_key(cast: Cast, message: Any) -> None:
    """Somebody else's proof."""
    message.public_key = cast.second_device.public.raw


def own_proposal(cast: Cast, message: Any) -> None:
    """Proposed by the very manager who approves."""
    message.adjustment_id = cast.office.adjustments[2]


def imported_to_nobody(_: Cast, message: Any) -> None:
    message.members[0].reference = "card-9"
    message.members[0].account = NOBODY


def born_on_no_day(_: Cast, message: Any) -> None:
    message.members[0].profile.birth_date = "1990-02-30"


CASES: Final = (
    # Members.
    Case(f"{M}/GetEnrolment", "unsigned", put(signature=NO_SIGNATURE), "MALFORMED", "signature"),
    Case(f"{M}/GetEnrolment", "another's key", other_key, "MALFORMED", "signature"),
    Case(f"{M}/ClaimPurchase", "long ago", put(occurred_at_us=1), *LONG),
    Case(f"{M}/ClaimPurchase", "in time to come", put(occurred_at_us=2**62), *LONG),
    Case(f"{M}/ClaimPurchase", "other money", put(amount__currency="USD"), "MALFORMED", "amount"),
    Case(
        f"{M}/ClaimPurchase",
        "earned before",
        put(purchase_id=PURCHASE),
        "ALREADY_USED",
        "purchase_id",
    ),
    Case(f"{M}/ExportMyData", "no cursor of ours", put(cursor="zzz"), *NOWHERE),
    # Who joins.
    Case(f"{O}/ListInvitations", "no such limit", put(limit=501), "MALFORMED", "limit"),
    Case(f"{O}/RevokeInvitation", "no code", put(code="x"), "MALFORMED", "code"),
    Case(f"{O}/RevokeInvitation", "a typing error", typing_error, "MALFORMED", "code"),
    Case(f"{O}/RevokeInvitation", "nobody's", put(code=NO_CODE), "NOT_FOUND", "code"),
    Case(f"{O}/AdmitApplicant", "nobody", put(account=NOBODY), *NOBODY_HERE),
    Case(f"{O}/RefuseApplicant", "nobody", put(account=NOBODY), *NOBODY_HERE),
    Case(f"{O}/ConfirmPayment", "nobody", put(account=NOBODY), *NOBODY_HERE),
    Case(f"{O}/ConfirmPayment", "nothing", put(amount__minor=0), "MALFORMED", "amount.minor"),
    # Points by hand, and single members.
    Case(f"{O}/ProposeAdjustment", "nobody", put(account=NOBODY), *NOBODY_HERE),
    Case(f"{O}/ProposeAdjustment", "nobody, much", put(account=NOBODY, points=10**9), *NOBODY_HERE),
    Case(
        f"{O}/ApproveAdjustment",
        "no such one",
        put(adjustment_id="adj_0"),
        "NOT_FOUND",
        "adjustment_id",
    ),
    Case(f"{O}/ApproveAdjustment", "one's own", own_proposal, "FORBIDDEN"),
    Case(
        f"{O}/RejectAdjustment",
        "no such one",
        put(adjustment_id="adj_0"),
        "NOT_FOUND",
        "adjustment_id",
    ),
    Case(f"{O}/ListAdjustments", "no cursor of ours", put(cursor="zzz"), *NOWHERE),
    Case(f"{O}/ConfirmClaim", "no such claim", put(claim_id="clm_0"), "NOT_FOUND", "claim_id"),
    Case(f"{O}/ConfirmClaim", "nothing", put(amount__minor=0), "MALFORMED", "amount.minor"),
    Case(
        f"{O}/ConfirmClaim",
        "other money",
        put(amount__currency="USD"),
        "MALFORMED",
        "amount.currency",
    ),
    Case(f"{O}/RejectClaim", "no such claim", put(claim_id="clm_0"), "NOT_FOUND", "claim_id"),
    Case(f"{O}/ExportMember", "nobody", put(account=NOBODY), *NOBODY_HERE),
    Case(f"{O}/ExportMember", "no cursor of ours", put(cursor="zzz"), *NOWHERE),
    Case(f"{O}/ImportMembers", "to nobody", imported_to_nobody, *NOBODY_HERE),
    Case(f"{O}/ImportMembers", "born on no day", born_on_no_day, "MALFORMED", "profile.birth_date"),
    # Webhooks.
    Case(f"{O}/AddWebhook", "not by https", put(url="http://crm.example/"), "MALFORMED", "url"),
    Case(f"{O}/AddWebhook", "no URL", put(url="crm"), "MALFORMED", "url"),
    Case(f"{O}/AddWebhook", "taken", put(name="mail"), "CONFLICT", "name"),
    Case(f"{O}/AddWebhook", "beyond the log", put(from_index=10**9), "MALFORMED", "from_index"),
    Case(f"{O}/SetWebhook", "no such endpoint", put(name="none"), "NOT_FOUND", "name"),
    Case(f"{O}/SetWebhook", "beyond the log", put(from_index=10**9), "MALFORMED", "from_index"),
    Case(f"{O}/RotateWebhook", "no such endpoint", put(name="none"), "NOT_FOUND", "name"),
    Case(f"{O}/RemoveWebhook", "no such endpoint", put(name="none"), "NOT_FOUND", "name"),
)

WITHOUT_CASES: Final = frozenset(
    {
        # What they name is anybody's choice, or they name nothing.
        f"{M}/ListMyClaims",
        *(
            f"{O}/{name}"
            for name in (
                "CreateInvitations",
                "ListApplications",
                "SetBurnFreeze",
                "GetBurnFreeze",
                "ListClaims",
                "ListWebhooks",
            )
        ),
    }
)
