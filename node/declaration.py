"""The programme in the log: an entry for every version this brand runs by.

A start declares the version of its file unless it is known; a manager publishes one for now or
for later. A version's name stands for one file for ever.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from comity.clock import DAY
from comity.errors import Conflict, Refused
from comity.ledger import entries
from comity.ledger.command import Batch
from comity.ledger.rows import Rows
from comity.v1 import entry_pb2
from comity.v1 import programme_pb2 as pb
from node.book import Handler, Handlers, Rules
from node.commands import DeclareProgramme, PublishProgramme
from node.programme import Programme, read_programme
from node.programme.diff import takes_away
from node.programme.promises import broken_forms
from node.sandbox import check_sandbox
from node.tables import programmes

NOTICE_DAYS: Final = 30
"""Members learn so long before that something is taken from them."""


def _prefetch(
    rules: Rules, rows: Rows, commands: Sequence[DeclareProgramme | PublishProgramme]
) -> None:
    rows.load_where(programmes, "version", [command.version for command in commands])


def _known(rows: Rows, version: str, digest: bytes) -> bool:
    """Whether this version was declared before; Conflict if it was with other content."""
    found = rows.find(programmes, "version", version)
    if any(row["digest"] != digest for row in found):
        raise Conflict(
            f"Version {version} of the programme was declared with other content; "
            "give the changed file a new version.",
            field="version",
        )
    return bool(found)


def _write(
    rules: Rules, batch: Batch, *, version: str, file: bytes, digest: bytes, effective_at_us: int
) -> int:
    body = entry_pb2.Programme(version=version, digest=digest, effective_at_us=effective_at_us)
    data = entries.encode(body, origin=rules.origin, at_us=batch.now_us)
    index = batch.append(data, kind="programme")
    batch.rows.insert(
        programmes,
        {
            "index": index,
            "version": version,
            "digest": digest,
            "effective_at_us": effective_at_us,
            "file": file,
        },
    )
    return index


def _declare(rules: Rules, batch: Batch, command: DeclareProgramme) -> bytes:
    """Raises Conflict if this version's name was given to another file before."""
    if not _known(batch.rows, command.version, command.digest):
        _write(
            rules,
            batch,
            version=command.version,
            file=command.file,
            digest=command.digest,
            effective_at_us=batch.now_us,
        )
    return b""


def _publish(rules: Rules, batch: Batch, command: PublishProgramme) -> bytes:
    programme = read_programme(command.file).programme
    check_sandbox(programme, rules.network)
    digest = hashlib.sha256(command.file).digest()
    if _known(batch.rows, command.version, digest):
        raise Conflict(
            f"Version {programme.version} of the programme is published already.", field="file"
        )
    effective_at_us = max(command.effective_at_us, batch.now_us)
    _check(rules.at(effective_at_us), programme, command, batch.now_us, effective_at_us)
    index = _write(
        rules,
        batch,
        version=programme.version,
        file=command.file,
        digest=digest,
        effective_at_us=effective_at_us,
    )
    return entries.canonical(
        pb.PublishProgrammeResponse(
            version=programme.version, effective_at_us=effective_at_us, index=index
        )
    )


def _check(
    before: Programme,
    after: Programme,
    command: PublishProgramme,
    now_us: int,
    effective_at_us: int,
) -> None:
    """Raises Refused for a version that cannot follow this one, or not so soon."""
    if wrong := broken_forms(before, after):
        raise Refused("This version cannot follow: " + " ".join(wrong))
    lost = [one.sentence for one in takes_away(before, after)]
    if lost and not command.without_notice and effective_at_us < now_us + NOTICE_DAYS * DAY:
        raise Refused(
            f"This version takes something away in fewer than {NOTICE_DAYS} days: "
            + " ".join(lost)
            + " Let it take effect later, or say that no notice is given."
        )


HANDLERS: Handlers = {
    DeclareProgramme: Handler(_prefetch, _declare, publishes=True),
    PublishProgramme: Handler(_prefetch, _publish, publishes=True),
}
