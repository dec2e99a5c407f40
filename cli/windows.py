"""`comity clearing window` and what belongs to it: closing, settling, reconciling, statements."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from cli import output
from cli.access import operator, read_settings
from cli.catalogue import show_statement
from cli.clearing import Address, app
from cli.commands import WriteId, command, group
from cli.failures import VERIFICATION
from cli.options import HERE, Clearing, Id, Json, Limit
from comity import keys
from comity.errors import NotFound
from comity.ledger.signer import LogSigner
from comity.v1.entry_pb2 import NetPosition, SettlementTable
from comity.v1.operator_pb2 import WINDOW_STATE_OPEN, WindowSummary
from comity.verify.settlement import pack

window = group("Settlement windows: one is open, the others are closed or settled.")
app.add_typer(window, name="window")

Number = Annotated[int, typer.Argument(metavar="WINDOW", help="The window's number.", min=1)]


@command(window, "list", example="comity clearing window list\ncomity clearing window list --json")
async def list_windows(
    limit: Limit = 20, folder: Clearing = HERE, address: Address = "", as_json: Json = False
) -> None:
    """List windows, newest first."""
    async with operator(folder, address) as client:
        found = await client.list_windows(limit=limit)
    columns = (
        "window",
        "state",
        "decisions",
        "opened",
        "closed",
        "settled",
        "acknowledged",
        "protested",
    )
    output.emit(
        list(found),
        as_json,
        lambda: output.table(columns, map(_row, found), right=("window", "decisions")),
    )


def _row(one: WindowSummary) -> tuple[str, ...]:
    return (
        str(one.window),
        output.word(one, "state"),
        output.number(one.decisions),
        output.when(one.opened_at_us),
        output.when(one.closed_at_us),
        output.when(one.settled_at_us),
        ", ".join(one.acknowledged),
        ", ".join(one.protested),
    )


@command(window, "close", example="comity clearing window close\ncomity clearing window close 3")
async def close(
    number: Annotated[
        int | None,
        typer.Argument(metavar="WINDOW", help="The open window; found out if left out.", min=1),
    ] = None,
    write_id: Id = None,
    folder: Clearing = HERE,
    address: Address = "",
    as_json: Json = False,
) -> None:
    """Close the open window and open the next one. Nothing pauses meanwhile."""
    async with operator(folder, address) as client:
        closing = number or _open(await client.list_windows(limit=10))
        answer = await client.close_window(
            id=WriteId.of(write_id or f"close-window-{closing}"), window=closing
        )
    output.emit(
        {"window": closing, "decisions": answer.decisions},
        as_json,
        lambda: output.say(
            f"Window {closing} is closed with {answer.decisions:,} decisions. To settle it: "
            f"comity clearing window settle {closing}"
        ),
    )


def _open(windows: Sequence[WindowSummary]) -> int:
    for one in windows:
        if one.state == WINDOW_STATE_OPEN:
            return one.window
    raise NotFound("No window is open; name the one you mean.")


@command(
    window,
    "settle",
    example="comity clearing window settle 3\ncomity clearing window settle 3 --out window-3.json",
)
async def settle(
    number: Number,
    out: Annotated[
        Path | None, typer.Option(help="Write it to a file which anyone can verify.")
    ] = None,
    write_id: Id = None,
    folder: Clearing = HERE,
    address: Address = "",
    as_json: Json = False,
) -> None:
    """Net a closed window: who pays whom, once and for all brands together."""
    with output.working(f"settling window {number}"):
        async with operator(folder, address) as client:
            answer = await client.settle_window(
                id=WriteId.of(write_id or f"settle-window-{number}"), window=number
            )
    if out is not None:
        clearing_key = LogSigner(
            f"{read_settings(folder)['network']}/clearing", keys.load(folder / "log.key")
        )
        out.write_text(pack(answer.table, answer.settlement, vkey=clearing_key.vkey), "utf-8")
    output.emit(answer.table, as_json, lambda: show_settlement(answer.table))


@command(window, "show", example="comity clearing window show 3")
async def show_window(
    number: Number, folder: Clearing = HERE, address: Address = "", as_json: Json = False
) -> None:
    """Show the net positions of a window; the rows sum to zero."""
    async with operator(folder, address) as client:
        found = await client.list_windows(limit=1, before=number + 1)
    if not found or found[0].window != number:
        raise NotFound(f"There is no window {number}.")
    one = found[0]

    def show() -> None:
        output.say(f"Window {number} is {output.word(one, 'state')}.")
        show_positions(one.positions)

    output.emit(one, as_json, show)


def show_settlement(table: SettlementTable) -> None:
    """Positions and payments."""
    show_positions(table.positions)
    rows = [(one.payer, one.payee, output.money(one.amount)) for one in table.payments]
    output.table(
        ("payer", "payee", "amount"), rows, right=("amount",), empty="Nobody owes anything."
    )


def show_positions(positions: Sequence[NetPosition]) -> None:
    rows = [
        (one.participant, output.money(one.net), output.number(one.decisions)) for one in positions
    ]
    columns = ("participant", "net", "decisions")
    output.table(columns, rows, right=columns[1:], empty="No decisions in this window.")


@command(app, "statement", example="comity clearing statement fuel --window 3")
async def statement(
    participant: Annotated[str, typer.Argument(metavar="PARTICIPANT", help="The brand's id.")],
    number: Annotated[int, typer.Option("--window", help="The window's number.", min=1)],
    folder: Clearing = HERE,
    address: Address = "",
    as_json: Json = False,
) -> None:
    """Show a brand's statement of a window: opening, in, out, fees, closing."""
    async with operator(folder, address) as client:
        found = await client.read_participant_window(window=number, participant=participant)
    title = f"{participant}, window {number}, {found.state.lower()}"
    output.emit(found, as_json, lambda: show_statement(found, title=title))


@command(
    app,
    "reconcile",
    example="comity clearing reconcile 3\ncomity clearing reconcile 3 --json",
)
async def reconcile(
    number: Number, folder: Clearing = HERE, address: Address = "", as_json: Json = False
) -> None:
    """Compare the books of issuers, acceptors and clearing; name every break."""
    with output.working(f"reconciling window {number}"):
        async with operator(folder, address) as client:
            found = await client.reconcile_window(number)
    rows = [
        (output.word(one, "kind"), one.participant, one.redemption_id, one.seq, one.detail)
        for one in found.breaks
    ]

    def show() -> None:
        columns = ("break", "participant", "redemption", "number", "detail")
        compared = f"{found.rows_compared:,} rows compared"
        output.table(columns, rows, empty=f"No breaks: {compared}, all three books agree.")
        if found.unreachable:
            output.fail(f"These books could not be read: {', '.join(found.unreachable)}.")

    output.emit(found, as_json, show)
    if found.breaks or found.unreachable:
        raise typer.Exit(VERIFICATION)
