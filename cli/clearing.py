"""`comity clearing`: the roster of a network, its caps, decisions and agreements."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated

import typer
from google.protobuf import json_format

from cli import output
from cli.access import operator
from cli.agreements import TERMS_COLUMNS, terms_row
from cli.commands import WriteId, command, group
from cli.options import HERE, Clearing, Id, Json, Limit
from cli.parts import PARTS
from comity import keys
from comity.errors import Malformed
from comity.keys import SigningKey
from comity.v1.entry_pb2 import (
    PARTICIPANT_STATUS_ACTIVE,
    PARTICIPANT_STATUS_FROZEN,
    PARTICIPANT_STATUS_SUSPENDED,
    ParticipantStatus,
)
from comity.v1.operator_pb2 import AdmitParticipantRequest, ListedDecision, Participant

app = group(PARTS["clearing"].help)

Address = Annotated[
    str, typer.Option("--address", help="Clearing's peer address, if not as in its folder.")
]
Name = Annotated[str, typer.Argument(metavar="PARTICIPANT", help="The brand's id.")]
Why = Annotated[str, typer.Option("--reason", help="Why; it goes into the log.")]


@command(
    app,
    "admit",
    example="comity clearing admit grocery/request.json --cap '10000.00 USD' "
    "--out grocery-admission.json",
)
async def admit(
    request: Annotated[Path, typer.Argument(help="The request.json which `node init` wrote.")],
    out: Annotated[Path, typer.Option(help="Where to write the answer for the brand.")],
    cap: Annotated[
        list[str] | None, typer.Option(help="Net debit cap to start with; may be repeated.")
    ] = None,
    folder: Clearing = HERE,
    address: Address = "",
    as_json: Json = False,
) -> None:
    """Admit a brand: certify its key and write it into the roster."""
    try:
        wanted = json_format.Parse(request.read_text("utf-8"), AdmitParticipantRequest())
    except json_format.ParseError as error:
        raise Malformed(f"{request} is no request of `comity node init`: {error}") from None
    if cap:
        del wanted.caps[:]
        wanted.caps.extend(map(output.parse_money, cap))
    async with operator(folder, address) as client:
        answer = await client.admit_participant(wanted)
    out.write_text(json_format.MessageToJson(answer) + "\n", "utf-8")
    output.emit(
        {"participant": wanted.display_name, "file": str(out)},
        as_json,
        lambda: output.say(
            f"{wanted.display_name} is admitted. Send it {out}; there: comity node join {out.name}"
        ),
    )


async def _stand(
    folder: Path,
    address: str,
    participant: str,
    status: ParticipantStatus.ValueType,
    reason: str,
    write_id: str | None,
) -> None:
    async with operator(folder, address) as client:
        await client.set_standing(
            id=WriteId.of(write_id), participant=participant, status=status, reason=reason
        )


@command(app, "suspend", example="comity clearing suspend fuel --reason 'head not linked'")
async def suspend(
    participant: Name,
    reason: Why,
    write_id: Id = None,
    folder: Clearing = HERE,
    address: Address = "",
) -> None:
    """Commit nothing new with a brand; what it already holds may still be committed."""
    await _stand(folder, address, participant, PARTICIPANT_STATUS_SUSPENDED, reason, write_id)
    output.say(f"{participant} is suspended.")


@command(app, "freeze", example="comity clearing freeze fuel --reason 'two heads of one size'")
async def freeze(
    participant: Name,
    reason: Why,
    write_id: Id = None,
    folder: Clearing = HERE,
    address: Address = "",
) -> None:
    """Commit nothing with a brand any more. Aborts, reversals and deliveries go on."""
    await _stand(folder, address, participant, PARTICIPANT_STATUS_FROZEN, reason, write_id)
    output.say(f"{participant} is frozen.")


@command(app, "resume", example="comity clearing resume fuel --reason 'settled'")
async def resume(
    participant: Name,
    reason: Why,
    write_id: Id = None,
    folder: Clearing = HERE,
    address: Address = "",
) -> None:
    """Let a suspended or frozen brand take part again."""
    await _stand(folder, address, participant, PARTICIPANT_STATUS_ACTIVE, reason, write_id)
    output.say(f"{participant} takes part again.")


@command(app, "cap", example="comity clearing cap grocery '25000.00 USD'")
async def cap(
    participant: Name,
    amount: Annotated[str, typer.Argument(metavar="AMOUNT", help="Such as '25000.00 USD'.")],
    write_id: Id = None,
    folder: Clearing = HERE,
    address: Address = "",
) -> None:
    """Set how far below zero a brand's position may go."""
    limit = output.parse_money(amount)
    async with operator(folder, address) as client:
        await client.set_cap(id=WriteId.of(write_id), participant=participant, net_debit_cap=limit)
    output.say(f"{participant} may owe up to {output.money(limit)}.")


