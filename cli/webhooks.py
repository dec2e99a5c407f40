"""`comity merchant webhook`: the brand's own systems hear of what changes."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import output
from cli.access import Key, Staff, office
from cli.commands import WriteId, command, group
from cli.merchant import app
from cli.options import HERE, Id, Json, Node
from comity.v1.office_pb2 import WebhookKeys

webhook = group("Endpoints of your own that are told of every change of points and marks.")
app.add_typer(webhook, name="webhook")

Name = Annotated[str, typer.Argument(metavar="NAME", help="What to call the endpoint.")]
Start = Annotated[
    int | None, typer.Option("--from", help="Tell of this entry of the log and what follows.")
]


@command(
    webhook,
    "add",
    example="comity merchant webhook add crm https://crm.example/loyalty\n"
    "comity merchant webhook add mail https://mail.example/hook --kind points.expiry --from 0",
)
async def add(
    name: Name,
    url: Annotated[str, typer.Argument(metavar="URL", help="Where messages are posted to.")],
    kind: Annotated[
        list[str] | None,
        typer.Option(help="What to tell of: points, points.accrual, marks, …; else everything."),
    ] = None,
    start: Start = None,
    write_id: Id = None,
    node: Node = HERE,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Add an endpoint and show the keys its messages are signed with."""
    async with office(Staff(node=node, key=key)) as client:
        keys = await client.add_webhook(
            id=WriteId.of(write_id), name=name, url=url, kinds=kind or (), from_index=start
        )
    output.emit(keys, as_json, lambda: _show_keys(name, keys))


@command(webhook, "list", example="comity merchant webhook list")
async def show(node: Node = HERE, key: Key = None, as_json: Json = False) -> None:
    """List the endpoints, how far each has come, and what is wrong with it."""
    async with office(Staff(node=node, key=key)) as client:
        found = await client.list_webhooks()
    rows = [
        (
            one.name,
            one.url,
            output.word(one, "state"),
            output.number(one.log_size - one.next_index),
            f"{one.failures} since {output.when(one.failing_since_us)}" if one.failures else "",
            one.last_error,
        )
        for one in found
    ]
    columns = ("name", "url", "state", "entries to go", "failures", "why")
    output.emit(
        list(found),
        as_json,
        lambda: output.table(
            columns, rows, right=("entries to go",), empty="No endpoint is told of anything."
        ),
    )


@command(
    webhook,
    "set",
    example="comity merchant webhook set crm --pause\n"
    "comity merchant webhook set crm --resume --from 1200",
)
async def change(
    name: Name,
    pause: Annotated[bool, typer.Option("--pause/--resume", help="Stop sending, or go on.")],
    start: Start = None,
    write_id: Id = None,
    node: Node = HERE,
    key: Key = None,
) -> None:
    """Pause an endpoint, or start it again: after it failed, or from an earlier entry."""
    async with office(Staff(node=node, key=key)) as client:
        await client.set_webhook(id=WriteId.of(write_id), name=name, paused=pause, from_index=start)
    output.say(f"{name} is {'paused' if pause else 'active'}.")


@command(webhook, "rotate", example="comity merchant webhook rotate crm")
async def rotate(
    name: Name, write_id: Id = None, node: Node = HERE, key: Key = None, as_json: Json = False
) -> None:
    """Make new keys; for a day messages are signed with the old ones as well."""
    async with office(Staff(node=node, key=key)) as client:
        keys = await client.rotate_webhook(id=WriteId.of(write_id), name=name)
    output.emit(keys, as_json, lambda: _show_keys(name, keys))


@command(webhook, "remove", example="comity merchant webhook remove crm")
async def remove(name: Name, write_id: Id = None, node: Node = HERE, key: Key = None) -> None:
    """Remove an endpoint; it is told of nothing any more."""
    async with office(Staff(node=node, key=key)) as client:
        await client.remove_webhook(id=WriteId.of(write_id), name=name)
    output.say(f"{name} is removed.")


def _show_keys(name: str, keys: WebhookKeys) -> None:
    output.say(f"Messages to {name} are signed with these keys (Standard Webhooks).")
    output.facts((("v1, keep it secret", keys.secret), ("v1a", keys.public_key)))
