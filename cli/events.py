"""`comity merchant event` and `mark`: what happens beside purchases, and badges by hand."""

from __future__ import annotations

import secrets
from typing import Annotated, Final

import typer

from cli import output
from cli.access import Address, Ca, Key, Origin, Staff, programme
from cli.commands import WriteId, command, group
from cli.merchant import Account, app
from cli.options import HERE, Id, Json, Node
from comity.client.programme import event as made
from comity.errors import rebuild
from comity.v1.entry_pb2 import (
    MARK_KIND_BADGE,
    MARK_KIND_TAG,
    MARK_KIND_TITLE,
    MarkKind,
)

event = group("What happens beside purchases: sign-ins, reviews, whatever the programme knows.")
mark = group("Badges, titles and tags by hand.")
app.add_typer(event, name="event")
app.add_typer(mark, name="mark")

KINDS: Final = {
    "badge": MARK_KIND_BADGE,
    "title": MARK_KIND_TITLE,
    "tag": MARK_KIND_TAG,
}

Kind = Annotated[str, typer.Argument(metavar="KIND", help="badge, title or tag.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Its name in the programme.")]
Reason = Annotated[str, typer.Option(help="Why, as a short code.")]


@command(
    event,
    "record",
    example="comity merchant event record acc_0011223344556677 sign_in\n"
    "comity merchant event record acc_0011223344556677 review stars=5 --event review-17",
)
async def record(
    account: Account,
    kind: Annotated[str, typer.Argument(metavar="TYPE", help="An event of the programme.")],
    said: Annotated[
        list[str] | None, typer.Argument(metavar="NAME=VALUE", help="What it says of itself.")
    ] = None,
    event_id: Annotated[
        str, typer.Option("--event", help="Its id, unique at this brand; made up if left out.")
    ] = "",
    node: Node = HERE,
    key: Key = None,
    address: Address = "",
    ca: Ca = None,
    origin: Origin = "",
    as_json: Json = False,
) -> None:
    """Report that something happened; says what it earned."""
    attributes = dict(_attribute(one) for one in said or ())
    one = made(event_id or f"evt-{secrets.token_hex(8)}", account, kind, attributes=attributes)
    staff = Staff(node=node, key=key, address=address, ca=ca, origin=origin)
    async with programme(staff) as client:
        (found,) = await client.record_events([one])
    if found.HasField("failure"):
        failure = found.failure
        raise rebuild(failure.code, failure.message, field=failure.field)

    def show() -> None:
        for part in found.points:
            output.say(f"{part.points:+,} {part.unit}")
        if not found.points:
            output.say(f"{one.event_id} earned nothing; comity programme explain says why.")

    output.emit({"event": one.event_id, "points": list(found.points)}, as_json, show)


def _attribute(text: str) -> tuple[str, str | int | bool]:
    """`stars=5` as a name and a value: a number, true or false, else text."""
    name, equals, value = text.partition("=")
    if not equals:
        raise output.bad_usage(f"{text} is no NAME=VALUE, such as stars=5.")
    if value in ("true", "false"):
        return name, value == "true"
    try:
        return name, int(value)
    except ValueError:
        return name, value


# --- marks ------------------------------------------------------------------------------------


def _kind(word: str) -> MarkKind.ValueType:
    if word not in KINDS:
        raise output.bad_usage(f"{word} is no {', '.join(KINDS)}.")
    return KINDS[word]


@command(
    mark,
    "give",
    example="comity merchant mark give acc_0011223344556677 badge founder --reason thanks",
)
async def give(
    account: Account,
    kind: Kind,
    name: Name,
    reason: Reason,
    write_id: Id = None,
    node: Node = HERE,
    key: Key = None,
) -> None:
    """Give a badge, title or tag by hand."""
    async with programme(Staff(node=node, key=key)) as client:
        await client.give_mark(
            id=WriteId.of(write_id),
            account=account,
            kind=_kind(kind),
            name=name,
            reason_code=reason,
        )
    output.say(f"{account} has the {kind} {name}.")


@command(
    mark,
    "take",
    example="comity merchant mark take acc_0011223344556677 badge founder --reason mistake",
)
async def take(
    account: Account,
    kind: Kind,
    name: Name,
    reason: Reason,
    write_id: Id = None,
    node: Node = HERE,
    key: Key = None,
) -> None:
    """Take a badge, title or tag away."""
    async with programme(Staff(node=node, key=key)) as client:
        await client.take_mark(
            id=WriteId.of(write_id),
            account=account,
            kind=_kind(kind),
            name=name,
            reason_code=reason,
        )
    output.say(f"{account} no longer has the {kind} {name}.")
