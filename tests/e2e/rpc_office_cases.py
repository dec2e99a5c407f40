"""OfficeService in the table of what its receiver knows better."""

from __future__ import annotations

from typing import Any, Final

from tests.e2e.rpc_cast import Cast
from tests.e2e.rpc_changes import NO_SIGNATURE, NOBODY, Case, put


def typing_error(_: Cast, message: Any) -> None:
    message.code = message.code[:-1] + ("0" if message.code[-1] != "0" else "1")


def other_key(cast: Cast, message: Any) -> None:
    """Somebody else's proof."""
    message.public_key = cast.key.public.raw


O: Final = "OfficeService"  # noqa: E741

CASES: Final = (
    Case(
        "MemberService/GetEnrolment",
        "unsigned",
        put(signature=NO_SIGNATURE),
        "MALFORMED",
        "signature",
    ),
    Case("MemberService/GetEnrolment", "another's key", other_key, "MALFORMED", "signature"),
    Case(f"{O}/ListInvitations", "no such limit", put(limit=501), "MALFORMED", "limit"),
    Case(f"{O}/RevokeInvitation", "no code", put(code="x"), "MALFORMED", "code"),
    Case(f"{O}/RevokeInvitation", "a typing error", typing_error, "MALFORMED", "code"),
    Case(
        f"{O}/RevokeInvitation", "nobody's", put(code="0000-0000-0000-0000-0"), "NOT_FOUND", "code"
    ),
    Case(f"{O}/AdmitApplicant", "nobody", put(account=NOBODY), "NOT_FOUND", "account"),
    Case(f"{O}/RefuseApplicant", "nobody", put(account=NOBODY), "NOT_FOUND", "account"),
    Case(f"{O}/ConfirmPayment", "nobody", put(account=NOBODY), "NOT_FOUND", "account"),
    Case(f"{O}/ConfirmPayment", "nothing", put(amount__minor=0), "MALFORMED", "amount.minor"),
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
    f"{O}/{name}" for name in ("CreateInvitations", "ListApplications", "ListWebhooks")
)
