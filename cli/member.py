"""`comity member`: joining brands, balances of all of them in one view, statements, devices."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated

import typer

from cli import output
from cli.commands import WriteId, command, group
from cli.options import DEFAULT_WALLET, Id, Json, Limit, Wallet
from cli.parts import PARTS
from cli.purse import brand_at, open_wallet
from comity import keys
from comity.errors import ComityError
from comity.keys import SigningKey
from comity.wallet.brands import Brand
from comity.wallet.wallet import Holding

app = group(PARTS["member"].help)
device = group("The device keys of your account at a brand.")
app.add_typer(device, name="device")

Ca = Annotated[Path | None, typer.Option("--ca", help="The network's CA certificate; needed once.")]
ServerName = Annotated[
    str,
    typer.Option(
        "--server-name", help="The name in the server's certificate, if the address is another."
    ),
]
BrandName = Annotated[str, typer.Argument(metavar="BRAND", help="A brand of the wallet.")]


@command(
    app,
    "enrol",
    example="comity member enrol localhost:7443 --ca ca.crt\n"
    "comity member enrol grocery.example:443 --name 'Ada Smith' --email ada@example.org",
)
async def enrol(
    address: Annotated[str, typer.Argument(help="The brand's public address, host:port.")],
    ca: Ca = None,
    server_name: ServerName = "",
    name: Annotated[str, typer.Option(help="Your name, if the brand shall know it.")] = "",
    email: Annotated[str, typer.Option(help="Your e-mail address, likewise.")] = "",
    birth_date: Annotated[
        str, typer.Option(help="Your date of birth, like 1990-03-21, where the brand asks for it.")
    ] = "",
    region: Annotated[
        str, typer.Option(help="The country you live in, two letters, where it asks for that.")
    ] = "",
    invitation: Annotated[str, typer.Option(help="The code of an invitation.")] = "",
    wallet: Wallet = DEFAULT_WALLET,
    as_json: Json = False,
) -> None:
    """Join a brand's programme with a new key which only this wallet has."""
    async with open_wallet(wallet, create=True) as opened:
        brand = await brand_at(opened, address, ca=ca, server_name=server_name)
        brand = await opened.enrol(
            brand,
            name=name,
            email=email,
            birth_date=birth_date,
            region=region.upper(),
            invitation=invitation,
        )
    output.emit(_brand(brand), as_json, lambda: _joined(brand))


def _joined(brand: Brand) -> None:
    if brand.awaits:
        output.say(f"{brand.participant} has to decide: your enrolment awaits {brand.awaits}.")
        output.remark(
            f"Say that you are {brand.applied}. Run this command again to see what was decided."
        )
        return
    output.say(f"You are a member of {brand.participant}. Your account is {brand.account}.")
    output.remark("Show the account at the till to earn points.")


@command(app, "brands", example="comity member brands\ncomity member brands --json")
def brands(wallet: Wallet = DEFAULT_WALLET, as_json: Json = False) -> None:
    """List the brands which this wallet knows."""
    found = open_wallet(wallet).store.brands()
    rows = [
        (
            b.participant,
            b.network,
            b.address,
            b.account or (f"awaits {b.awaits}" if b.awaits else "not a member"),
        )
        for b in found
    ]
    output.emit(
        [_brand(brand) for brand in found],
        as_json,
        lambda: output.table(("brand", "network", "address", "account"), rows),
    )


@command(app, "balance", example="comity member balance\ncomity member balance --json")
async def balance(wallet: Wallet = DEFAULT_WALLET, as_json: Json = False) -> None:
    """Show your points at all brands. A brand which does not answer hides no other."""
    async with open_wallet(wallet) as opened:
        holdings = await opened.balances()
    output.emit([_holding(one) for one in holdings], as_json, lambda: _show_holdings(holdings))
    failures = [one.failure for one in holdings if one.failure is not None]
    if failures and len(failures) == len(holdings):
        raise failures[0]


def _show_holdings(holdings: tuple[Holding, ...]) -> None:
    columns = ("brand", "unit", "available", "pending", "held", "debt", "next to expire")
    rows: list[tuple[str, ...]] = []
    for one in holdings:
        if one.failure is not None:
            output.fail(f"{one.brand.participant}: {one.failure.message}")
        rows.extend(
            (
                one.brand.participant,
                found.unit.rpartition("/")[2],
                output.number(found.available),
                output.number(found.pending),
                output.number(found.held),
                output.number(found.debt),
                f"{output.number(found.next_expiry_points)} on "
                f"{output.when(found.next_expiry_at_us)[:10]}"
                if found.next_expiry_at_us
                else "",
            )
            for found in one.balances
        )
    output.table(
        columns,
        rows,
        right=("available", "pending", "held", "debt"),
        empty="No points yet. Enrol at a brand, and show your account at its till.",
    )


