"""The programme in the log: an entry whenever the file this brand runs by has changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from comity.errors import Conflict
from comity.ledger import entries
from comity.ledger.command import Batch
from comity.ledger.rows import Rows
from comity.v1 import entry_pb2
from node.book import Handler, Handlers, Rules
from node.commands import DeclareProgramme
from node.tables import programmes


def _newest(rows: Rows) -> dict[str, Any] | None:
    found = rows.load_query(
        programmes, programmes.c["index"] >= 0, order_by=(programmes.c["index"].desc(),), limit=1
    )
    return found[0] if found else None


def _prefetch(rules: Rules, rows: Rows, commands: Sequence[DeclareProgramme]) -> None:
    rows.load_where(programmes, "version", [command.version for command in commands])


def _declare(rules: Rules, batch: Batch, command: DeclareProgramme) -> bytes:
    """Raises Conflict if this version's name was given to another file before."""
    rows = batch.rows
    newest = _newest(rows)
    if newest is not None and newest["digest"] == command.digest:
        return b""
    for row in rows.find(programmes, "version", command.version):
        if row["digest"] != command.digest:
            raise Conflict(
                f"Version {command.version} of the programme was declared with other content; "
                "give the changed file a new version.",
                field="version",
            )
    body = entry_pb2.Programme(
        version=command.version, digest=command.digest, effective_at_us=batch.now_us
    )
    data = entries.encode(body, origin=rules.origin, at_us=batch.now_us)
    index = batch.append(data, kind="programme")
    rows.insert(
        programmes,
        {
            "index": index,
            "version": command.version,
            "digest": command.digest,
            "effective_at_us": batch.now_us,
        },
    )
    return b""


HANDLERS: Handlers = {DeclareProgramme: Handler(_prefetch, _declare)}
