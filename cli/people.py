"""`comity merchant staff`, and what managers do about members: locking, erasing."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated

import typer

from cli import output
from cli.access import Key, Staff, merchant
from cli.commands import WriteId, command, group
from cli.merchant import Account, app
from cli.options import HERE, Id, Json, Node, Yes
from comity import keys
from comity.keys import SigningKey

staff = group("Keys of tills, managers and auditors.")
app.add_typer(staff, name="staff")


@command(
    staff,
    "add",
    example="comity merchant staff add checkout-1 --role till --out checkout-1.key\n"
    "comity merchant staff add smith --role auditor --out smith.key",
)
async def add_staff(
    name: Annotated[str, typer.Argument(help="What to call it: letters, digits, hyphens.")],
    out: Annotated[Path, typer.Option(help="Where to write the new key; bring it to its holder.")],
    role: Annotated[str, typer.Option(help="till, manager or auditor.")] = "till",
    write_id: Id = None,
    node: Node = HERE,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Register a new till, manager or auditor, and make its key."""
    if not out.exists():
        keys.save(out, SigningKey.generate(secrets.token_bytes))
    public = keys.load(out).public.raw
    async with merchant(Staff(node=node, key=key)) as client:
        key_id = await client.add_staff_key(
            id=WriteId.of(write_id), role=role, name=name, public_key=public
        )
    output.emit(
        {"key_id": key_id, "file": str(out)},
        as_json,
        lambda: output.say(f"{name} is a {role} now, with the key {key_id} in {out}."),
    )


@command(staff, "remove", example="comity merchant staff remove key_0011223344556677")
async def remove_staff(
    key_id: Annotated[
        str, typer.Argument(metavar="KEY", help="The key's id, as `staff add` told it.")
    ],
    write_id: Id = None,
    node: Node = HERE,
    key: Key = None,
) -> None:
    """Take a till's, manager's or auditor's key away; its sessions end at once."""
    async with merchant(Staff(node=node, key=key)) as client:
        await client.remove_staff_key(id=WriteId.of(write_id), key_id=key_id)
    output.say(f"The key {key_id} opens nothing here any more.")


@command(
    app,
    "lock",
    example="comity merchant lock acc_00112233445566778899aabbccddeeff\n"
    "comity merchant lock acc_00112233445566778899aabbccddeeff --unlock",
)
async def lock(
    account: Account,
    unlock: Annotated[bool, typer.Option("--unlock", help="Let the member spend again.")] = False,
    write_id: Id = None,
    node: Node = HERE,
    key: Key = None,
) -> None:
    """Lock a member, who then earns and does not spend."""
    async with merchant(Staff(node=node, key=key)) as client:
        await client.lock_member(id=WriteId.of(write_id), account=account, locked=not unlock)
    output.say(f"{account} is {'unlocked' if unlock else 'locked'}.")


@command(app, "erase", example="comity merchant erase acc_00112233445566778899aabbccddeeff --yes")
async def erase(
    account: Account, write_id: Id = None, yes: Yes = False, node: Node = HERE, key: Key = None
) -> None:
    """Erase a member: name and keys go, the log and its proofs stay as they are."""
    if not yes:
        typer.confirm(f"Erase {account} for good?", abort=True, err=True)
    async with merchant(Staff(node=node, key=key)) as client:
        await client.erase_member(id=WriteId.of(write_id), account=account)
    output.say(f"{account} is erased; nothing names the person any more.")
