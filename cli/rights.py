"""What a member may ask of a brand: missed points, and everything it holds on the member."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from cli import output
from cli.commands import WriteId, command
from cli.member import BrandName, app
from cli.options import DEFAULT_WALLET, Id, Json, Wallet
from cli.purse import open_wallet
from comity.clock import SECOND


@command(
    app,
    "claim",
    example="comity member claim grocery sale-1001 '12.34 EUR' --at 2026-11-21T17:30",
)
async def claim(
    brand: BrandName,
    purchase_id: Annotated[str, typer.Argument(metavar="SALE", help="Its number on the receipt.")],
    amount: Annotated[str, typer.Argument(metavar="AMOUNT", help="What you paid: '12.34 EUR'.")],
    at: Annotated[
        datetime,
        typer.Option(formats=["%Y-%m-%dT%H:%M", "%Y-%m-%d"], help="When you bought it, in UTC."),
    ],
    write_id: Id = None,
    wallet: Wallet = DEFAULT_WALLET,
    as_json: Json = False,
) -> None:
    """Claim a purchase which did not earn; the brand compares it with its sales."""
    async with open_wallet(wallet) as opened:
        client = opened.member(opened.store.brand(brand))
        found = await client.claim_purchase(
            id=WriteId.of(write_id),
            purchase_id=purchase_id,
            amount=output.parse_money(amount),
            occurred_at_us=int(at.replace(tzinfo=UTC).timestamp()) * SECOND,
        )
    output.emit(found, as_json, lambda: output.say(f"{found.claim_id} waits for staff of {brand}."))


@command(app, "claims", example="comity member claims grocery")
async def claims(brand: BrandName, wallet: Wallet = DEFAULT_WALLET, as_json: Json = False) -> None:
    """Show what became of your claims at a brand."""
    async with open_wallet(wallet) as opened:
        found = await opened.member(opened.store.brand(brand)).list_claims()
    rows = [
        (
            one.claim_id,
            one.purchase_id,
            output.money(one.amount),
            output.word(one, "state"),
            one.reason_code,
        )
        for one in found
    ]
    columns = ("claim", "sale", "amount", "state", "why not")
    output.emit(list(found), as_json, lambda: output.table(columns, rows, right=("amount",)))


@command(app, "export", example="comity member export grocery --out grocery.json")
async def export(
    brand: BrandName,
    out: Annotated[Path, typer.Option(help="The file to write.")],
    wallet: Wallet = DEFAULT_WALLET,
) -> None:
    """Write everything a brand holds on you to a JSON file; its statements verify offline."""
    async with open_wallet(wallet) as opened:
        found = await opened.member(opened.store.brand(brand)).export()
    out.touch(mode=0o600)
    out.write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n", "utf-8")
    output.say(f"{out} holds {sum(map(len, found.values())):,} records.")
