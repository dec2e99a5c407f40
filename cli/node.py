"""`comity node`: a brand's own server, from its creation to its backups."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from google.protobuf import json_format

from cli import output
from cli.access import MANAGER_KEY, Staff, merchant, node_server
from cli.commands import command, group
from cli.lifecycle import back_up, start
from cli.options import HERE, Json, Node
from cli.parts import PARTS
from comity.client.connection import connect
from comity.client.log import LogClient
from comity.clock import system_clock
from comity.errors import ComityError, Malformed
from comity.log.checkpoint import read_checkpoint
from comity.v1.operator_pb2 import AdmitParticipantResponse, RotateParticipantKeyResponse
from node import rotation, tables
from node.init import init as create_node
from node.init import join as join_network
from node.log_keys import LogKeys, passphrase_from
from node.settings import load_settings

app = group(PARTS["node"].help)


@command(
    app,
    "init",
    example="comity node init grocery --network comity.example --node grocery\n"
    "comity node init grocery --network comity.example --database postgresql://localhost/grocery",
)
def init(
    participant: Annotated[str, typer.Argument(help="The brand's id: letters, digits, hyphens.")],
    network: Annotated[str, typer.Option(help="The network's name, as its operator says it.")],
    name: Annotated[str, typer.Option("--name", help="What people call the brand.")] = "",
    peer_address: Annotated[
        str, typer.Option("--peer", help="Where other organisations reach it, host:port.")
    ] = "127.0.0.1:7701",
    public_address: Annotated[
        str, typer.Option("--public", help="Where members and tills reach it, host:port.")
    ] = "127.0.0.1:7702",
    database: Annotated[
        str, typer.Option(help="postgresql://… ; left out: SQLite in the folder.")
    ] = "",
    programme: Annotated[
        Path | None, typer.Option(help="The programme file; left out: a simple one is written.")
    ] = None,
    node: Node = HERE,
    as_json: Json = False,
) -> None:
    """Create a node: keys, settings, an empty ledger, and the request for the operator."""
    made = create_node(
        node,
        network=network,
        participant=participant,
        display_name=name,
        peer_address=peer_address,
        public_address=public_address,
        database_url=database,
        programme=b"" if programme is None else programme.read_bytes(),
        passphrase=passphrase_from(),
        clock=system_clock,
        random=secrets.token_bytes,
    )
    request = node / "request.json"

    def show() -> None:
        output.say(f"{made.origin} is created in {node}.")
        output.remark(
            f"Send {request} to the network's operator; then: comity node join ANSWER --node {node}"
        )

    facts = {
        "origin": made.origin,
        "vkey": made.vkey,
        "request": str(request),
        "manager_key": str(made.manager_key or ""),
    }
    output.emit(facts, as_json, show)


@command(app, "join", example="comity node join grocery-admission.json --node grocery")
def join(
    admission: Annotated[Path, typer.Argument(help="What `comity clearing admit` wrote.")],
    node: Node = HERE,
) -> None:
    """Put the operator's answer into the node: its certificate, and where clearing is."""
    try:
        answer = json_format.Parse(admission.read_text("utf-8"), AdmitParticipantResponse())
    except json_format.ParseError as error:
        raise Malformed(f"{admission} is no answer of `comity clearing admit`: {error}") from None
    join_network(node, answer, passphrase=passphrase_from())
    output.say(f"The node is part of {answer.network.network}.")
    output.remark(f"Start it with: comity node run --node {node}")


@command(
    app, "run", example="comity node run --node grocery\ncomity node run --node grocery --json"
)
async def run(node: Node = HERE, as_json: Json = False) -> None:
    """Serve until stopped; logs go to stderr."""
    from node.main import run as run_node

    await start(run_node, node, as_json=as_json)


