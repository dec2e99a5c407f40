"""Who and what the tables of requests are about: a network in which everything happened once."""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from google.protobuf.message import Message

from cli.demo.patience import patiently
from comity.clock import DAY, system_clock
from comity.keys import SigningKey
from comity.ledger import entries, statements
from comity.v1 import (
    log_pb2,
)
from comity.v1.common_pb2 import Money, Statement
from comity.v1.member_pb2 import Redemption
from comity.v1.merchant_pb2 import Purchase
from comity.wallet.offers import Offer
from tests.e2e import crash_programme, crash_scenes, crash_stage
from tests.e2e.crash_stage import ACCEPTOR, CLEARING, CURRENCY, ISSUER, REWARD, Stage, stage_at
from tests.e2e.rpc_callers import Callers, unhurried

MINE: Final = "agr_main"
TO_END: Final = "agr_to_end"
OFFERED: Final = "agr_offered"
PURCHASE: Final = "sale-to-refund"


@dataclass(frozen=True, slots=True, kw_only=True)
class OfficeCast:
    """What requests of managers name."""

    invitation: str
    """A code at the issuer that nobody has used."""
    applicants: tuple[str, ...]
    """Accounts of three at the acceptor who have not paid yet."""
    adjustments: tuple[str, ...]
    """Ids of three that wait at the issuer: two by another manager than the first, one by it."""
    claims: tuple[str, ...]
    """Ids of two of the member's that wait."""


@dataclass(slots=True, kw_only=True)
class Cast:
    """What has happened, for requests to name."""

    stage: Stage
    callers: Callers
    offer: Offer
    redemption: Redemption
    """A delivered redemption of the stage's member, whose voucher nobody has used."""
    used: str
    """The code of a voucher that a till has taken."""
    fresh: str
    """The code of one that no till has taken yet."""
    second_device: SigningKey
    departing: SigningKey
    """The key of a till of the acceptor that is to be taken away."""
    stranger: str
    """The account at the issuer of a member who does nothing."""
    spare: Path
    """The folder of a brand that was admitted and never started."""
    leaving: str
    """The account of another one, who wants to be forgotten."""
    office: OfficeCast
    shown: dict[tuple[str, str], Statement] = field(default_factory=dict)
    """Statements by log and kind of entry."""
    pledge_salt: bytes = b""

    @property
    def account(self) -> str:
        return self.stage.account(ISSUER)

    @property
    def key(self) -> SigningKey:
        return self.callers.staff[ISSUER, "member"]

    def origin(self, name: str) -> str:
        return self.stage.network.origin(name)

    def statement(self, receipt: int) -> Statement:
        """The redemption's HOLD, DECISION or DELIVERY."""
        return statements.from_tlog_proof(self.redemption.receipt[receipt])


Build = Callable[[Cast], Awaitable[Message]]


# --- setting the scene ----------------------------------------------------------------------


@asynccontextmanager
async def cast_at(folder: Path) -> AsyncIterator[Cast]:
    """A network of its own in which everything has happened once, and nothing is under way."""
    async with AsyncExitStack() as stack:
        with unhurried():
            stage = await stack.enter_async_context(stage_at(folder))
        cast = await _cast_in(stage)
        await until_quiet(cast)
        yield cast


async def _cast_in(stage: Stage) -> Cast:
    """Let everything happen once: purchases, redemptions, a pledge, a settlement."""
    callers = await Callers.made(stage)
    await crash_scenes.settle(stage)
    used = stage.vouchers.pop()
    await stage.acceptor.use_voucher(id="taken", code=used)
    await crash_scenes.partner(stage)
    await crash_scenes.reward(stage)
    offer = await an_offer(stage)
    redemption = (await stage.wallet.redeem(offer)).redemption
    second = SigningKey.generate(secrets.token_bytes)
    member = stage.wallet.member(stage.brands[ISSUER])
    await member.add_device(id="second", key=second, origin=stage.brands[ISSUER].origin)
    await stage.issuer.record_purchases(
        [Purchase(purchase_id=PURCHASE, account=stage.account(ISSUER), amount=euro(900))]
    )
    await crash_stage.found_agreement(
        stage,
        crash_stage.terms(TO_END, issuer=ACCEPTOR, acceptor=ISSUER),
        proposer=ISSUER,
        accepter=ACCEPTOR,
    )
    departing = SigningKey.generate(secrets.token_bytes)
    await stage.network.add_staff(ACCEPTOR, role="till", name="till-old", key=departing)
    stranger = await _newcomer(stage)
    await crash_programme.prepared(stage, stranger)
    cast = Cast(
        stage=stage,
        callers=callers,
        offer=offer,
        redemption=redemption,
        used=used,
        fresh=stage.vouchers.pop(),
        second_device=second,
        departing=departing,
        stranger=stranger,
        spare=await crash_scenes.admitted(stage),
        leaving=await _newcomer(stage),
        office=await _office_in(stage),
    )
    for name in (ISSUER, ACCEPTOR, CLEARING):
        await _collect(cast, name)
    offered = crash_stage.terms(OFFERED, issuer=ACCEPTOR, acceptor=ISSUER)
    await stage.issuer.propose_agreement(id=f"propose-{OFFERED}", terms=offered)
    with sqlite3.connect(f"file:{stage.network.home(ACCEPTOR)}/node.db?mode=ro", uri=True) as db:
        (cast.pledge_salt,) = db.execute("select salt from pledges").fetchone()
    return cast


