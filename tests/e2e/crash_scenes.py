"""The scenes of the crash tests: what happens until a certain process commits a certain step.

Each checks that its effect stands exactly once, whoever died on the way.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from google.protobuf import json_format

import node.init
from cli.demo.network import free_ports
from cli.demo.patience import until
from comity.clock import DAY, SECOND, system_clock
from comity.errors import Refused
from comity.keys import SigningKey
from comity.v1.common_pb2 import Money
from comity.v1.entry_pb2 import (
    ACCOUNT_CLASS_AVAILABLE,
    PARTICIPANT_STATUS_ACTIVE,
    PARTICIPANT_STATUS_SUSPENDED,
)
from comity.v1.member_pb2 import RedemptionState
from comity.v1.operator_pb2 import (
    AdmitParticipantRequest,
    Participant,
    RotateParticipantKeyRequest,
)
from node import rotation
from tests.e2e.crash_stage import (
    ACCEPTOR,
    CAP_MINOR,
    CURRENCY,
    ISSUER,
    PATIENCE_S,
    REWARD,
    Stage,
    agreement_state,
    found_agreement,
    programme,
    retried,
    terms,
)

DELIVERED = RedemptionState.REDEMPTION_STATE_DELIVERED
FAILED = RedemptionState.REDEMPTION_STATE_FAILED
REVERSED = RedemptionState.REDEMPTION_STATE_REVERSED
PARTLY_REVERSED = RedemptionState.REDEMPTION_STATE_PARTLY_REVERSED
PARTNER_SALE = 400


# --- scenes: a member and the programme -----------------------------------------------------


async def enrol(stage: Stage) -> None:
    key = SigningKey.generate(secrets.token_bytes)
    enrolment = f"enr-{secrets.token_hex(8)}"
    guest = stage.wallet.guest(stage.brands[ISSUER])

    async def join() -> str:
        answer = await guest.enrol(id=enrolment, key=key, origin=stage.brands[ISSUER].origin)
        return str(answer.account)

    first = await retried(join)
    assert await retried(join) == first, "a repeated enrolment is the same member"


async def add_device(stage: Stage) -> None:
    key = SigningKey.generate(secrets.token_bytes)
    member = stage.wallet.member(stage.brands[ISSUER])
    before = len(await retried(member.list_devices))
    add = partial(member.add_device, id=stage.id("device"), key=key, origin=_origin(stage))
    await retried(add)
    assert len(await retried(member.list_devices)) == before + 1


async def purchase(stage: Stage) -> None:
    before = await stage.available(ISSUER)
    await stage.buy(ISSUER, 500)
    assert await stage.available(ISSUER) == before + 500


async def refund(stage: Stage) -> None:
    before = await stage.available(ISSUER)
    sale = await stage.buy(ISSUER, 300)
    back = Money(currency=CURRENCY, minor=100)
    give = partial(
        stage.issuer.refund_purchase, id=stage.id("refund"), purchase_id=sale, cumulative=back
    )
    await retried(give)
    assert await stage.available(ISSUER) == before + 200


async def adjust(stage: Stage) -> None:
    before = await stage.available(ISSUER)
    await retried(
        partial(
            stage.issuer.adjust_points,
            id=stage.id("adjust"),
            account=stage.account(ISSUER),
            points=7,
            reason_code="GOODWILL",
        )
    )
    assert await stage.available(ISSUER) == before + 7


async def ripening(stage: Stage) -> None:
    """A purchase so long ago that its stamp is about to mature: the next sweep's work."""
    before = await stage.available(ISSUER)
    await stage.buy(ISSUER, 11, occurred_at_us=system_clock() - 30 * DAY + 2 * SECOND)
    assert await stage.available(ISSUER) == before + 11


async def expire(stage: Stage) -> None:
    """The sweep at the start finds what is due; what could be spent stays as it is."""
    before = await stage.available(ISSUER)

    async def matured() -> bool:
        totals = await retried(stage.issuer.get_totals)
        held = [one for one in totals.totals if one.unit.endswith("/stamps")]
        return bool(sum(one.points for one in held if one.account_class == ACCOUNT_CLASS_AVAILABLE))

    await until(matured, what="the stamp to mature", patience_s=PATIENCE_S)
    assert await stage.available(ISSUER) == before


