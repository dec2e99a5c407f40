"""What managers decide at the desk: adjustments, the burn freeze, claims, exports."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from cli import output
from cli.access import Address, Ca, Key, Origin, Staff, office
from cli.commands import WriteId, command, group
from cli.merchant import Account, app
from cli.options import HERE, Id, Json, Limit, Node

adjustment = group("Points given and taken by hand; large ones wait for a second manager.")
claim = group("Purchases which members say did not earn.")
app.add_typer(adjustment, name="adjustment")
app.add_typer(claim, name="claim")

Adjustment = Annotated[str, typer.Argument(metavar="ADJUSTMENT", help="Its id, adj_….")]
Claim = Annotated[str, typer.Argument(metavar="CLAIM", help="Its id, clm_….")]


# --- adjustments ------------------------------------------------------------------------------


@command(adjustment, "list", example="comity merchant adjustment list --waiting")
async def adjustments(
    waiting: Annotated[bool, typer.Option("--waiting", help="Only those which wait.")] = False,
    limit: Limit = 50,
    node: Node = HERE,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """List adjustments with their reasons, and who is behind them."""
    async with office(Staff(node=node, key=key)) as client:
        found = [one async for one in client.adjustments(waiting=waiting, at_most=limit)]
    rows = [
        (
            one.adjustment_id,
            one.account,
            f"{one.points:+,}",
            one.reason_code,
            output.word(one, "state"),
            one.proposed_by,
            one.decided_by,
            output.when(one.proposed_at_us),
        )
        for one in found
    ]
    columns = ("adjustment", "account", "points", "reason", "state", "by", "decided by", "when")
    output.emit(found, as_json, lambda: output.table(columns, rows, right=("points",)))


@command(adjustment, "approve", example="comity merchant adjustment approve adj_0011223344556677")
async def approve(
    adjustment_id: Adjustment, write_id: Id = None, node: Node = HERE, key: Key = None
) -> None:
    """Approve an adjustment which another manager has proposed."""
    async with office(Staff(node=node, key=key)) as client:
        index = await client.approve_adjustment(
            id=WriteId.of(write_id), adjustment_id=adjustment_id
        )
    output.say(f"{adjustment_id} is done: entry {index}.")


@command(adjustment, "reject", example="comity merchant adjustment reject adj_0011223344556677")
async def reject(
    adjustment_id: Adjustment, write_id: Id = None, node: Node = HERE, key: Key = None
) -> None:
    """Reject an adjustment which waits."""
    async with office(Staff(node=node, key=key)) as client:
        await client.reject_adjustment(id=WriteId.of(write_id), adjustment_id=adjustment_id)
    output.say(f"{adjustment_id} is rejected; no points were moved.")


# --- the freeze -------------------------------------------------------------------------------


@command(
    app,
    "freeze",
    example="comity merchant freeze --reason suspected-fraud\n"
    "comity merchant freeze --lift --reason all-clear",
)
async def freeze(
    reason: Annotated[str, typer.Option(help="Why, as a short code.")],
    lift: Annotated[bool, typer.Option("--lift", help="Let members spend again.")] = False,
    write_id: Id = None,
    node: Node = HERE,
    key: Key = None,
) -> None:
    """Stop the spending of this brand's points at once; members go on earning."""
    async with office(Staff(node=node, key=key)) as client:
        await client.set_burn_freeze(id=WriteId.of(write_id), frozen=not lift, reason_code=reason)
        now = await client.get_burn_freeze()
    if now.by_programme:
        output.say("The programme itself has frozen spending; that is changed in its file.")
    elif now.frozen:
        output.say("Nobody can spend points now; what was decided before is completed.")
    else:
        output.say("Members can spend their points.")


# --- claims -----------------------------------------------------------------------------------


@command(claim, "list", example="comity merchant claim list --key till.key")
async def list_claims(
    limit: Limit = 50, node: Node = HERE, key: Key = None, as_json: Json = False
) -> None:
    """List the claims which wait."""
    async with office(Staff(node=node, key=key)) as client:
        found = [one async for one in client.claims(at_most=limit)]
    rows = [
        (
            one.claim_id,
            one.account,
            one.purchase_id,
            output.money(one.amount),
            output.when(one.occurred_at_us),
        )
        for one in found
    ]
    columns = ("claim", "account", "sale", "amount", "when")
    output.emit(
        found,
        as_json,
        lambda: output.table(columns, rows, right=("amount",), empty="No claim waits."),
    )


@command(claim, "confirm", example="comity merchant claim confirm clm_0011223344556677 '12.34 EUR'")
async def confirm(
    claim_id: Claim,
    amount: Annotated[
        str, typer.Argument(metavar="AMOUNT", help="What your own sales say was paid.")
    ],
    write_id: Id = None,
    node: Node = HERE,
    key: Key = None,
    address: Address = "",
    ca: Ca = None,
    origin: Origin = "",
) -> None:
    """Confirm a claim: the sale earns for the member, once."""
    staff = Staff(node=node, key=key, address=address, ca=ca, origin=origin)
    async with office(staff) as client:
        points = await client.confirm_claim(
            id=WriteId.of(write_id), claim_id=claim_id, amount=output.parse_money(amount)
        )
    output.say(f"{claim_id} is confirmed: {output.number(points)} points.")


@command(
    claim,
    "reject",
    example="comity merchant claim reject clm_0011223344556677 --reason no-such-sale",
)
async def reject_claim(
    claim_id: Claim,
    reason: Annotated[str, typer.Option(help="Why, as a short code; the member reads it.")],
    write_id: Id = None,
    node: Node = HERE,
    key: Key = None,
) -> None:
    """Reject a claim."""
    async with office(Staff(node=node, key=key)) as client:
        await client.reject_claim(id=WriteId.of(write_id), claim_id=claim_id, reason_code=reason)
    output.say(f"{claim_id} is rejected.")


# --- export -----------------------------------------------------------------------------------


@command(
    app,
    "export",
    example="comity merchant export acc_00112233445566778899aabbccddeeff --out member.json",
)
async def export(
    account: Account,
    out: Annotated[Path, typer.Option(help="The file to write.")],
    node: Node = HERE,
    key: Key = None,
) -> None:
    """Write everything this brand holds on a member to a JSON file."""
    async with office(Staff(node=node, key=key)) as client:
        found = await client.export_member(account)
    write_export(out, found)
    output.say(f"{out} holds {sum(map(len, found.values())):,} records on {account}.")


def write_export(out: Path, found: Mapping[str, list[Any]]) -> None:
    """An export, in a file that others cannot read."""
    out.touch(mode=0o600)
    out.write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n", "utf-8")
