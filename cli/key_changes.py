"""`comity clearing rotate`, `revoke` and `revoke-auditor`: what ends a key."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from google.protobuf import json_format

from cli import output
from cli.access import operator
from cli.clearing import Address, Name, Why, app
from cli.commands import WriteId, command
from cli.options import HERE, Clearing, Id, Json, Yes
from comity.errors import Malformed
from comity.v1.operator_pb2 import RotateParticipantKeyRequest


@command(
    app,
    "rotate",
    example="comity clearing rotate grocery/rotation.json\n"
    "comity clearing rotate grocery/rotation.json --last-size 48211 --out answer.json",
)
async def rotate(
    request: Annotated[Path, typer.Argument(help="What `comity node rotate-key` wrote.")],
    last_size: Annotated[
        int | None,
        typer.Option(help="The last log size that the old key signs; else clearing says.", min=0),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the answer, for a node that lost its old key.")
    ] = None,
    folder: Clearing = HERE,
    address: Address = "",
    as_json: Json = False,
) -> None:
    """Exchange a brand's log key: above a size only the new one counts, for everybody."""
    try:
        wanted = json_format.Parse(request.read_text("utf-8"), RotateParticipantKeyRequest())
    except json_format.ParseError as error:
        raise Malformed(f"{request} is no request of `comity node rotate-key`: {error}") from None
    if last_size is not None:
        wanted.last_size = last_size
    WriteId.of(wanted.id)
    async with operator(folder, address) as client:
        answer = await client.rotate_participant_key(wanted)
    if out is not None:
        out.write_text(json_format.MessageToJson(answer) + "\n", "utf-8")
    output.emit(
        {"participant": wanted.participant, "last_size": answer.last_size},
        as_json,
        lambda: output.say(
            f"Above {answer.last_size:,} entries {wanted.participant} signs with its new key."
        ),
    )


@command(app, "revoke", example="comity clearing revoke fuel --reason 'left the network'")
async def revoke(
    participant: Name,
    reason: Why,
    write_id: Id = None,
    folder: Clearing = HERE,
    address: Address = "",
    yes: Yes = False,
) -> None:
    """End a brand's part in the network, for good: its calls and its log count no more."""
    if not yes:
        typer.confirm(f"Revoke {participant}, which cannot be undone?", abort=True)
    async with operator(folder, address) as client:
        await client.revoke_participant(
            id=WriteId.of(write_id), participant=participant, reason=reason
        )
    output.say(f"{participant} is revoked.")


@command(app, "revoke-auditor", example="comity clearing revoke-auditor key_0a1b2c3d4e5f6071")
async def revoke_auditor(
    key_id: Annotated[str, typer.Argument(help="As `comity clearing auditor` showed it.")],
    write_id: Id = None,
    folder: Clearing = HERE,
    address: Address = "",
) -> None:
    """End an auditor's key, and every session opened with it."""
    async with operator(folder, address) as client:
        await client.revoke_auditor(id=WriteId.of(write_id), key_id=key_id)
    output.say(f"{key_id} reads nothing any more.")
