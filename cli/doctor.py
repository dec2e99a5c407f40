"""`comity doctor`: says in words why a server cannot be reached, or that all is well."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from cli import output
from cli.access import (
    CA_CERTIFICATE,
    OPERATOR_CERTIFICATE,
    OPERATOR_KEY,
    dialled,
    operator,
    peer_address,
    public_address,
    read_network,
    read_settings,
)
from cli.commands import command
from cli.diagnosis import Step, Target, clock_skew, health, log_head, reach
from cli.failures import UNDECIDED
from cli.options import DEFAULT_WALLET, Json, Wallet
from cli.purse import open_wallet
from comity.client.connection import Server, connect, connect_peer
from comity.clock import SECOND, system_clock
from comity.errors import ComityError, Malformed
from comity.log.checkpoint import Checkpoint
from comity.rpc.tls import ClientTls, Subject, brand, clearing, load_private

SILENT_US = 60 * SECOND


def add_to(app: typer.Typer) -> None:
    """Declares the command."""
    command(
        app,
        "doctor",
        example="comity doctor localhost:7702 --ca ca.crt\n"
        "comity doctor --node grocery\n"
        "comity doctor --clearing clearing --json",
    )(doctor)


def doctor(
    address: Annotated[
        str | None, typer.Argument(help="A public address, host:port, or a brand of your wallet.")
    ] = None,
    ca: Annotated[Path | None, typer.Option(help="The CA certificate to trust.")] = None,
    server_name: Annotated[
        str, typer.Option(help="The name in the server's certificate, if not the address's.")
    ] = "",
    node: Annotated[
        Path | None, typer.Option("--node", help="Examine a node's connections, from its folder.")
    ] = None,
    clearing_folder: Annotated[
        Path | None, typer.Option("--clearing", help="Examine clearing and its brands likewise.")
    ] = None,
    wallet: Wallet = DEFAULT_WALLET,
    as_json: Json = False,
) -> None:
    """Say in words why a connection fails: name, port, certificates, clock, health, log."""
    found: list[tuple[str, Step]] = []
    for title, target, peer, known in _targets(
        address, ca, server_name, node, clearing_folder, wallet
    ):
        with output.working(f"examining {title}"):
            found += ((title, step) for step in examine(target, peer=peer, known=known))
    if clearing_folder is not None and all(step.passed for _, step in found):
        found += (("brands", step) for step in asyncio.run(_brands(clearing_folder)))
    output.emit([_plain(title, step) for title, step in found], as_json, lambda: _show(found))
    if not all(step.passed for _, step in found):
        raise typer.Exit(UNDECIDED)


Examined = tuple[str, Target, Subject | None, Checkpoint | None]


def _targets(
    address: str | None,
    ca: Path | None,
    server_name: str,
    node: Path | None,
    clearing_folder: Path | None,
    wallet: str,
) -> Iterator[Examined]:
    if address is not None and (":" not in address or ca is None):
        known = open_wallet(wallet).store
        one = known.brand(address)
        roots = known.networks()[one.network].roots_pem.encode()
        yield (
            one.participant,
            Target(
                address=one.address, roots_pem=roots, server_name=server_name or one.server_name
            ),
            None,
            None,
        )
    elif address is not None and ca is not None:
        yield (
            address,
            Target(address=address, roots_pem=ca.read_bytes(), server_name=server_name),
            None,
            None,
        )
    if node is not None:
        yield from _of_node(node)
    if clearing_folder is not None:
        yield from _of_clearing(clearing_folder)
    if address is None and node is None and clearing_folder is None:
        raise Malformed("Say what to examine: an address, --node FOLDER or --clearing FOLDER.")


def _of_node(folder: Path) -> Iterator[Examined]:
    settings, network = read_settings(folder), read_network(folder)
    own = brand(network.network, str(settings["participant"]))
    roots = network.ca_certificate
    yield (
        "the node, public",
        Target(address=dialled(public_address(settings)), roots_pem=roots),
        None,
        _last_head(folder, f"{network.network}/{own.id}"),
    )
    for title, subject, address in (
        ("the node, for peers", own, dialled(peer_address(settings))),
        ("clearing, for peers", clearing(network.network), network.clearing_peer_address),
    ):
        yield (
            title,
            Target(
                address=address,
                roots_pem=roots,
                server_name=subject.server_name,
                certificate=folder / "tls.crt",
                key=folder / "tls.key",
            ),
            subject,
            None,
        )


def _of_clearing(folder: Path) -> Iterator[Examined]:
    settings = read_settings(folder)
    roots = (folder / CA_CERTIFICATE).read_bytes()
    subject = clearing(str(settings["network"]))
    yield (
        "clearing, public",
        Target(address=dialled(public_address(settings)), roots_pem=roots),
        None,
        _last_head(folder, f"{settings['network']}/clearing"),
    )
    yield (
        "clearing, for peers",
        Target(
            address=dialled(peer_address(settings)),
            roots_pem=roots,
            server_name=subject.server_name,
            certificate=folder / OPERATOR_CERTIFICATE,
            key=folder / OPERATOR_KEY,
        ),
        subject,
        None,
    )


def examine(target: Target, *, peer: Subject | None, known: Checkpoint | None) -> list[Step]:
    """All steps for one server, up to the first layer that does not work."""
    steps = list(reach(target, system_clock))
    if all(step.passed for step in steps):
        steps += asyncio.run(_answers(target, peer=peer is not None, known=known))
    return steps


async def _answers(target: Target, *, peer: bool, known: Checkpoint | None) -> list[Step]:
    if not peer:
        public = Server(
            address=target.address, roots_pem=target.roots_pem, server_name=target.server_name
        )
        channel = connect(public)
        try:
            steps = [await health(channel)]
            try:
                steps.append(await clock_skew(channel, system_clock))
            except ComityError as error:
                steps.append(Step(name="clock", passed=False, found=error.message))
            return [*steps, await log_head(channel, known)]
        finally:
            await channel.close()
    assert target.certificate is not None
    assert target.key is not None
    tls = ClientTls(
        roots_pem=target.roots_pem,
        server_name=target.server_name,
        key_pem=load_private(target.key),
        certificate_pem=target.certificate.read_bytes(),
    )
    with_certificate = connect_peer(target.address, tls=tls)
    try:
        return [await health(with_certificate)]
    finally:
        await with_certificate.close()


async def _brands(folder: Path) -> list[Step]:
    """Which brands clearing has not heard for a while; it decides nothing for those."""
    async with operator(folder) as client:
        found = await client.list_participants()
    now_us, steps = system_clock(), []
    for one in found:
        silent_us = now_us - one.heard_at_us
        if one.heard_at_us and silent_us <= SILENT_US:
            steps.append(
                Step(
                    name=one.participant,
                    passed=True,
                    found=f"Heard {silent_us // SECOND} s ago, log size {one.head_size}.",
                )
            )
            continue
        since = f"for {silent_us // SECOND} s" if one.heard_at_us else "since clearing started"
        steps.append(
            Step(
                name=one.participant,
                passed=False,
                found=f"{one.participant} was not heard {since}; nothing is decided for it.",
                what_to_do=f"Ask {one.participant} to run `comity doctor --node`.",
            )
        )
    return steps


def _last_head(folder: Path, origin: str) -> Checkpoint | None:
    """The highest head which the service in this folder ever signed, from its guard file."""
    from comity.ledger.guard import HeadFile  # brings a database's library with it

    try:
        head = HeadFile(folder / "head").read()
    except ComityError:
        return None
    return None if head is None else Checkpoint(origin, head.size, head.root)


def _plain(title: str, step: Step) -> dict[str, object]:
    return {
        "examined": title,
        "step": step.name,
        "passed": step.passed,
        "found": step.found,
        "what_to_do": step.what_to_do,
    }


def _show(found: list[tuple[str, Step]]) -> None:
    before = ""
    for title, step in found:
        if title != before:
            output.say(title)
            before = title
        output.say(f"  {'ok  ' if step.passed else 'FAIL'} {step.name:8} {step.found}")
        if step.what_to_do:
            output.say(f"                {step.what_to_do}")