@command(app, "lots", example="comity member lots grocery\ncomity member lots grocery --limit 5")
async def lots(
    brand: BrandName, limit: Limit = 100, wallet: Wallet = DEFAULT_WALLET, as_json: Json = False
) -> None:
    """List points by when they were earned and when they expire."""
    async with open_wallet(wallet) as opened:
        client = opened.member(opened.store.brand(brand))
        found = [lot async for lot in client.lots(at_most=limit)]
    rows = [
        (
            output.when(lot.earned_at_us),
            output.number(lot.earned),
            output.number(lot.available),
            output.number(lot.pending),
            output.number(lot.held),
            output.when(lot.expires_at_us) or "never",
        )
        for lot in found
    ]
    columns = ("earned at", "earned", "available", "pending", "held", "expires")
    output.emit(found, as_json, lambda: output.table(columns, rows, right=columns[1:5]))


@command(app, "activity", example="comity member activity grocery --limit 20")
async def activity(
    brand: BrandName, limit: Limit = 50, wallet: Wallet = DEFAULT_WALLET, as_json: Json = False
) -> None:
    """Show the statement of your account, newest first."""
    async with open_wallet(wallet) as opened:
        client = opened.member(opened.store.brand(brand))
        found = [item async for item in client.activity(at_most=limit)]
    rows = [
        (
            output.when(item.at_us),
            item.entry,
            f"{item.available:+,}" if item.available else "",
            f"{item.pending:+,}" if item.pending else "",
            f"{item.held:+,}" if item.held else "",
            item.reference,
        )
        for item in found
    ]
    columns = ("when", "entry", "available", "pending", "held", "reference")
    output.emit(found, as_json, lambda: output.table(columns, rows, right=columns[2:5]))


@command(
    device,
    "list",
    example="comity member device list grocery",
)
async def list_devices(
    brand: BrandName, wallet: Wallet = DEFAULT_WALLET, as_json: Json = False
) -> None:
    """List the keys which may act for your account."""
    async with open_wallet(wallet) as opened:
        known = opened.store.brand(brand)
        found = await opened.member(known).list_devices()
    rows = [
        (
            one.key_id,
            output.when(one.added_at_us),
            "revoked" if one.revoked else "this wallet" if one.key_id == known.key_id else "",
        )
        for one in found
    ]
    output.emit(list(found), as_json, lambda: output.table(("key", "added", "remark"), rows))


@command(device, "add", example="comity member device add grocery --out phone.key")
async def add_device(
    brand: BrandName,
    out: Annotated[Path, typer.Option(help="Where to write the other device's new key.")],
    write_id: Id = None,
    wallet: Wallet = DEFAULT_WALLET,
    as_json: Json = False,
) -> None:
    """Make a key for another device of yours; `device adopt` uses it there."""
    key = _key_in(out)
    async with open_wallet(wallet) as opened:
        known = opened.store.brand(brand)
        key_id = await opened.member(known).add_device(
            id=WriteId.of(write_id), key=key, origin=known.origin
        )
    output.emit(
        {"key_id": key_id, "file": str(out)},
        as_json,
        lambda: output.say(
            f"{key_id} may act for your account now. Bring {out} to the other device, keep it "
            "secret on the way, and run `comity member device adopt` there."
        ),
    )


def _key_in(path: Path) -> SigningKey:
    """The key in the file; a new one where there is none, so that a repeat uses the same."""
    if not path.exists():
        keys.save(path, SigningKey.generate(secrets.token_bytes))
    return keys.load(path)


@command(
    device,
    "adopt",
    example="comity member device adopt localhost:7443 --key phone.key --ca ca.crt",
)
async def adopt(
    address: Annotated[str, typer.Argument(help="The brand's public address, host:port.")],
    key: Annotated[Path, typer.Option(help="The key file that `device add` wrote.")],
    ca: Ca = None,
    server_name: ServerName = "",
    wallet: Wallet = DEFAULT_WALLET,
    as_json: Json = False,
) -> None:
    """Use an account from this device too, with a key that was added to it."""
    async with open_wallet(wallet, create=True) as opened:
        brand = await brand_at(opened, address, ca=ca, server_name=server_name)
        brand = await opened.adopt(brand, keys.load(key))
    output.emit(
        _brand(brand),
        as_json,
        lambda: output.say(f"This wallet acts for {brand.account} at {brand.participant} now."),
    )


@command(device, "revoke", example="comity member device revoke grocery key_0123456789abcdef")
async def revoke_device(
    brand: BrandName,
    key_id: Annotated[str, typer.Argument(help="The key to revoke, as `device list` shows it.")],
    write_id: Id = None,
    wallet: Wallet = DEFAULT_WALLET,
) -> None:
    """Revoke a key: from now on nothing it signs is accepted."""
    async with open_wallet(wallet) as opened:
        client = opened.member(opened.store.brand(brand))
        await client.revoke_device(id=WriteId.of(write_id), key_id=key_id)
    output.say(f"{key_id} is revoked.")


def _brand(brand: Brand) -> dict[str, str]:
    return {
        "brand": brand.participant,
        "network": brand.network,
        "origin": brand.origin,
        "address": brand.address,
        "account": brand.account,
        "key_id": brand.key_id,
        "awaits": brand.awaits,
        "applied": brand.applied,
    }


def _holding(one: Holding) -> dict[str, object]:
    return {**_brand(one.brand), "balances": one.balances, "failure": _failure(one.failure)}


def _failure(error: ComityError | None) -> dict[str, str] | None:
    return None if error is None else {"code": error.code, "message": error.message}