@command(app, "status", example="comity node status --node grocery\ncomity node status --json")
async def status(node: Node = HERE, as_json: Json = False) -> None:
    """Show whether the node answers, how long its log is, and its totals."""
    settings = load_settings(node)
    facts: dict[str, Any] = {
        "origin": settings.origin,
        "folder": str(node),
        "peer_address": settings.peer_address,
        "public_address": settings.public_address,
        "database": "PostgreSQL" if settings.database_url else "SQLite",
        "joined": (node / "network.json").is_file(),
        "answers": False,
    }
    failure = None
    try:
        facts |= await _answers(node)
    except ComityError as error:
        failure = error
    output.emit(facts, as_json, lambda: output.facts(_words(facts)))
    if failure is not None:
        raise failure


async def _answers(node: Path) -> dict[str, Any]:
    channel = connect(node_server(Staff(node=node)))
    try:
        answer = await LogClient(channel).get_checkpoint()
    finally:
        await channel.close()
    size = read_checkpoint(answer.checkpoint).size if answer.checkpoint else 0
    found: dict[str, Any] = {"answers": True, "entries": size}
    if (node / MANAGER_KEY).is_file():
        async with merchant(Staff(node=node)) as client:
            found["members"] = (await client.get_totals()).members
    return found


def _words(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    def word(value: object) -> str:
        if isinstance(value, bool):
            return "yes" if value else "no"
        return output.number(value) if isinstance(value, int) else str(value)

    return [(name.replace("_", " "), word(value)) for name, value in facts.items()]


@command(app, "backup", example="comity node backup grocery-2026-11-22.db --node grocery")
def backup(
    out: Annotated[Path, typer.Argument(help="The new SQLite file to write.")], node: Node = HERE
) -> None:
    """Copy the ledger while the node serves, and verify the copy. Keys are not in it."""
    settings = load_settings(node)
    size = back_up(
        settings.url(node),
        tables.metadata,
        out,
        ledger=settings.participant,
        signer=LogKeys(node, passphrase_from()).signer(settings.origin),
    )
    output.say(f"{out} holds {size:,} entries, and they verify.")
    output.remark("Keep copies of the *.key files too, elsewhere, and closed to others.")


@command(
    app,
    "rotate-key",
    example="comity node rotate-key --node grocery\n"
    "comity node rotate-key --stolen --node grocery\n"
    "comity node rotate-key --answer answer.json --node grocery",
)
def rotate_key(
    stolen: Annotated[
        bool,
        typer.Option("--stolen", help="Nothing more shall count under the old key. Stop first."),
    ] = False,
    answer: Annotated[
        Path | None,
        typer.Option(help="The operator's answer, for a stopped node without its old key."),
    ] = None,
    node: Node = HERE,
    as_json: Json = False,
) -> None:
    """Make the next log key and ask the operator for the exchange; the node goes on meanwhile."""
    if answer is not None:
        last_size = _put_in_answer(node, answer)
        facts: dict[str, Any] = {"last_size": last_size}
        text = f"Above {last_size:,} entries this node signs with its new key."
        output.emit(facts, as_json, lambda: output.say(text))
        return
    made = rotation.prepare(
        node, passphrase=passphrase_from(), random=secrets.token_bytes, distrust=stolen
    )
    facts = {"vkey": made.vkey, "request": str(made.file), "size": made.size}

    def show() -> None:
        output.say(
            f"The next key of {made.participant} is made; {made.file} asks for the exchange."
        )
        output.remark(
            f"Send {made.file} to the network's operator, who runs: comity clearing rotate "
            f"{made.file.name}. The node goes over by itself; keep every log*.key file."
        )

    output.emit(facts, as_json, show)


def _put_in_answer(node: Path, answer: Path) -> int:
    try:
        told = json_format.Parse(answer.read_text("utf-8"), RotateParticipantKeyResponse())
    except json_format.ParseError as error:
        raise Malformed(f"{answer} is no answer of `comity clearing rotate`: {error}") from None
    return rotation.answer(node, told, passphrase=passphrase_from(), clock=system_clock)
