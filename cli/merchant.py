"""`comity merchant`: what a brand's tills and managers do at their node."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli import output
from cli.access import Address, Ca, Key, Origin, Staff, merchant, office
from cli.commands import WriteId, command, group
from cli.options import HERE, Id, Json, Limit, Node
from cli.parts import PARTS
from comity.errors import rebuild
from comity.v1.common_pb2 import Failure
from comity.v1.member_pb2 import Redemption
from comity.v1.merchant_pb2 import Purchase
from comity.v1.office_pb2 import ADJUSTMENT_STATE_WAITING

app = group(PARTS["merchant"].help)
voucher = group("Vouchers which members show at the till.")
app.add_typer(voucher, name="voucher")

BATCH = 1_024

Account = Annotated[str, typer.Argument(metavar="ACCOUNT", help="The member's account, acc_….")]
Amount = Annotated[str, typer.Argument(metavar="AMOUNT", help="Money, such as '12.34 USD'.")]
PurchaseId = Annotated[str, typer.Argument(metavar="PURCHASE", help="The till's own sale id.")]
Reason = Annotated[str, typer.Option(help="Why, as a short code.")]
RedemptionId = Annotated[str, typer.Argument(metavar="REDEMPTION", help="rdm_ and 32 digits.")]


@command(
    app,
    "purchase",
    example="comity merchant purchase acc_00112233445566778899aabbccddeeff '12.34 USD' "
    "--purchase sale-1001",
)
async def purchase(
    account: Account,
    amount: Amount,
    purchase_id: Annotated[
        str, typer.Option("--purchase", help="The till's own id of the sale.", show_default=False)
    ],
    node: Node = HERE,
    key: Key = None,
    address: Address = "",
    ca: Ca = None,
    origin: Origin = "",
    as_json: Json = False,
) -> None:
    """Record a sale: the member earns. The same sale id is counted once."""
    sale = Purchase(purchase_id=purchase_id, account=account, amount=output.parse_money(amount))
    async with merchant(_staff(node, key, address, ca, origin)) as client:
        result = (await client.record_purchases([sale]))[0]
    _raise(result.failure)
    state = " once the return window has ended" if result.pending else ""
    output.emit(
        result,
        as_json,
        lambda: output.say(f"{account} earned {output.number(result.points)} points{state}."),
    )


@command(app, "refund", example="comity merchant refund sale-1001 '4.00 USD'")
async def refund(
    purchase_id: PurchaseId,
    cumulative: Annotated[
        str, typer.Argument(metavar="AMOUNT", help="All refunded so far, this refund included.")
    ],
    write_id: Id = None,
    node: Node = HERE,
    key: Key = None,
    address: Address = "",
    ca: Ca = None,
    origin: Origin = "",
    as_json: Json = False,
) -> None:
    """Refund a sale in whole or part: the points it earned are taken back."""
    async with merchant(_staff(node, key, address, ca, origin)) as client:
        answer = await client.refund_purchase(
            id=WriteId.of(write_id),
            purchase_id=purchase_id,
            cumulative=output.parse_money(cumulative),
        )
    debt = f", {output.number(answer.debt)} of them became a debt" if answer.debt else ""
    output.emit(
        answer,
        as_json,
        lambda: output.say(f"{output.number(answer.points)} points taken back{debt}."),
    )


@command(
    app,
    "pay",
    example="comity merchant pay acc_00112233445566778899aabbccddeeff '80.00 USD' "
    "--order order-1001 --points 1000",
)
async def pay(
    account: Account,
    amount: Amount,
    order_id: Annotated[
        str, typer.Option("--order", help="The till's own id of the order.", show_default=False)
    ],
    points: Annotated[
        int, typer.Option(help="How many are to pay; 0 is as many as may.", min=0)
    ] = 0,
    virtual: Annotated[bool, typer.Option("--virtual", help="The goods are not sent.")] = False,
    write_id: Id = None,
    node: Node = HERE,
    key: Key = None,
    address: Address = "",
    ca: Ca = None,
    origin: Origin = "",
    as_json: Json = False,
) -> None:
    """Let points pay a part of an order; the rest is money, and a purchase that earns."""
    async with merchant(_staff(node, key, address, ca, origin)) as client:
        answer = await client.pay_with_points(
            id=WriteId.of(write_id),
            account=account,
            order_id=order_id,
            amount=output.parse_money(amount),
            points=points,
            virtual=virtual,
        )
    output.emit(
        answer,
        as_json,
        lambda: output.say(
            f"{output.number(answer.points)} points pay {output.money(answer.covered)}; "
            f"{output.money(answer.rest)} are left to pay."
        ),
    )


@command(app, "pay-refund", example="comity merchant pay-refund order-1001 --points 500")
async def pay_refund(
    order_id: Annotated[str, typer.Argument(metavar="ORDER", help="The till's own order id.")],
    points: Annotated[
        int, typer.Option(help="All given back so far, these included; 0 is all.", min=0)
    ] = 0,
    amount: Annotated[
        str, typer.Option(help="Instead: all money's worth given back so far, '5.00 USD'.")
    ] = "",
    write_id: Id = None,
    node: Node = HERE,
    key: Key = None,
    address: Address = "",
    ca: Ca = None,
    origin: Origin = "",
    as_json: Json = False,
) -> None:
    """Give points back that paid an order: they keep their expiry, and may be expired."""
    async with merchant(_staff(node, key, address, ca, origin)) as client:
        answer = await client.refund_payment(
            id=WriteId.of(write_id),
            order_id=order_id,
            cumulative_points=points,
            cumulative=output.parse_money(amount) if amount else None,
        )
    over = f", {output.number(answer.expired)} of them expired" if answer.expired else ""
    output.emit(
        answer,
        as_json,
        lambda: output.say(f"{output.number(answer.points)} points come back{over}."),
    )


@command(
    app,
    "adjust",
    example="comity merchant adjust acc_00112233445566778899aabbccddeeff 50 --reason goodwill\n"
    "comity merchant adjust acc_00112233445566778899aabbccddeeff -- -50",
)
async def adjust(
    account: Account,
    points: Annotated[int, typer.Argument(help="Positive gives, negative takes.")],
    reason: Reason = "manual",
    write_id: Id = None,
    node: Node = HERE,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Give or take points by hand; the log keeps the reason.

    What the programme lets no manager do alone waits for another one: `merchant adjustment`.
    """
    async with office(_staff(node, key)) as client:
        answer = await client.propose_adjustment(
            id=WriteId.of(write_id), account=account, points=points, reason_code=reason
        )
    waits = answer.state == ADJUSTMENT_STATE_WAITING
    output.emit(
        answer,
        as_json,
        lambda: output.say(
            f"{answer.adjustment_id} waits for another manager: {points:+,} points for {account}."
            if waits
            else f"{account} was adjusted by {points:+,} points: entry {answer.index}."
        ),
    )


