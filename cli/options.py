"""Options which several commands share, with their environment variables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

DEFAULT_WALLET: Final = "~/.comity/wallet"

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
Id = Annotated[
    str | None,
    typer.Option("--id", help="The id of this write; repeat a command with it to do it once."),
]
Limit = Annotated[int, typer.Option("--limit", min=1, help="Show at most so many.")]

Node = Annotated[
    Path, typer.Option("--node", envvar="COMITY_NODE", help="The node's folder.", show_default=True)
]
Clearing = Annotated[
    Path, typer.Option("--clearing", envvar="COMITY_CLEARING", help="The clearing folder.")
]
Wallet = Annotated[
    str, typer.Option("--wallet", envvar="COMITY_WALLET", help="The wallet's folder.")
]

HERE: Final = Path()
