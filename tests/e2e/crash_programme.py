"""Scenes of a programme at work, for the crash matrix: an event, a mark by hand, a conversion."""

from __future__ import annotations

import secrets
from functools import partial

from comity.client.programme import event
from comity.errors import rebuild
from comity.v1.entry_pb2 import MARK_KIND_BADGE
from comity.v1.programme_pb2 import EventResult
from tests.e2e.crash_stage import ISSUER, Stage, retried


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


async def prepared(stage: Stage, stranger: str) -> None:
    """Tokens to convert, and somebody else's badge to take."""
    programme = stage.network.programme(ISSUER)
    await programme.record_events([event("before", stage.account(ISSUER), "sign_in")])
    await programme.give_mark(
        id="before", account=stranger, kind=MARK_KIND_BADGE, name="founder", reason_code="THANKS"
    )