@command(
    app,
    "partner-purchase",
    example="comity merchant partner-purchase acc_00112233445566778899aabbccddeeff '40.00 USD' "
    "--issuer grocery --purchase sale-1002",
)
async def partner_purchase(
    account: Account,
    amount: Amount,
    issuer: Annotated[str, typer.Option(help="The brand whose points the member earns.")],
    purchase_id: Annotated[str, typer.Option("--purchase", help="The till's own sale id.")],
    node: Node = HERE,
    key: Key = None,
    address: Address = "",
    ca: Ca = None,
    origin: Origin = "",
    as_json: Json = False,
) -> None:
    """Record a sale here to another brand's member, who earns there; this brand pays."""
    async with merchant(_staff(node, key, address, ca, origin)) as client:
        answer = await client.record_partner_purchase(
            purchase_id=purchase_id,
            issuer=issuer,
            account=account,
            amount=output.parse_money(amount),
        )
    output.emit(
        answer,
        as_json,
        lambda: output.say(
            f"{account} earns {output.number(answer.points)} points of {issuer}: "
            f"{output.word(answer, 'state')} ({answer.redemption_id})."
        ),
    )


@command(
    app,
    "partner-refund",
    example="comity merchant partner-refund sale-1002 '15.00 USD'",
)
async def partner_refund(
    purchase_id: PurchaseId,
    cumulative: Annotated[
        str, typer.Argument(metavar="AMOUNT", help="All refunded so far, this refund included.")
    ],
    write_id: Id = None,
    node: Node = HERE,
    key: Key = None,
    address: Address = "",
    ca: Ca = None,
    origin: Origin = "",
    as_json: Json = False,
) -> None:
    """Refund a sale to another brand's member: its points are taken back, and not paid for."""
    async with merchant(_staff(node, key, address, ca, origin)) as client:
        answer = await client.refund_partner_purchase(
            id=WriteId.of(write_id),
            purchase_id=purchase_id,
            cumulative=output.parse_money(cumulative),
        )
    lost = (
        f", {output.number(answer.unrecovered_points)} could not be taken back and stay paid for"
        if answer.unrecovered_points
        else ""
    )
    output.emit(
        answer,
        as_json,
        lambda: output.say(
            f"{output.number(answer.reversed_points)} points reversed{lost}: "
            f"{output.word(answer, 'state')} ({answer.redemption_id})."
        ),
    )


