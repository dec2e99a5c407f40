"""Taking over many sales, or members of an older programme, from a file.

A line which cannot be taken over hinders no other: it is written to a file of rejects with its
number and the reason, and once mended the same file can be taken over again.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from cli import output
from cli.access import Address, Ca, Key, Origin, Staff, merchant, office
from cli.commands import command
from cli.merchant import app
from cli.options import HERE, Json, Node
from comity.errors import Malformed
from comity.v1.member_pb2 import Profile
from comity.v1.merchant_pb2 import Purchase
from comity.v1.office_pb2 import MemberImport, MemberImported

BATCH = 1_024

Rejects = Annotated[
    Path | None, typer.Option("--rejects", help="Where to write the rejected lines, with why.")
]
Reject = tuple[int, str, str]
"""A line's number, the code of what is wrong, and the sentence."""

T = TypeVar("T")


@command(
    app,
    "import",
    example="comity merchant import sales.csv\ncomity merchant import sales.csv --rejects bad.csv",
)
async def import_purchases(
    file: Annotated[
        Path, typer.Argument(help="CSV with the columns purchase_id, account, amount.")
    ],
    rejects: Rejects = None,
    node: Node = HERE,
    key: Key = None,
    address: Address = "",
    ca: Ca = None,
    origin: Origin = "",
    as_json: Json = False,
) -> None:
    """Record many sales from a file. Rejected rows are listed; the others count."""
    sales, rejected = _read(file, ("purchase_id", "account", "amount"), _sale)
    points = 0
    staff = Staff(node=node, key=key, address=address, ca=ca, origin=origin)
    async with merchant(staff) as client:
        with output.progress("recording sales", len(sales)) as advance:
            for start in range(0, len(sales), BATCH):
                some = sales[start : start + BATCH]
                results = await client.record_purchases([one for _, one in some], timeout_s=60.0)
                for (line, _), result in zip(some, results, strict=True):
                    points += result.points
                    if result.failure.code:
                        rejected.append((line, result.failure.code, result.failure.message))
                advance(len(some))
    names = {line: one.purchase_id for line, one in sales}
    count = len(sales) - sum(line in names for line, _, _ in rejected)
    found = {
        "recorded": count,
        "points": points,
        "rejected": [
            {"line": line, "purchase_id": names.get(line, ""), "code": code, "message": why}
            for line, code, why in sorted(rejected)
        ],
    }
    _report(found, rejected, rejects, as_json, f"{count} sales recorded, {points:,} points earned.")


def _sale(row: Mapping[str, str]) -> Purchase:
    return Purchase(
        purchase_id=row["purchase_id"],
        account=row["account"],
        amount=output.parse_money(row["amount"]),
    )


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
    members, rejected = _read(file, ("reference",), _member)
    made: list[tuple[str, MemberImported]] = []
    async with office(Staff(node=node, key=key)) as client:
        with output.progress("taking over members", len(members)) as advance:
            for start in range(0, len(members), BATCH):
                some = members[start : start + BATCH]
                results = await client.import_members([one for _, one in some], timeout_s=60.0)
                for (line, one), result in zip(some, results, strict=True):
                    if result.failure.code:
                        rejected.append((line, result.failure.code, result.failure.message))
                    else:
                        made.append((one.reference, result))
                advance(len(some))
    _write(
        codes,
        ("reference", "account", "invitation"),
        [(name, one.account, one.invitation) for name, one in made],
    )
    found = {
        "imported": len(made),
        "rejected": [
            {"line": line, "code": code, "message": why} for line, code, why in sorted(rejected)
        ],
    }
    said = f"{len(made)} members taken over; their codes are in {codes}."
    _report(found, rejected, rejects, as_json, said)


def _member(row: Mapping[str, str]) -> MemberImport:
    points = row.get("points") or "0"
    if not points.isascii() or not points.isdigit() or len(points) > 13:
        raise Malformed(f"points is no whole number: {points}.")
    profile = {name: row.get(name, "") for name in ("name", "email", "birth_date", "region")}
    return MemberImport(
        reference=row["reference"],
        account=row.get("account", ""),
        points=int(points),
        profile=Profile(**profile) if any(profile.values()) else None,
    )


def _read(
    file: Path, columns: Sequence[str], read: Callable[[Mapping[str, str]], T]
) -> tuple[list[tuple[int, T]], list[Reject]]:
    """What the lines say, by number, and those which say nothing that can be sent."""
    found: list[tuple[int, T]] = []
    rejected: list[Reject] = []
    for line, row in _rows(file, columns):
        missing = [name for name in columns if not row[name]]
        try:
            if missing:
                raise Malformed(f"{' and '.join(missing)} is empty.")
            found.append((line, read(row)))
        except (Malformed, typer.BadParameter) as error:
            rejected.append((line, Malformed.code, str(error)))
    return found, rejected


def _rows(file: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    with file.open(newline="", encoding="utf-8-sig") as lines:
        reader = csv.DictReader(lines)
        for name in columns:
            if name not in (reader.fieldnames or ()):
                raise Malformed(f"{file} has no column {name}.")
        for row in reader:
            said = {name: value.strip() for name, value in row.items() if isinstance(value, str)}
            yield reader.line_num, dict.fromkeys(columns, "") | said


def _report(
    found: Mapping[str, object],
    rejected: Sequence[Reject],
    rejects: Path | None,
    as_json: bool,
    said: str,
) -> None:
    """Show what was done and what was not; ends the command with 1 if something was rejected."""
    lines = sorted(rejected)
    if rejects is not None:
        _write(rejects, ("line", "code", "why"), lines)

    def show() -> None:
        if lines:
            output.table(("line", "code", "why it was rejected"), lines)
        output.say(said)

    output.emit(found, as_json, show)
    if lines:
        raise typer.Exit(1)


def _write(out: Path, columns: Sequence[str], lines: Sequence[Sequence[object]]) -> None:
    """A CSV file which others cannot read."""
    out.touch(mode=0o600)
    with out.open("w", newline="", encoding="utf-8") as into:
        rows = csv.writer(into)
        rows.writerow(columns)
        rows.writerows(lines)
