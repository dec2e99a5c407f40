"""`comity verify`: anyone may check a log, a receipt, a settlement, or evidence of cheating.

The checking is done by the kernel alone (`comity.verify`). A failed check is named, and the exit
code tells a script.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy.exc import DBAPIError

from cli import output
from cli.access import database_of, read_settings
from cli.commands import command, group
from cli.failures import VERIFICATION
from cli.options import DEFAULT_WALLET, Json, Wallet
from cli.parts import PARTS
from comity import keys
from comity.client.connection import Server, connect
from comity.errors import ComityError, Malformed
from comity.keys import SigningKey
from comity.ledger.exchange import keys_of
from comity.log.history import KeyHistory
from comity.log.note import VerifierKey
from comity.verify.database import database, open_read_only
from comity.verify.evidence import evidence as check_evidence
from comity.verify.network import network as check_network
from comity.verify.receipt import receipt as check_receipt
from comity.verify.report import Report
from comity.verify.server import server
from comity.verify.settlement import settlement as check_settlement

app = group(PARTS["verify"].help)

Vkey = Annotated[
    str, typer.Option("--vkey", help="The log's key or keys as you know them; else its own word.")
]
Final_ = Annotated[
    bool, typer.Option("--final", help="Nothing is under way: what must end has to have ended.")
]


@command(
    app,
    "log",
    example="comity verify log grocery\n"
    "comity verify log grocery-2026-11-22.db\n"
    "comity verify log localhost:7702 --ca ca.crt --save grocery.checkpoint\n"
    "comity verify log localhost:7702 --ca ca.crt --key smith.key --origin comity.example/grocery",
)
def log(
    where: Annotated[
        str,
        typer.Argument(help="A folder, a database file, a postgresql:// URL, or host:port."),
    ],
    vkey: Vkey = "",
    ledger: Annotated[str, typer.Option(help="Which one, if a database holds several.")] = "",
    ca: Annotated[Path | None, typer.Option(help="The network's CA certificate.")] = None,
    key: Annotated[Path | None, typer.Option(help="An auditor's key: read every entry.")] = None,
    origin: Annotated[str, typer.Option(help="The log's name, for an auditor.")] = "",
    earlier: Annotated[
        Path | None, typer.Option(help="A checkpoint kept from before: the log extends it.")
    ] = None,
    save: Annotated[Path | None, typer.Option(help="Keep the checkpoint for next time.")] = None,
    final: Final_ = False,
    as_json: Json = False,
) -> None:
    """Recompute a log: its bytes, hashes, root, signature, legs and every balance."""
    if _is_address(where):
        if ca is None:
            raise Malformed("A server is checked through its CA certificate: --ca FILE.")
        if key is not None and not origin:
            raise Malformed("An auditor's session names the log it reads: --origin NETWORK/BRAND.")
        asked = Server(address=where, roots_pem=ca.read_bytes(), origin=origin)
        staff = None if key is None else keys.load(key)
        kept = None if earlier is None else earlier.read_bytes()
        report = asyncio.run(_server(asked, staff, vkey, kept, final))
        if save is not None and report.passed:
            save.write_bytes(report.note)
    else:
        report = _stored(where, vkey=vkey, ledger=ledger, final=final)
    _finish([report], as_json)


async def _server(
    asked: Server, key: SigningKey | None, vkey: str, earlier: bytes | None, final: bool
) -> Report:
    channel = connect(asked, key=key)
    try:
        with _counted("reading the log") as progress:
            return await server(
                channel,
                vkey=vkey or None,
                earlier=earlier,
                auditor=key is not None,
                final=final,
                progress=progress,
            )
    finally:
        await channel.close()


def _stored(where: str, *, vkey: str = "", ledger: str = "", final: bool = False) -> Report:
    """The report on a folder's, file's or URL's ledger."""
    place, known, name, head_file = where, vkey, ledger, None
    if Path(where).is_dir():
        place, own, name = _of_folder(Path(where))
        known, head_file = vkey or own, Path(where) / "head"
    with _counted("reading the log") as progress:
        return database(
            place,
            ledger=name or None,
            vkey=known or None,
            head_file=head_file,
            final=final,
            progress=progress,
        )


def _of_folder(folder: Path) -> tuple[str, str, str]:
    """Database, verifier key and ledger of a node's or clearing's folder."""
    settings = read_settings(folder)
    ledger = str(settings.get("participant", "clearing"))
    origin = f"{settings['network']}/{ledger}"
    held = {keys.look_at(path)[0] for path in folder.glob("log*.key")}
    own = keys.look_at(folder / "log.key")[0]
    place = database_of(folder, settings)
    stored = _keys_in(place, ledger)
    if stored is not None and stored.keys[-1].public in held and stored.name == origin:
        return place, str(stored), ledger
    return place, str(VerifierKey.of(origin, own)), ledger


