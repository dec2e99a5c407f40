"""Scenes of a programme at work, for the crash matrix: an event, a mark by hand, a conversion,
points that pay an order."""

from __future__ import annotations

import secrets
from functools import partial
from typing import Final

from comity.client.programme import event
from comity.errors import rebuild
from comity.v1.common_pb2 import Money
from comity.v1.entry_pb2 import MARK_KIND_BADGE
from comity.v1.programme_pb2 import EventResult
from tests.e2e.crash_stage import CURRENCY, ISSUER, Stage, retried

ORDER: Final = "order-to-refund"


async def happen(stage: Stage) -> None:
    """A sign-in that earns a point and five tokens, however often it is reported."""
    before = await stage.available(ISSUER)
    one = event(f"evt-{secrets.token_hex(8)}", stage.account(ISSUER), "sign_in")

    async def record() -> EventResult:
        (found,) = await stage.network.programme(ISSUER).record_events([one])
        if found.HasField("failure"):
            raise rebuild(found.failure.code, found.failure.message)
        return found

    found = await retried(record)
    assert await retried(record) == found, "a repeated event is answered alike"
    assert await stage.available(ISSUER) == before + 1


async def mark(stage: Stage) -> None:
    """A badge is given and taken; the member's status says each."""
    staff = stage.network.programme(ISSUER)
    for verb in (staff.give_mark, staff.take_mark):
        await retried(
            partial(
                verb,
                id=stage.id("mark"),
                account=stage.account(ISSUER),
                kind=MARK_KIND_BADGE,
                name="founder",
                reason_code="THANKS",
            )
        )
        shown = await retried(stage.wallet.programme(stage.brands[ISSUER]).status)
        since = [one.since_us for one in shown.marks if one.name == "founder"]
        assert bool(since[0]) is (verb == staff.give_mark)


async def convert(stage: Stage) -> None:
    await happen(stage)
    before = await stage.available(ISSUER)
    member = stage.wallet.programme(stage.brands[ISSUER])
    turn = partial(member.convert, id=stage.id("convert"), conversion="tokens-to-points", points=2)
    assert await retried(turn) == 2
    assert await retried(turn) == 2
    assert await stage.available(ISSUER) == before + 2


async def pay(stage: Stage) -> None:
    """Points pay an order once; a part of them comes back once."""
    before = await stage.available(ISSUER)
    order = f"order-{secrets.token_hex(8)}"
    amount = Money(currency=CURRENCY, minor=60)
    spend = partial(
        stage.issuer.pay_with_points,
        id=stage.id("pay"),
        account=stage.account(ISSUER),
        order_id=order,
        amount=amount,
        points=50,
    )
    paid = await retried(spend)
    assert (paid.points, paid.covered.minor, paid.rest.minor) == (50, 50, 10)
    assert await retried(spend) == paid
    assert await stage.available(ISSUER) == before - 50
    back = partial(
        stage.issuer.refund_payment, id=stage.id("pay-refund"), order_id=order, cumulative_points=20
    )
    assert (await retried(back)).points == 20
    assert (await retried(back)).points == 20
    assert await stage.available(ISSUER) == before - 30


async def prepared(stage: Stage, stranger: str) -> None:
    """Tokens to convert, somebody else's badge to take, and an order to give back."""
    programme = stage.network.programme(ISSUER)
    await programme.record_events([event("before", stage.account(ISSUER), "sign_in")])
    await programme.give_mark(
        id="before", account=stranger, kind=MARK_KIND_BADGE, name="founder", reason_code="THANKS"
    )
    await stage.issuer.pay_with_points(
        id="order-before",
        account=stage.account(ISSUER),
        order_id=ORDER,
        amount=Money(currency=CURRENCY, minor=100),
        points=100,
    )
