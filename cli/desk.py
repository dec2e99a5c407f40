"""What managers decide at the desk: adjustments, the burn freeze, claims, exports, imports."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from cli import output
from cli.access import Address, Ca, Key, Origin, Staff, office
from cli.commands import WriteId, command, group
from cli.merchant import BATCH, Account, app
from cli.options import HERE, Id, Json, Limit, Node
from comity.errors import Malformed
from comity.v1.member_pb2 import Profile
from comity.v1.office_pb2 import MemberImport, MemberImported

adjustment = group("Points given and taken by hand; large ones wait for a second manager.")
claim = group("Purchases which members say did not earn.")
app.add_typer(adjustment, name="adjustment")
app.add_typer(claim, name="claim")

Adjustment = Annotated[str, typer.Argument(metavar="ADJUSTMENT", help="Its id, adj_….")]
Claim = Annotated[str, typer.Argument(metavar="CLAIM", help="Its id, clm_….")]
Rejects = Annotated[
    Path | None, typer.Option("--rejects", help="Where to write the rejected lines, with why.")
]


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


# --- export and import ------------------------------------------------------------------------


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


@command(
    app,
    "import-members",
    example="comity merchant import-members cards.csv --codes codes.csv --rejects rejects.csv",
)
async def import_members(
    file: Annotated[
        Path,
        typer.Argument(
            help="CSV with the column reference, and if you like account, points, name, email, "
            "birth_date, region."
        ),
    ],
    codes: Annotated[
        Path, typer.Option(help="Where to write accounts and the codes to enrol with.")
    ],
    rejects: Rejects = None,
    node: Node = HERE,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Take over members of an older programme with their points; a second time changes nothing."""
    read = list(_read_members(file))
    rejected = [one for one in read if isinstance(one[1], str)]
    good = [(line, one) for line, one in read if isinstance(one, MemberImport)]
    made: list[tuple[str, MemberImported]] = []
    async with office(Staff(node=node, key=key)) as client:
        with output.progress("taking over members", len(good)) as advance:
            for start in range(0, len(good), BATCH):
                some = good[start : start + BATCH]
                results = await client.import_members([one for _, one in some], timeout_s=60.0)
                for (line, one), result in zip(some, results, strict=True):
                    if result.failure.code:
                        rejected.append((line, result.failure.message))
                    else:
                        made.append((one.reference, result))
                advance(len(some))
    with codes.open("w", newline="", encoding="utf-8") as into:
        codes.chmod(0o600)
        rows = csv.writer(into)
        rows.writerow(("reference", "account", "invitation"))
        rows.writerows((name, one.account, one.invitation) for name, one in made)
    lines = [(line, str(why)) for line, why in rejected]
    write_rejects(rejects, lines)
    found = {"imported": len(made), "rejected": [{"line": at, "why": why} for at, why in lines]}

    def show() -> None:
        if lines:
            output.table(("line", "why it was rejected"), lines)
        output.say(f"{len(made)} members taken over; their codes are in {codes}.")

    output.emit(found, as_json, show)
    if lines:
        raise typer.Exit(1)


def write_rejects(out: Path | None, lines: Sequence[tuple[int, str]]) -> None:
    """The lines of a file which were rejected, each with the reason."""
    if out is None:
        return
    with out.open("w", newline="", encoding="utf-8") as into:
        rows = csv.writer(into)
        rows.writerow(("line", "why"))
        rows.writerows(sorted(lines))


def _read_members(file: Path) -> Iterator[tuple[int, MemberImport | str]]:
    """Each line with what it says, or what is wrong with it."""
    with file.open(newline="", encoding="utf-8") as lines:
        reader = csv.DictReader(lines)
        if "reference" not in (reader.fieldnames or ()):
            raise Malformed(f"{file} has no column reference.")
        for row in reader:
            yield reader.line_num, _member(row)


def _member(row: Mapping[str, str | None]) -> MemberImport | str:
    said = {name: (value or "").strip() for name, value in row.items() if name}
    points = said.get("points") or "0"
    if not points.isascii() or not points.isdigit() or len(points) > 13:
        return f"points is no whole number: {points}"
    if not said["reference"]:
        return "there is no reference"
    profile = {name: said.get(name, "") for name in ("name", "email", "birth_date", "region")}
    return MemberImport(
        reference=said["reference"],
        account=said.get("account", ""),
        points=int(points),
        profile=Profile(**profile) if any(profile.values()) else None,
    )