@command(
    app,
    "participants",
    example="comity clearing participants\ncomity clearing participants --json",
)
async def participants(
    folder: Clearing = HERE, address: Address = "", as_json: Json = False
) -> None:
    """List the brands with their positions, caps and when they were last heard."""
    async with operator(folder, address) as client:
        found = await client.list_participants()
    columns = ("brand", "status", "position", "cap", "decisions", "log size", "heard at")
    output.emit(
        list(found),
        as_json,
        lambda: output.table(columns, map(_participant_row, found), right=columns[2:6]),
    )


def _participant_row(one: Participant) -> tuple[str, ...]:
    return (
        one.participant,
        "revoked" if one.revoked else output.word(one, "status"),
        "\n".join(map(output.money, one.positions)) or "0",
        "\n".join(map(output.money, one.caps)) or "none",
        output.number(one.seq),
        output.number(one.head_size),
        output.when(one.heard_at_us) or "never",
    )


@command(app, "agreements", example="comity clearing agreements\ncomity clearing agreements --json")
async def agreements(folder: Clearing = HERE, address: Address = "", as_json: Json = False) -> None:
    """List the agreements in force."""
    async with operator(folder, address) as client:
        found = await client.list_agreements()
    output.emit(list(found), as_json, lambda: output.table(TERMS_COLUMNS, map(terms_row, found)))


@command(
    app,
    "decisions",
    example="comity clearing decisions --limit 20\ncomity clearing decisions --from 1000 --json",
)
async def decisions(
    from_index: Annotated[
        int, typer.Option("--from", help="Begin at this index of clearing's log.", min=0)
    ] = 0,
    limit: Limit = 50,
    folder: Clearing = HERE,
    address: Address = "",
    as_json: Json = False,
) -> None:
    """List decisions, oldest first."""
    async with operator(folder, address) as client:
        found = [one async for one in client.decisions(from_index=from_index, at_most=limit)]
    columns = (
        "index",
        "when",
        "outcome",
        "issuer → acceptor",
        "points",
        "amount",
        "fee",
        "window",
        "redemption",
        "reason",
    )
    output.emit(
        found,
        as_json,
        lambda: output.table(
            columns, map(_decision_row, found), right=("index", "points", "amount", "fee", "window")
        ),
    )


def _decision_row(one: ListedDecision) -> tuple[str, ...]:
    decision, row = one.decision, one.row
    return (
        output.number(one.index),
        output.when(one.at_us),
        output.word(decision, "outcome"),
        f"{decision.issuer} → {decision.acceptor}",
        output.number(row.points),
        output.money(row.amount),
        output.money(row.fee),
        str(decision.window),
        decision.redemption_id,
        decision.reason,
    )


@command(app, "auditor", example="comity clearing auditor smith --out smith.key")
async def auditor(
    name: Annotated[str, typer.Argument(help="What to call the auditor.")],
    out: Annotated[Path, typer.Option(help="Where to write the new key; bring it to its holder.")],
    write_id: Id = None,
    folder: Clearing = HERE,
    address: Address = "",
    as_json: Json = False,
) -> None:
    """Admit an auditor, who may read every entry of clearing's log with its openings."""
    if not out.exists():
        keys.save(out, SigningKey.generate(secrets.token_bytes))
    public = keys.load(out).public.raw
    async with operator(folder, address) as client:
        key_id = await client.admit_auditor(
            id=WriteId.of(write_id), auditor=name, public_key=public
        )
    output.emit(
        {"key_id": key_id, "file": str(out)},
        as_json,
        lambda: output.say(f"{name} may audit clearing with the key {key_id} in {out}."),
    )