async def lock(stage: Stage) -> None:
    for locked in (True, False):
        change = partial(
            stage.issuer.lock_member,
            id=stage.id("lock"),
            account=stage.account(ISSUER),
            locked=locked,
        )
        await retried(change)


async def erase(stage: Stage) -> None:
    key = SigningKey.generate(secrets.token_bytes)
    enrolment = f"enr-{secrets.token_hex(8)}"
    guest = stage.wallet.guest(stage.brands[ISSUER])

    async def join() -> str:
        answer = await guest.enrol(
            id=enrolment, key=key, origin=_origin(stage), name="to be forgotten"
        )
        return str(answer.account)

    account = await retried(join)
    await retried(partial(stage.issuer.erase_member, id=stage.id("erase"), account=account))


async def stock(stage: Stage) -> None:
    before = await _stock(stage)
    await retried(
        partial(stage.acceptor.set_stock, id=stage.id("stock"), reward_id=REWARD, change=3)
    )
    assert await _stock(stage) == before + 3


async def declare(stage: Stage) -> None:
    """A new programme version, which the process declares as soon as it starts."""

    async def declared() -> bool:
        found = await retried(stage.issuer.get_totals)
        return bool(found.entries)

    await until(declared, what="the node to serve again", patience_s=PATIENCE_S)


async def invite(stage: Stage) -> None:
    """Codes are made once, however often they are asked for."""
    office = stage.network.office(ISSUER)
    make = partial(office.create_invitations, id=stage.id("invite"), count=3, valid_days=1)
    first = await retried(make)
    assert await retried(make) == first
    assert len(set(first)) == 3


async def freeze(stage: Stage) -> None:
    """Nobody spends, then everybody may again."""
    office = stage.network.office(ISSUER)
    for frozen in (True, False):
        change = partial(office.set_burn_freeze, frozen=frozen, reason_code="DRILL")
        await retried(partial(change, id=stage.id("freeze")))
        assert (await retried(office.get_burn_freeze)).frozen is frozen


async def claim(stage: Stage) -> None:
    """A purchase that no till has recorded earns once it was confirmed."""
    before = await stage.available(ISSUER)
    ask = partial(
        stage.wallet.member(stage.brands[ISSUER]).claim_purchase,
        id=stage.id("claim"),
        purchase_id=stage.id("missed"),
        amount=Money(currency=CURRENCY, minor=90),
        occurred_at_us=system_clock() - DAY,
    )
    claimed = await retried(ask)
    confirm = partial(
        stage.network.office(ISSUER).confirm_claim,
        id=stage.id("confirm"),
        claim_id=claimed.claim_id,
        amount=Money(currency=CURRENCY, minor=80),
    )
    assert await retried(confirm) == 80
    assert await retried(confirm) == 80
    assert await stage.available(ISSUER) == before + 80


async def tell(stage: Stage) -> None:
    """An endpoint on this machine is added and told of a purchase, at least once."""
    heard: list[str] = []
    async with listening(heard) as url:
        office, name = stage.network.office(ISSUER), f"crm-{secrets.token_hex(4)}"
        add = partial(office.add_webhook, name=name, url=url, kinds=["points"])
        await retried(partial(add, id=stage.id("webhook")))
        await stage.buy(ISSUER, 70)

        async def told() -> bool:
            return bool(heard)

        await until(told, what="the endpoint to be told", patience_s=PATIENCE_S)
        await retried(partial(office.remove_webhook, id=stage.id("unhook"), name=name))
    assert all(one.startswith(f"{ISSUER}/") for one in heard)