@command(
    voucher,
    "check",
    example="comity merchant voucher check 7K3M-9QXA-01XA-V4HT-Y",
)
async def check_voucher(
    code: Annotated[str, typer.Argument(help="The code on the voucher.")],
    node: Node = HERE,
    key: Key = None,
    address: Address = "",
    ca: Ca = None,
    origin: Origin = "",
    as_json: Json = False,
) -> None:
    """Look whether a voucher is valid, without taking it."""
    async with merchant(_staff(node, key, address, ca, origin)) as client:
        found = await client.check_voucher(code)
    used = f" since {output.when(found.used_at_us)}" if found.used_at_us else ""
    output.emit(
        found, as_json, lambda: output.say(f"{code}: {found.state}{used}, {found.reward_id}.")
    )


@command(voucher, "use", example="comity merchant voucher use 7K3M-9QXA-01XA-V4HT-Y")
async def use_voucher(
    code: Annotated[str, typer.Argument(help="The code on the voucher.")],
    write_id: Id = None,
    node: Node = HERE,
    key: Key = None,
    address: Address = "",
    ca: Ca = None,
    origin: Origin = "",
    as_json: Json = False,
) -> None:
    """Take a voucher, once."""
    async with merchant(_staff(node, key, address, ca, origin)) as client:
        found = await client.use_voucher(id=WriteId.of(write_id), code=code)
    output.emit(found, as_json, lambda: output.say(f"{code} is taken: hand out {found.reward_id}."))


@command(
    app,
    "reverse",
    example="comity merchant reverse rdm_00112233445566778899aabbccddeeff --reason returned\n"
    "comity merchant reverse rdm_00112233445566778899aabbccddeeff --points 100",
)
async def reverse(
    redemption_id: RedemptionId,
    points: Annotated[
        int, typer.Option(help="All points returned so far, these included; 0 is all.", min=0)
    ] = 0,
    reason: Reason = "returned",
    write_id: Id = None,
    node: Node = HERE,
    key: Key = None,
    address: Address = "",
    ca: Ca = None,
    origin: Origin = "",
    as_json: Json = False,
) -> None:
    """Take a reward back: its points return to the member with their old expiry."""
    async with merchant(_staff(node, key, address, ca, origin)) as client:
        answer = await client.reverse_redemption(
            id=WriteId.of(write_id),
            redemption_id=redemption_id,
            cumulative_points=points,
            reason_code=reason,
        )
    output.emit(
        answer,
        as_json,
        lambda: output.say(
            f"{redemption_id}: {output.word(answer, 'state')}, "
            f"{output.number(answer.reversed_points)} points returned."
        ),
    )


@command(
    app, "redemption", example="comity merchant redemption rdm_00112233445566778899aabbccddeeff"
)
async def redemption(
    redemption_id: RedemptionId,
    node: Node = HERE,
    key: Key = None,
    address: Address = "",
    ca: Ca = None,
    origin: Origin = "",
    as_json: Json = False,
) -> None:
    """Show one redemption which this brand accepted."""
    async with merchant(_staff(node, key, address, ca, origin)) as client:
        found = await client.find_redemption(redemption_id)
    output.emit(found, as_json, lambda: show_redemptions([found]))


@command(app, "redemptions", example="comity merchant redemptions --limit 20")
async def redemptions(
    limit: Limit = 50, node: Node = HERE, key: Key = None, as_json: Json = False
) -> None:
    """List the redemptions which this brand accepted."""
    async with merchant(_staff(node, key)) as client:
        found = [one async for one in client.redemptions(at_most=limit)]
    output.emit(found, as_json, lambda: show_redemptions(found))


def show_redemptions(found: list[Redemption]) -> None:
    rows = [
        (
            one.redemption_id,
            output.word(one, "state"),
            one.issuer,
            output.number(one.points),
            output.number(one.reversed_points),
            one.failure.message,
        )
        for one in found
    ]
    columns = ("redemption", "state", "issuer", "points", "returned", "why not")
    output.table(columns, rows, right=("points", "returned"))


def _staff(
    node: Path, key: Path | None, address: str = "", ca: Path | None = None, origin: str = ""
) -> Staff:
    return Staff(node=node, key=key, address=address, ca=ca, origin=origin)


def _raise(failure: Failure) -> None:
    """Raise the failure of one item of a batch, if it has one."""
    if failure.code:
        raise rebuild(failure.code, failure.message, field=failure.field)
