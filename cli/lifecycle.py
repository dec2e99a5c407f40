"""What `node` and `clearing` have in common: starting, and backing up while serving."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Protocol

import typer
from sqlalchemy import MetaData

from cli import output
from comity.ledger import backup
from comity.ledger.engine import opened
from comity.ledger.signer import LogSigner

Ready = Callable[[Mapping[str, int]], None]


class Run(Protocol):
    """The `run` of a service's main module."""

    def __call__(self, folder: Path, /, *, ready: Ready) -> Awaitable[None]: ...


async def start(run: Run, folder: Path, *, as_json: bool) -> None:
    """Serve a folder until stopped, and say once on which ports."""

    def ready(ports: Mapping[str, int]) -> None:
        if as_json:
            typer.echo(json.dumps({"serving": str(folder), "ports": dict(ports)}))
        else:
            listening = ", ".join(f"{name} on port {port}" for name, port in ports.items())
            output.say(f"Serving {folder}: {listening}. Stop it with Ctrl-C.")

    await run(folder, ready=ready)


def back_up(url: str, metadata: MetaData, out: Path, *, ledger: str, signer: LogSigner) -> int:
    """Copy a database into a new file, verify the copy; answers how many entries it holds."""
    with opened(url) as engine, output.working(f"copying to {out}"):
        backup.back_up(engine, metadata, out)
    with output.working(f"verifying {out}"):
        return backup.verify_copy(out, ledger=ledger, signer=signer).size