@asynccontextmanager
async def listening(heard: list[str]) -> AsyncIterator[str]:
    """An HTTP server which takes every message and notes its id."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                fields = dict(
                    line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:-2]
                )
                await reader.readexactly(int(fields["content-length"]))
                heard.append(fields["webhook-id"])
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/loyalty"
    finally:
        server.close()


# --- scenes: redemptions --------------------------------------------------------------------


async def reward(stage: Stage) -> None:
    points, pieces = await stage.available(ISSUER), await _stock(stage)
    done = await stage.redeem()
    assert done.state == DELIVERED, done
    assert len(done.vouchers) == 1
    stage.vouchers.append(done.vouchers[0])
    assert await stage.available(ISSUER) == points - 100
    assert await _stock(stage) == pieces - 1
    await _posted(stage)


async def refused(stage: Stage) -> None:
    """Clearing aborts for the cap: stock and points are free again."""
    points, pieces = await stage.available(ISSUER), await _stock(stage)
    position = await stage.position(ISSUER)
    await _cap(stage, max(0, -position))
    try:
        with contextlib.suppress(Refused):
            done = await stage.redeem()
            assert done.state == FAILED, done
    finally:
        await _cap(stage, CAP_MINOR)
    await _posted(stage)
    assert await stage.available(ISSUER) == points
    assert await _stock(stage) == pieces


async def use_voucher(stage: Stage) -> None:
    if not stage.vouchers:
        await reward(stage)
    code = stage.vouchers.pop()
    use = partial(stage.acceptor.use_voucher, id=stage.id("use"), code=code)
    await retried(use)
    await retried(use)


async def reverse(stage: Stage) -> None:
    points, position = await stage.available(ISSUER), await stage.position(ISSUER)
    done = await stage.redeem()
    give_back = partial(
        stage.acceptor.reverse_redemption,
        id=stage.id("reverse"),
        redemption_id=done.redemption_id,
        cumulative_points=0,
        reason_code="GOODS_RETURNED",
    )

    async def reversed_() -> bool:
        answer = await retried(give_back)
        return bool(answer.state == REVERSED)

    await until(reversed_, what="the reversal", patience_s=PATIENCE_S)

    async def restored() -> bool:
        return await stage.available(ISSUER) == points

    await until(restored, what="the points to come back", patience_s=PATIENCE_S)
    assert await stage.position(ISSUER) == position


async def exchange(stage: Stage) -> None:
    mine, theirs = await stage.available(ISSUER), await stage.available(ACCEPTOR)
    done = await stage.redeem(exchange=50)
    assert done.state == DELIVERED, done
    assert await stage.available(ISSUER) == mine - 50
    assert await stage.available(ACCEPTOR) == theirs + 50


async def partner(stage: Stage) -> None:
    """The member buys at the acceptor and earns at the issuer."""
    before, sale = await stage.available(ISSUER), stage.id("partner")
    await retried(
        partial(
            stage.acceptor.record_partner_purchase,
            purchase_id=sale,
            issuer=ISSUER,
            account=stage.account(ISSUER),
            amount=Money(currency=CURRENCY, minor=PARTNER_SALE),
        )
    )

    async def accrued() -> bool:
        return await stage.available(ISSUER) > before

    await until(accrued, what="the issuer to accrue", patience_s=PATIENCE_S)
    stage.partner_sales.append(sale)


async def _refunded(refund: Callable[[], Awaitable[Any]], state: int) -> bool:
    return bool((await retried(refund)).state == state)


async def partner_refund(stage: Stage) -> None:
    """A sale to the issuer's member is refunded at the acceptor: first in part, then whole."""
    if not stage.partner_sales:
        await partner(stage)
    sale, name = stage.partner_sales.pop(), stage.id("partner-refund")
    points, position = await stage.available(ISSUER), await stage.position(ISSUER)
    for part, state in ((100, PARTLY_REVERSED), (PARTNER_SALE, REVERSED)):
        refund = partial(
            stage.acceptor.refund_partner_purchase,
            id=f"{name}-{part}",
            purchase_id=sale,
            cumulative=Money(currency=CURRENCY, minor=part),
        )

        await until(partial(_refunded, refund, state), what="a refund", patience_s=PATIENCE_S)

    async def gone() -> bool:
        return await stage.available(ISSUER) == points - PARTNER_SALE

    await until(gone, what="the points to be taken back", patience_s=PATIENCE_S)
    assert await stage.position(ISSUER) == position - PARTNER_SALE // 10


# --- scenes: agreements and the operator ----------------------------------------------------


async def agree(stage: Stage) -> None:
    """A further agreement is proposed by the acceptor, accepted by the issuer, and ended."""
    offered = terms(f"agr_{secrets.token_hex(6)}", issuer=ACCEPTOR, acceptor=ISSUER)
    await found_agreement(stage, offered, proposer=ACCEPTOR, accepter=ISSUER)
    await retried(
        partial(
            stage.acceptor.terminate_agreement,
            id=stage.id("terminate"),
            agreement_id=offered.agreement_id,
            version=1,
        )
    )
    await agreement_state(stage, ISSUER, offered.agreement_id, "TERMINATED")


async def cap(stage: Stage) -> None:
    await _cap(stage, CAP_MINOR)


