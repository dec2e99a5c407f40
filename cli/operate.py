"""`comity clearing`, its process: creating, running, recovering and backing it up."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated

import typer

from clearing import folder as folders
from clearing import tables
from clearing.build import LEDGER
from clearing.main import recover as recover_clearing
from clearing.main import run as run_clearing
from cli import output
from cli.clearing import app
from cli.commands import command
from cli.lifecycle import back_up, start
from cli.options import HERE, Clearing, Json
from comity.clock import system_clock


@command(
    app,
    "init",
    example="comity clearing init comity.example --clearing clearing\n"
    "comity clearing init comity.example --peer clearing.example:7601 --operator ada",
)
def init(
    network: Annotated[str, typer.Argument(help="The network's name, such as comity.example.")],
    peer_address: Annotated[
        str, typer.Option("--peer", help="Where brands and operators reach it, host:port.")
    ] = "127.0.0.1:7601",
    public_address: Annotated[
        str, typer.Option("--public", help="Where anyone reads its log, host:port.")
    ] = "127.0.0.1:7602",
    database: Annotated[
        str, typer.Option(help="postgresql://… ; left out: SQLite in the folder.")
    ] = "",
    operator: Annotated[
        list[str] | None, typer.Option(help="Who gets an operator's certificate; may be repeated.")
    ] = None,
    folder: Clearing = HERE,
    as_json: Json = False,
) -> None:
    """Create a network: its certificate authority, clearing's keys, and an empty ledger."""
    made = folders.create(
        folder,
        network=network,
        peer_address=peer_address,
        public_address=public_address,
        database_url=database,
        operators=tuple(operator or (folders.OPERATOR,)),
        clock=system_clock,
        random=secrets.token_bytes,
    )

    def show() -> None:
        output.say(f"The network {network} is created in {folder}.")
        output.remark(
            f"Start clearing with: comity clearing run --clearing {folder}\n"
            f"Hand {folder / 'ca.crt'} to brands and members; keep every *.key secret."
        )

    facts = {
        "network": network,
        "origin": made.signer.origin,
        "vkey": made.signer.vkey,
        "ca": str(folder / "ca.crt"),
    }
    output.emit(facts, as_json, show)


@command(
    app,
    "run",
    example="comity clearing run --clearing clearing\ncomity clearing run --json",
)
async def run(folder: Clearing = HERE, as_json: Json = False) -> None:
    """Serve until stopped; logs go to stderr."""
    await start(run_clearing, folder, as_json=as_json)


@command(
    app,
    "recover",
    example="comity clearing recover --clearing clearing\ncomity clearing recover --json",
)
async def recover(folder: Clearing = HERE, as_json: Json = False) -> None:
    """Refill a lost tail of clearing's log from what the brands hold of it; clearing is stopped."""
    with output.working("reading the brands' mirrors"):
        found = await recover_clearing(folder)

    def show() -> None:
        if found.size > found.size_before:
            output.say(
                f"{found.size - found.size_before:,} entries are back; the log has "
                f"{found.size:,} and may be served again."
            )
        else:
            output.say(f"Nothing is missing: the log has {found.size:,} entries.")
        if found.unreachable:
            output.remark(f"Not reached: {', '.join(found.unreachable)}.")

    facts = {
        "size_before": found.size_before,
        "size": found.size,
        "asked": list(found.asked),
        "unreachable": list(found.unreachable),
    }
    output.emit(facts, as_json, show)


@command(app, "backup", example="comity clearing backup clearing-2026-11-22.db")
def backup(
    out: Annotated[Path, typer.Argument(help="The new SQLite file to write.")],
    folder: Clearing = HERE,
) -> None:
    """Copy the ledger while clearing serves, and verify the copy. Keys are not in it."""
    read = folders.read(folder)
    size = back_up(
        read.url,
        tables.metadata,
        out,
        ledger=LEDGER,
        signer=read.signer,
    )
    output.say(f"{out} holds {size:,} entries, and they verify.")
    output.remark("Keep copies of the *.key files too, elsewhere, and closed to others.")
