"""ProgrammeService, and points that pay, in the table of what its receiver knows better."""

from __future__ import annotations

import secrets
from typing import Any, Final

from comity.v1.entry_pb2 import MARK_KIND_TIER
from tests.e2e.crash_programme import ORDER
from tests.e2e.crash_stage import ISSUER, programme
from tests.e2e.rpc_cast import PURCHASE, Cast
from tests.e2e.rpc_changes import NOBODY, Case, Change, euro, put

P: Final = "ProgrammeService"
PAY, UNPAY = "MerchantService/PayWithPoints", "MerchantService/RefundPayment"

BROKEN: Final = b"version: '1'\nname: x\n"
CHANGED: Final = programme(ISSUER, 1).replace("Berlin", "Paris").encode()
POORER: Final = programme(ISSUER, 901).replace("per_minor: 1", "per_minor: 2").encode()


def event_(**values: Any) -> Change:
    """The event under a new id, with fields set."""

    def change(cast: Cast, message: Any) -> None:
        message.events[0].event_id = f"evt-{secrets.token_hex(4)}"
        put(**{f"events__0__{name}": value for name, value in values.items()})(cast, message)

    return change


def said(_: Cast, message: Any) -> None:
    """An attribute that a sign-in does not have."""
    message.events[0].event_id = f"evt-{secrets.token_hex(4)}"
    message.events[0].attributes.add(name="mood", text="good")


CASES: Final = (
    Case(f"{P}/RecordEvents", "no such member", event_(account=NOBODY), "NOT_FOUND", "account"),
    Case(f"{P}/RecordEvents", "no such event", event_(type="sign_out"), "MALFORMED", "type"),
    Case(f"{P}/RecordEvents", "a purchase", event_(type="purchase"), "MALFORMED", "type"),
    Case(f"{P}/RecordEvents", "says too much", said, "MALFORMED", "attributes"),
    Case(
        f"{P}/RecordEvents",
        "in the future",
        event_(occurred_at_us=2**62),
        "LIMIT_EXCEEDED",
        "occurred_at_us",
    ),
    Case(
        f"{P}/RecordEvents",
        "a purchase's id",
        put(events__0__event_id=PURCHASE),
        "CONFLICT",
        "event_id",
    ),
    Case(f"{P}/GiveMark", "nobody", put(account=NOBODY), "NOT_FOUND", "account"),
    Case(f"{P}/GiveMark", "no such badge", put(name="none"), "NOT_FOUND", "name"),
    Case(f"{P}/GiveMark", "a level", put(kind=MARK_KIND_TIER), "MALFORMED", "kind"),
    Case(f"{P}/TakeMark", "nobody", put(account=NOBODY), "NOT_FOUND", "account"),
    Case(f"{P}/TakeMark", "no such badge", put(name="none"), "NOT_FOUND", "name"),
    Case(f"{P}/ExplainEvent", "no event", put(event_id="x"), "NOT_FOUND", "event_id"),
    Case(f"{P}/PublishProgramme", "no programme", put(file=BROKEN), "MALFORMED"),
    Case(f"{P}/PublishProgramme", "another file", put(file=CHANGED), "CONFLICT", "version"),
    Case(f"{P}/PublishProgramme", "less at once", put(file=POORER), "REFUSED"),
    Case(f"{P}/ConvertPoints", "none such", put(conversion="x"), "NOT_FOUND", "conversion"),
    Case(f"{P}/ConvertPoints", "too many", put(points=10**9), "INSUFFICIENT_POINTS"),
    Case(PAY, "no such member", put(account=NOBODY), "NOT_FOUND", "account"),
    Case(PAY, "another currency", put(amount__currency="USD"), "MALFORMED", "amount.currency"),
    Case(PAY, "more than the order costs", put(points=10), "LIMIT_EXCEEDED", "points"),
    Case(PAY, "an order that is paid", put(order_id=ORDER), "CONFLICT", "order_id"),
    Case(PAY, "too many", put(points=10**9, amount=euro(10**9)), "INSUFFICIENT_POINTS"),
    Case(UNPAY, "no such order", put(order_id="x"), "NOT_FOUND", "order_id"),
    Case(UNPAY, "too much", put(cumulative=euro(101)), "NOT_REVERSIBLE", "cumulative.minor"),
    Case(UNPAY, "other money", put(cumulative__currency="USD"), "MALFORMED", "cumulative.currency"),
    Case(UNPAY, "points and money", put(cumulative_points=1), "MALFORMED", "cumulative_points"),
)

WITHOUT_CASES: Final = frozenset(f"{P}/{name}" for name in ("ListProgrammes", "GetStatus"))