async def suspend(stage: Stage) -> None:
    for status in (PARTICIPANT_STATUS_SUSPENDED, PARTICIPANT_STATUS_ACTIVE):
        await retried(
            partial(
                stage.network.operator.set_standing,
                id=stage.id("standing"),
                participant=ACCEPTOR,
                status=status,
                reason="drill",
            )
        )


async def settle(stage: Stage) -> None:
    """A window with something in it closes, settles, and both brands acknowledge."""
    await reward(stage)
    operator = stage.network.operator
    window = await stage.open_window()
    await retried(partial(operator.close_window, id=stage.id("close"), window=window))
    await retried(partial(operator.settle_window, id=stage.id("settle"), window=window))

    async def acknowledged() -> bool:
        windows = await retried(lambda: operator.list_windows(limit=5))
        (one,) = [each for each in windows if each.window == window]
        assert not one.protested, one
        return {ISSUER, ACCEPTOR} <= set(one.acknowledged)

    await until(acknowledged, what="the acknowledgements", patience_s=PATIENCE_S)
    assert await stage.open_window() == window + 1


async def admit(stage: Stage) -> None:
    await admitted(stage)


async def rotate(stage: Stage) -> None:
    """The issuer's key is exchanged a few entries on, and redemptions go on across it."""
    home, operator = stage.network.home(ISSUER), stage.network.operator
    made = rotation.prepare(home, passphrase=None, random=secrets.token_bytes)
    request = json_format.Parse(made.file.read_text("utf-8"), RotateParticipantKeyRequest())
    request.last_size = max(made.size, (await _listed(stage, ISSUER)).head_size) + 4
    first = await retried(lambda: operator.rotate_participant_key(request))
    while (await _listed(stage, ISSUER)).head_size <= request.last_size + 2:
        await reward(stage)
    again = await retried(lambda: operator.rotate_participant_key(request))
    assert again.rotate.entry == first.rotate.entry, "once, and the same answer"
    assert (await _listed(stage, ISSUER)).vkey == made.vkey


async def revoke(stage: Stage) -> None:
    """A brand that never came is revoked, once."""
    home, operator = await admitted(stage), stage.network.operator
    ask = partial(
        operator.revoke_participant, id=stage.id("revoke"), participant=home.name, reason="drill"
    )
    first = await retried(ask)
    assert (await retried(ask)).entry == first.entry
    assert (await _listed(stage, home.name)).revoked


async def _listed(stage: Stage, name: str) -> Participant:
    found = await retried(stage.network.operator.list_participants)
    (one,) = [each for each in found if each.participant == name]
    return one


async def admitted(stage: Stage) -> Path:
    """The folder of another brand, which has been admitted."""
    name = f"brand{secrets.token_hex(3)}"
    home = stage.network.folder / name
    peer, public = free_ports(2)
    node.init.init(
        home,
        network=stage.network.name,
        participant=name,
        display_name=name,
        peer_address=f"127.0.0.1:{peer}",
        public_address=f"127.0.0.1:{public}",
        database_url="",
        programme=programme(name).encode(),
        clock=system_clock,
        random=secrets.token_bytes,
    )
    request = json_format.Parse(
        (home / "request.json").read_text("utf-8"), AdmitParticipantRequest()
    )
    answer = await retried(lambda: stage.network.operator.admit_participant(request))
    assert answer.certificate
    return home


# --- what scenes look at --------------------------------------------------------------------


def _origin(stage: Stage) -> str:
    return stage.brands[ISSUER].origin


async def _stock(stage: Stage) -> int:
    rewards = await retried(partial(stage.wallet.rewards, stage.brands[ACCEPTOR]))
    (found,) = [one.stock for one in rewards if one.reward_id == REWARD]
    return int(found)


async def _cap(stage: Stage, minor: int) -> None:
    await retried(
        partial(
            stage.network.operator.set_cap,
            id=stage.id("cap"),
            participant=ISSUER,
            net_debit_cap=Money(currency=CURRENCY, minor=minor),
        )
    )


async def _posted(stage: Stage) -> None:
    """Until no points of the member are held any more."""

    async def none_held() -> bool:
        answer = await retried(stage.wallet.member(stage.brands[ISSUER]).get_balance)
        return not any(one.held for one in answer.balances)

    await until(none_held, what="the hold to end", patience_s=PATIENCE_S)
