"""A settlement, checked by a stranger: the table, its digest in clearing's log, its payments.

The file is JSON:

    {"format": "comity-settlement/v1",
     "clearing": the verifier key of clearing's log,
     "table": SettlementTable as protobuf JSON,
     "statement": the SETTLEMENT entry as a tlog-proof}
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from google.protobuf import json_format
from google.protobuf.message import DecodeError

from comity.errors import BadStatement, ComityError, Malformed, NotFound
from comity.ledger import entries, statements
from comity.log.checkpoint import CheckpointCache
from comity.log.note import VerifierKey
from comity.terms.settlement import check_settlement, digest
from comity.v1.common_pb2 import Statement
from comity.v1.entry_pb2 import SettlementTable
from comity.verify.report import Check, Report, refused

FORMAT: Final = "comity-settlement/v1"
MAX_BYTES: Final = 64 * 1024 * 1024


def pack(table: SettlementTable, statement: Statement, *, vkey: str) -> str:
    """The settlement as a file that anyone can verify."""
    content = {
        "format": FORMAT,
        "clearing": vkey,
        "table": json_format.MessageToDict(table, preserving_proto_field_name=True),
        "statement": statements.to_tlog_proof(statement),
    }
    return json.dumps(content, indent=2) + "\n"


def settlement(file: Path | str | bytes, *, vkey: str | None = None) -> Report:
    """Verify a settlement file, or its contents if given as bytes.

    `vkey` is clearing's key as known from elsewhere; without it the file's own word is taken, and
    the report says so. Linear in the rows and payments. Raises Malformed for another kind of file.
    """
    content = _read(file)
    try:
        table = json_format.ParseDict(content["table"], SettlementTable())
        statement = statements.from_tlog_proof(content["statement"])
        verifier = VerifierKey.parse(vkey or content["clearing"])
    except (KeyError, TypeError, json_format.ParseError) as error:
        raise Malformed("The settlement file is damaged; ask for it again.") from error
    return check(table, statement, verifier=verifier, trusted=vkey is not None)


def check(
    table: SettlementTable, statement: Statement, *, verifier: VerifierKey, trusted: bool = True
) -> Report:
    """Verify a settlement table against the SETTLEMENT entry of clearing's log."""
    checks: list[Check] = [_signed(table, statement, verifier, trusted)]
    try:
        check_settlement(table)
    except ComityError as error:
        checks.append(refused("table", error))
    else:
        detail = "Rows sum to zero per currency, and the payments realise every row."
        checks.append(Check("table", passed=True, detail=detail))
    return Report(
        subject=f"settlement of window {table.window} of {table.network}",
        checks=tuple(checks),
        figures={
            "window": table.window,
            "positions": len(table.positions),
            "payments": len(table.payments),
        },
    )


def read_table(data: bytes) -> SettlementTable:
    """The table of canonical bytes; BadStatement for any others."""
    try:
        table = SettlementTable.FromString(data)
    except DecodeError as error:
        raise BadStatement("The settlement table does not parse.") from error
    table.DiscardUnknownFields()
    if entries.canonical(table) != data:
        raise BadStatement("The settlement table is not in canonical form.")
    return table


def _signed(
    table: SettlementTable, statement: Statement, verifier: VerifierKey, trusted: bool
) -> Check:
    """Whether clearing's log holds a SETTLEMENT of exactly this table."""
    try:
        proven = statements.verify(
            statement, origin=verifier.name, verifier=verifier, cache=CheckpointCache(1)
        )
        if proven.entry.WhichOneof("body") != "settlement":
            raise BadStatement("The statement is of another kind of entry than SETTLEMENT.")
        body = proven.entry.settlement
        if (body.window, body.table) != (table.window, digest(table)):
            raise BadStatement("The table is not the one that clearing's log names.")
        if verifier.name != f"{table.network}/clearing":
            raise BadStatement(f"The key is not that of clearing in {table.network}.")
        if table.closed.origin != verifier.name or table.closed.index >= statement.index:
            raise BadStatement("The table does not name an earlier closing of its window.")
    except ComityError as error:
        return refused("statement", error)
    place = f"Entry {statement.index} of {verifier.name}"
    known = "known" if trusted else "named in the file itself"
    return Check(
        "statement",
        passed=True,
        detail=f"{place} names this table, under the key {known}.",
    )


def _read(file: Path | str | bytes) -> dict[str, Any]:
    if not isinstance(file, bytes):
        path = Path(file)
        if not path.is_file():
            raise NotFound(f"There is no settlement file {path}.")
        file = path.read_bytes()
    if len(file) > MAX_BYTES:
        raise Malformed("The file is too large to be a settlement.")
    try:
        content = json.loads(file)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise Malformed(f"This is not a settlement file of the form {FORMAT}.")
    return content