async def an_offer(stage: Stage) -> Offer:
    return await stage.wallet.quote(
        issuer=stage.brands[ISSUER], acceptor=stage.brands[ACCEPTOR], reward_id=REWARD
    )


async def _office_in(stage: Stage) -> OfficeCast:
    """An invitation and two endpoints at the issuer, three applicants at the acceptor."""
    office = stage.network.office(ISSUER)
    (code,) = await office.create_invitations(id="first-invitation", valid_days=30)
    for name in ("mail", "old"):
        await office.add_webhook(
            id=f"first-{name}", name=name, url="https://crm.example/", kinds=["nothing"]
        )
    deputy = SigningKey.generate(secrets.token_bytes)
    await stage.network.add_staff(ISSUER, role="manager", name="deputy", key=deputy)
    other = stage.network.office(ISSUER, deputy)
    proposed = [
        await by.propose_adjustment(
            id=f"first-proposal-{number}",
            account=stage.account(ISSUER),
            points=20_000_000_000,
            reason_code="GOODWILL",
        )
        for number, by in enumerate((other, other, office))
    ]
    member = stage.wallet.member(stage.brands[ISSUER])
    claimed = [
        await member.claim_purchase(
            id=f"first-claim-{number}",
            purchase_id=f"missed-{number}",
            amount=euro(130),
            occurred_at_us=system_clock() - DAY,
        )
        for number in range(2)
    ]
    return OfficeCast(
        invitation=code,
        adjustments=tuple(one.adjustment_id for one in proposed),
        claims=tuple(one.claim_id for one in claimed),
        applicants=tuple([await _newcomer(stage, ACCEPTOR) for _ in range(3)]),
    )


async def _newcomer(stage: Stage, brand: str = ISSUER) -> str:
    guest = stage.wallet.guest(stage.brands[brand])
    answer = await guest.enrol(
        id=f"enr-{secrets.token_hex(8)}",
        key=SigningKey.generate(secrets.token_bytes),
        origin=stage.brands[brand].origin,
    )
    return str(answer.account)


async def _collect(cast: Cast, name: str) -> None:
    """The last, and the first, statement of each kind of entry of a log, as auditors get them."""
    place, service = f"{name}/public", "comity.v1.LogService"
    read = log_pb2.ReadEntriesRequest(limit=4096).SerializeToString()
    answer = await cast.callers.send(place, "auditor", f"{service}/ReadEntries", read)
    found: dict[str, tuple[int, bytes]] = {}
    for index, one in enumerate(log_pb2.ReadEntriesResponse.FromString(answer).entries):
        kind = entries.kind(entries.decode(one.entry))
        found.setdefault(f"first {kind}", (index, one.entry))
        found[kind] = index, one.entry
    for kind, (index, data) in found.items():
        prove = log_pb2.ProveInclusionRequest(index=index).SerializeToString()
        answer = await cast.callers.send(place, "anonymous", f"{service}/ProveInclusion", prove)
        proof = log_pb2.ProveInclusionResponse.FromString(answer)
        cast.shown[name, kind] = statements.make(
            data, index=index, hashes=proof.hashes, checkpoint=proof.checkpoint
        )


def euro(minor: int) -> Money:
    """An amount in the stage's currency."""
    return Money(currency=CURRENCY, minor=minor)


async def until_quiet(cast: Cast) -> dict[str, int]:
    """The sizes of the logs, once nothing in the background adds to them."""
    sizes: dict[str, int] = {}
    while (now := await patiently(cast.callers.sizes)) != sizes:
        sizes = now
        await asyncio.sleep(1.5)
    return sizes
