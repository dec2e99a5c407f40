"""Who joins: `comity merchant invitation` and `comity merchant applicant`."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import output
from cli.access import Address, Ca, Key, Origin, Staff, office
from cli.commands import WriteId, command, group
from cli.merchant import Account, app
from cli.options import HERE, Id, Json, Limit, Node

invitation = group("Codes which let somebody join, once each.")
applicant = group("Enrolments that wait for approval or payment.")
app.add_typer(invitation, name="invitation")
app.add_typer(applicant, name="applicant")


@command(
    invitation,
    "create",
    example="comity merchant invitation create\n"
    "comity merchant invitation create --count 20 --days 14 --json",
)
async def create(
    count: Annotated[int, typer.Option(min=1, max=100, help="How many codes.")] = 1,
    days: Annotated[int, typer.Option(min=1, max=3_650, help="How long they are good.")] = 30,
    write_id: Id = None,
    node: Node = HERE,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Make invitations and print their codes."""
    async with office(Staff(node=node, key=key)) as client:
        codes = await client.create_invitations(
            id=WriteId.of(write_id), count=count, valid_days=days
        )
    output.emit(list(codes), as_json, lambda: output.say("\n".join(codes)))


@command(invitation, "list", example="comity merchant invitation list --limit 20")
async def show(
    limit: Limit = 50, node: Node = HERE, key: Key = None, as_json: Json = False
) -> None:
    """List invitations and who has used them."""
    async with office(Staff(node=node, key=key)) as client:
        found = [one async for one in client.invitations(at_most=limit)]
    rows = [
        (one.code, one.state.lower(), output.when(one.expires_at_us), one.made_by, one.account)
        for one in found
    ]
    columns = ("code", "state", "good until", "made by", "used by")
    output.emit(found, as_json, lambda: output.table(columns, rows))


@command(invitation, "revoke", example="comity merchant invitation revoke 7K3M-9QXA-01XA-V4HT-Y")
async def revoke(
    code: Annotated[str, typer.Argument(help="The invitation's code.")],
    write_id: Id = None,
    node: Node = HERE,
    key: Key = None,
) -> None:
    """Revoke an invitation which nobody has used."""
    async with office(Staff(node=node, key=key)) as client:
        await client.revoke_invitation(id=WriteId.of(write_id), code=code)
    output.say(f"{code} lets nobody in any more.")


@command(applicant, "list", example="comity merchant applicant list")
async def applicants(
    limit: Limit = 50, node: Node = HERE, key: Key = None, as_json: Json = False
) -> None:
    """List who waits to be a member."""
    async with office(Staff(node=node, key=key)) as client:
        found = [one async for one in client.applications(at_most=limit)]
    rows = [
        (
            one.account,
            output.word(one, "state"),
            output.when(one.asked_at_us),
            one.profile.name,
            one.profile.birth_date,
            one.profile.region,
        )
        for one in found
    ]
    columns = ("account", "state", "since", "name", "born", "region")
    output.emit(found, as_json, lambda: output.table(columns, rows, empty="Nobody waits to join."))


@command(
    applicant,
    "admit",
    example="comity merchant applicant admit acc_00112233445566778899aabbccddeeff",
)
async def admit(account: Account, write_id: Id = None, node: Node = HERE, key: Key = None) -> None:
    """Let an applicant in; where a fee is asked for, without it."""
    async with office(Staff(node=node, key=key)) as client:
        await client.admit_applicant(id=WriteId.of(write_id), account=account)
    output.say(f"{account} is a member now.")


@command(
    applicant,
    "refuse",
    example="comity merchant applicant refuse acc_00112233445566778899aabbccddeeff "
    "--reason not-a-resident",
)
async def refuse(
    account: Account,
    reason: Annotated[str, typer.Option(help="Why, as a short code; the applicant reads it.")],
    write_id: Id = None,
    node: Node = HERE,
    key: Key = None,
) -> None:
    """Refuse an applicant."""
    async with office(Staff(node=node, key=key)) as client:
        await client.refuse_applicant(id=WriteId.of(write_id), account=account, reason_code=reason)
    output.say(f"{account} is refused; what was said of the person is forgotten.")


@command(
    applicant,
    "paid",
    example="comity merchant applicant paid acc_00112233445566778899aabbccddeeff '25.00 EUR' "
    "--reference receipt-1001",
)
async def paid(
    account: Account,
    amount: Annotated[str, typer.Argument(metavar="AMOUNT", help="What was paid: '25.00 EUR'.")],
    reference: Annotated[str, typer.Option(help="The till's own id of the payment.")],
    write_id: Id = None,
    node: Node = HERE,
    key: Key = None,
    address: Address = "",
    ca: Ca = None,
    origin: Origin = "",
) -> None:
    """Confirm that the fee of a membership was paid: the applicant is a member."""
    staff = Staff(node=node, key=key, address=address, ca=ca, origin=origin)
    async with office(staff) as client:
        await client.confirm_payment(
            id=WriteId.of(write_id),
            account=account,
            amount=output.parse_money(amount),
            reference=reference,
        )
    output.say(f"{account} has paid and is a member now.")
