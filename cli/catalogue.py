"""`comity merchant reward` and `stock`, the roll-forward of points, and a window's figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli import output
from cli.access import Key, Staff, merchant, node_server, read_network
from cli.commands import WriteId, command, group
from cli.merchant import app
from cli.options import HERE, Id, Json, Node
from comity.client.connection import connect
from comity.client.member import MemberClient
from comity.errors import NotYet
from comity.v1.clearing_pb2 import WindowStatement
from comity.v1.entry_pb2 import AccountClass
from comity.v1.member_pb2 import Reward, RewardKind
from comity.verify.settlement import pack
from comity.wallet.offers import Money

reward = group("The catalogue: what members of other brands get here for their points.")
app.add_typer(reward, name="reward")

RewardId = Annotated[str, typer.Argument(metavar="REWARD", help="Letters, digits, hyphens.")]
KINDS = tuple(name.removeprefix("REWARD_KIND_").lower() for name in RewardKind.keys()[1:])


@command(
    reward,
    "put",
    example="comity merchant reward put car-wash --title 'A car wash' --price 800 "
    "--retail '9.00 USD' --stock 50\n"
    "comity merchant reward put car-wash --title 'A car wash' --price 900 --inactive",
)
async def put(
    reward_id: RewardId,
    title: Annotated[str, typer.Option(help="What members read.")],
    price: Annotated[int, typer.Option(help="Its price in this brand's own points.", min=1)],
    kind: Annotated[str, typer.Option(help=f"One of {', '.join(KINDS)}.")] = "voucher",
    retail: Annotated[str, typer.Option(help="What it costs in the store: '9.00 USD'.")] = "",
    stock: Annotated[int, typer.Option(help="Pieces to start with; -1 is unlimited.")] = -1,
    active: Annotated[bool, typer.Option("--active/--inactive", help="Whether to show it.")] = True,
    write_id: Id = None,
    node: Node = HERE,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Add a reward to the catalogue, or change it."""
    if kind not in KINDS:
        raise typer.BadParameter(f"{kind!r} is no kind of reward; use {', '.join(KINDS)}.")
    wanted = Reward(
        reward_id=reward_id,
        title=title,
        kind=RewardKind.Value(f"REWARD_KIND_{kind.upper()}"),
        price_points=price,
        stock=stock,
        active=active,
    )
    if retail:
        wanted.retail.CopyFrom(output.parse_money(retail))
    async with merchant(Staff(node=node, key=key)) as client:
        found = await client.put_reward(id=WriteId.of(write_id), reward=wanted)
    output.emit(found, as_json, lambda: _show_rewards([found]))


@command(reward, "list", example="comity merchant reward list\ncomity merchant reward list --json")
async def list_rewards(node: Node = HERE, as_json: Json = False) -> None:
    """Show the catalogue as members see it."""
    channel = connect(node_server(Staff(node=node)))
    try:
        found = [one async for one in MemberClient(channel).rewards()]
    finally:
        await channel.close()
    output.emit(found, as_json, lambda: _show_rewards(found))


def _show_rewards(found: list[Reward]) -> None:
    rows = [
        (
            one.reward_id,
            one.title,
            output.word(one, "kind"),
            output.number(one.price_points),
            output.money(one.retail),
            "unlimited" if one.stock < 0 else output.number(one.stock),
            "" if one.active else "not shown",
        )
        for one in found
    ]
    columns = ("reward", "title", "kind", "price", "in the store", "stock", "")
    output.table(columns, rows, right=columns[3:6])


@command(
    app, "stock", example="comity merchant stock car-wash 20\ncomity merchant stock car-wash -- -5"
)
async def stock(
    reward_id: RewardId,
    change: Annotated[int, typer.Argument(help="Pieces to add, or with a minus to take off.")],
    write_id: Id = None,
    node: Node = HERE,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Change the free stock of a reward."""
    async with merchant(Staff(node=node, key=key)) as client:
        found = await client.set_stock(id=WriteId.of(write_id), reward_id=reward_id, change=change)
    output.emit(found, as_json, lambda: _show_rewards([found]))


@command(app, "totals", example="comity merchant totals\ncomity merchant totals --json")
async def totals(node: Node = HERE, key: Key = None, as_json: Json = False) -> None:
    """Show all points of the programme by what became of them."""
    async with merchant(Staff(node=node, key=key)) as client:
        found = await client.get_totals()

    def show() -> None:
        rows = [
            (
                AccountClass.Name(one.account_class).removeprefix("ACCOUNT_CLASS_").lower(),
                output.number(one.points),
                one.unit,
            )
            for one in found.totals
        ]
        output.table(("class", "points", "unit"), rows, right=("points",))
        output.say(f"{found.members:,} members, {found.entries:,} entries in the log.")

    output.emit(found, as_json, show)


@command(
    app,
    "window",
    example="comity merchant window 3\ncomity merchant window 3 --settlement window-3.json",
)
async def window(
    number: Annotated[int, typer.Argument(help="The window's number.", min=1)],
    settlement: Annotated[
        Path | None, typer.Option(help="Write the settlement to a file which anyone can verify.")
    ] = None,
    node: Node = HERE,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Compare this brand's own figures of a window with clearing's."""
    async with merchant(Staff(node=node, key=key)) as client:
        found = await client.get_window_statement(number)
    if settlement is not None:
        if not found.clearing.HasField("settlement_entry"):
            raise NotYet(f"Window {number} is not settled yet.")
        packed = pack(
            found.clearing.settlement,
            found.clearing.settlement_entry,
            vkey=read_network(node).clearing_vkey,
        )
        settlement.write_text(packed, "utf-8")

    def show() -> None:
        show_statement(found.own, title="Our own book")
        show_statement(found.clearing, title="Clearing's statement")
        agree = list(found.own.totals) == list(found.clearing.totals)
        output.say("Both agree." if agree else "They differ: protest, and ask the operator.")

    output.emit(found, as_json, show)


def show_statement(statement: WindowStatement, *, title: str) -> None:
    """A window's figures for one brand, a row for each currency."""
    rows = [
        [
            one.currency,
            *(
                output.money(Money(one.currency, minor)).rpartition(" ")[0]
                for minor in (
                    one.opening_minor,
                    one.in_minor,
                    -one.out_minor,
                    -one.fees_minor,
                    one.drift_minor,
                    one.closing_minor,
                )
            ),
            output.number(one.decisions),
        ]
        for one in statement.totals
    ]
    columns = ("currency", "opening", "in", "out", "fees", "drift", "closing", "decisions")
    output.table(columns, rows, title=title, right=columns[1:], empty=f"{title}: no decisions.")