def _keys_in(place: str, ledger: str) -> KeyHistory | None:
    """The log's keys as its database has them; the folder's key files say whether they are its."""
    try:
        engine = open_read_only(place)
    except ComityError:
        return None
    try:
        return keys_of(engine, ledger)
    except (ComityError, DBAPIError):
        return None
    finally:
        engine.dispose()


def _is_address(where: str) -> bool:
    host, _, port = where.rpartition(":")
    return bool(host) and port.isdecimal() and "/" not in where


@command(
    app,
    "network",
    example="comity verify network clearing grocery fuel\n"
    "comity verify network clearing grocery fuel --final --json",
)
def network(
    folders: Annotated[
        list[str], typer.Argument(help="Folders or databases of clearing and of brands.")
    ],
    final: Final_ = False,
    as_json: Json = False,
) -> None:
    """Recompute several logs and compare brands with clearing, redemption by redemption."""
    reports = [_stored(one, final=final) for one in folders]
    _finish([*reports, check_network(reports, final=final)], as_json)


@command(
    app,
    "receipt",
    example="comity verify receipt rdm_00112233445566778899aabbccddeeff\n"
    "comity verify receipt ./receipt-folder --keys roster.json",
)
def receipt(
    what: Annotated[str, typer.Argument(help="A receipt's folder, or its id in your wallet.")],
    known: Annotated[
        Path | None,
        typer.Option("--keys", help="JSON of log origins and their keys."),
    ] = None,
    wallet: Wallet = DEFAULT_WALLET,
    as_json: Json = False,
) -> None:
    """Check a receipt offline: hold, decision and delivery, each proven in its log."""
    folder = Path(what)
    if what.startswith("rdm_") and not folder.is_dir():
        folder = Path(wallet).expanduser() / "receipts" / what
    _finish([check_receipt(folder, keys=_read_keys(known))], as_json)


def _read_keys(path: Path | None) -> Mapping[str, str] | None:
    if path is None:
        return None
    try:
        found: Any = json.loads(path.read_text("utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Malformed(f"{path} is not a JSON object of origins and verifier keys.")
    return {str(origin): str(vkey) for origin, vkey in found.items()}


@command(
    app,
    "settlement",
    example="comity verify settlement window-3.json\n"
    "comity verify settlement window-3.json --vkey comity.example/clearing+0a1b2c3d+AbCd",
)
def settlement(
    file: Annotated[Path, typer.Argument(help="What `clearing window settle --out` wrote.")],
    vkey: Vkey = "",
    as_json: Json = False,
) -> None:
    """Check a settlement: the rows sum to zero, the payments meet them, clearing signed it."""
    _finish([check_settlement(file, vkey=vkey or None)], as_json)


@command(
    app,
    "evidence",
    example="comity verify evidence one.checkpoint other.checkpoint "
    "--vkey comity.example/fuel+0a1b2c3d+AbCd",
)
def evidence(
    first: Annotated[Path, typer.Argument(help="A signed checkpoint, or a tlog-proof.")],
    second: Annotated[Path, typer.Argument(help="Another one of the same kind.")],
    vkey: Annotated[str, typer.Option("--vkey", help="The accused log's key.")],
    as_json: Json = False,
) -> None:
    """Check whether two signed things prove that a log's owner showed two histories."""
    verifier = KeyHistory.parse(vkey)
    _finish([check_evidence(first.read_bytes(), second.read_bytes(), verifier=verifier)], as_json)


def _finish(reports: Iterable[Report], as_json: bool) -> None:
    """Prints what was checked; a failed check ends with the exit code for it."""
    found = list(reports)
    passed = all(report.passed for report in found)
    content = {"passed": passed, "reports": [report.plain() for report in found]}
    output.emit(content, as_json, lambda: _show(found))
    if not passed:
        raise typer.Exit(VERIFICATION)


def _show(reports: Iterable[Report]) -> None:
    for report in reports:
        output.table(("check", "", "found"), report.rows(), title=report.subject)
        if report.passed:
            output.say(f"{report.subject}: all checks passed.")
        else:
            output.fail(f"{report.subject}: do not rely on it.")


@contextmanager
def _counted(what: str) -> Iterator[Any]:
    """A progress which is told how many of how many are done."""
    with output.progress(what) as advance:
        seen = 0

        def told(done: int, total: int) -> None:
            nonlocal seen
            del total
            advance(done - seen)
            seen = done

        yield told
