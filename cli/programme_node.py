"""`comity programme publish`, `versions` and `explain`: the programme at a running node."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from cli import output
from cli.access import Key, Staff, programme
from cli.commands import WriteId, command
from cli.options import HERE, Id, Json, Node
from cli.programme import app
from comity.clock import SECOND
from comity.errors import NotFound
from comity.v1 import programme_pb2 as pb


@command(
    app,
    "publish",
    example="comity programme publish corner-2.yaml --node corner\n"
    "comity programme publish corner-2.yaml --from 2027-01-01T00:00+01:00 --node corner",
)
async def publish(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new version.")],
    effective: Annotated[
        str, typer.Option("--from", help="From when on, with its zone; at once if left out.")
    ] = "",
    without_notice: Annotated[
        bool,
        typer.Option("--without-notice", help="It may take something away at once."),
    ] = False,
    write_id: Id = None,
    node: Node = HERE,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Publish a version of the programme at a running node."""
    at_us = _time(effective) if effective else 0
    async with programme(Staff(node=node, key=key)) as client:
        found = await client.publish(
            id=WriteId.of(write_id),
            file=_read(file),
            effective_at_us=at_us,
            without_notice=without_notice,
        )
    text = f"Version {found.version} is in force from {output.when(found.effective_at_us)} on."
    output.emit(found, as_json, lambda: output.say(text))


def _read(file: Path) -> bytes:
    if not file.is_file():
        raise NotFound(f"There is no programme file {file}.")
    return file.read_bytes()


def _time(text: str) -> int:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise output.bad_usage(f"{text} is no time such as 2027-01-01T00:00+01:00.") from None
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    return int(found.timestamp()) * SECOND


@command(app, "versions", example="comity programme versions --node corner")
async def versions(node: Node = HERE, key: Key = None, as_json: Json = False) -> None:
    """List the versions a node has run by, and those to come."""
    async with programme(Staff(node=node, key=key)) as client:
        found = await client.programmes()
    rows = [
        (
            one.version,
            output.when(one.effective_at_us),
            "in force" if one.version == found.current else "",
            str(one.index),
        )
        for one in found.programmes
    ]
    columns = ("version", "from", "", "entry")
    output.emit(found, as_json, lambda: output.table(columns, rows, right=("entry",)))


@command(app, "explain", example="comity programme explain sale-1001 --node corner")
async def explain(
    event_id: Annotated[
        str, typer.Argument(metavar="EVENT", help="The id of an event or a purchase.")
    ],
    node: Node = HERE,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Say why an event or a purchase earned, or did not: what was found when it was decided."""
    async with programme(Staff(node=node, key=key)) as client:
        found = await client.explain_event(event_id)
    output.emit(found, as_json, lambda: _explain(found))


def _explain(found: pb.ExplainEventResponse) -> None:
    pairs: list[tuple[str, object]] = [
        ("event", found.event_id),
        ("type", found.type),
        ("account", found.account),
        ("happened", output.when(found.occurred_at_us)),
        ("judged by", f"version {found.programme_version}"),
    ]
    if found.HasField("amount"):
        pairs.append(("amount", output.money(found.amount)))
    output.facts(pairs)
    rows = [
        (one.rule, f"{one.earned:+,}" if one.earned else "0", one.reason, one.detail)
        for one in found.details.verdicts
    ]
    output.table(("rule", "earned", "reason", "detail"), rows, right=("earned",))
