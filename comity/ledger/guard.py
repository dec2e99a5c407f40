"""What a process checks before it serves a ledger: that it is there, its own, whole and newest.

Only `init_ledger` creates one. `open_ledger` refuses a missing ledger, a foreign one, one that
was restored from an older copy, and one with another history; each refusal is its own class.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection, Engine, func, insert, inspect, select
from sqlalchemy.exc import IntegrityError

from comity.clock import SECOND
from comity.errors import (
    BadStatement,
    Conflict,
    ForeignLedger,
    ForkedLedger,
    LedgerFault,
    MissingLedger,
    ShorterLedger,
)
from comity.ledger import lease as leases
from comity.ledger import schema
from comity.ledger.engine import writer
from comity.ledger.lease import Lease
from comity.ledger.store import Head, LedgerStore, read_head, read_tile
from comity.log.history import KeyHistory
from comity.log.merkle import EMPTY_ROOT
from comity.log.tiles import TileReader


class Signer(Protocol):
    """The log's key, bound to its origin."""

    @property
    def origin(self) -> str:
        """The log's name, `<network>/<participant>`."""

    @property
    def vkey(self) -> str:
        """The newest public key as a C2SP verifier key."""

    @property
    def history(self) -> KeyHistory:
        """Every key of the log, and for which sizes."""

    def learn(self, history: KeyHistory) -> None:
        """Sign by these keys from now on. Raises ForeignLedger without the newest of them."""

    def sign(self, size: int, root: bytes) -> bytes:
        """A signed checkpoint of the log."""

    def can_sign(self, size: int) -> bool:
        """Whether the key for heads of this size is here."""

    def verify(self, note: bytes) -> tuple[int, bytes]:
        """The size and root a checkpoint of this log states. Raises BadStatement."""


# --- the head file --------------------------------------------------------------------

HEAD_FILE_INTERVAL_US = SECOND // 10
_SLOT = 512
_SLOTS = 2
_FORMAT = "comity-head/v1"


@dataclass(frozen=True, slots=True)
class _Kept:
    origin: str
    size: int
    root: bytes


class HeadFile:
    """A small fsynced file outside the database, with a head this log has signed.

    It catches a database that was restored alone. It is written after a commit, at most every
    100 ms of batches (an fsync for each would cost small batches about a fifth), when idle
    and at the end: it may lag the database, which is harmless, and never leads it. The seconds
    it may miss are covered by the heads that clearing knows. Two slots take turns, so a torn
    write leaves the other one.
    """

    def __init__(self, path: Path, *, interval_us: int = HEAD_FILE_INTERVAL_US) -> None:
        self.path = path
        self._interval_us = interval_us
        self._origin = ""
        self._turn = 0
        self._kept: Head | None = None

    def bind(self, origin: str) -> None:
        """Say whose heads are kept from now on."""
        self._origin = origin

    def read(self) -> _Kept | None:
        """The highest head in the file; None if there is no file.

        Raises LedgerFault if the file holds no head at all.
        """
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return None
        slots = [_parse(data[at : at + _SLOT]) for at in range(0, _SLOT * _SLOTS, _SLOT)]
        kept = {at: slot for at, slot in enumerate(slots) if slot is not None}
        if not kept:
            raise LedgerFault(
                f"The head file {self.path} is damaged. Restore it, or remove it once a "
                "counterparty has confirmed this ledger's head."
            )
        newest = max(kept, key=lambda at: kept[at].size)
        self._turn = (newest + 1) % _SLOTS  # never over the newest
        return kept[newest]

    def keep(self, head: Head, *, now: bool = False) -> None:
        """Write `head`, durably; put off while the last write is recent, unless `now`."""
        kept = self._kept
        if kept is not None and (
            kept.size == head.size or (not now and head.at_us - kept.at_us < self._interval_us)
        ):
            return
        text = f"{_FORMAT} {self._origin} {head.size} {head.root.hex()}"
        slot = f"{text} {zlib.crc32(text.encode()):08x}\n".encode().ljust(_SLOT)
        if len(slot) != _SLOT:
            raise ValueError(f"the origin {self._origin} is too long for a head file")
        created = not self.path.exists()
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_DSYNC | os.O_CLOEXEC, 0o644)
        try:
            os.pwrite(descriptor, slot, self._turn * _SLOT)
        finally:
            os.close(descriptor)
        if created:
            _sync_directory(self.path.parent)
        self._turn = (self._turn + 1) % _SLOTS
        self._kept = head


def _parse(slot: bytes) -> _Kept | None:
    parts = slot.decode("utf-8", "replace").split()
    if len(parts) != 5 or parts[0] != _FORMAT:
        return None
    if parts[4] != f"{zlib.crc32(' '.join(parts[:4]).encode()):08x}":
        return None
    return _Kept(origin=parts[1], size=int(parts[2]), root=bytes.fromhex(parts[3]))


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- creating and opening -------------------------------------------------------------


def init_ledger(
    engine: Engine,
    *,
    ledger: str,
    network: str,
    signer: Signer,
    now_us: int,
    head_file: HeadFile | None = None,
) -> None:
    """Create an empty ledger; the tables exist already (`comity.ledger.migrate`).

    Raises Conflict if it exists, and ShorterLedger if its head file remembers entries: then the
    database was lost and has to be restored, not created.
    """
    kept = head_file.read() if head_file is not None else None
    if kept is not None and kept.size > 0:
        raise ShorterLedger(
            f"Ledger {ledger} had {kept.size} entries once, says its head file. Restore the "
            "database from a backup; a new ledger would deny what was signed."
        )
    try:
        with writer(engine).begin() as connection:
            connection.execute(
                insert(schema.ledgers).values(
                    ledger=ledger,
                    network=network,
                    origin=signer.origin,
                    vkey=str(signer.history),
                    created_at_us=now_us,
                    size=0,
                    root=EMPTY_ROOT,
                    note=signer.sign(0, EMPTY_ROOT),
                    last_at_us=now_us,
                    lease_holder="",
                    lease_fence=0,
                    lease_until_us=0,
                )
            )
    except IntegrityError:
        raise Conflict(
            f"Ledger {ledger} exists in this database already; start the service without init."
        ) from None


def open_ledger(
    engine: Engine,
    *,
    ledger: str,
    network: str,
    signer: Signer,
    holder: str,
    now_us: int,
    is_dead: Callable[[str], bool] = leases.is_dead_here,
    head_file: HeadFile | None = None,
) -> Lease:
    """Verify a ledger and take its lease; nothing is taken if a check fails.

    1. the ledger's row exists, else MissingLedger
    2. network, origin and key are this process's own, else ForeignLedger
    3. the lease is free, else LeaseHeld
    4. the entries are as many as the head says, the tiles lead to its root, and the
       checkpoint's signature holds, else LedgerFault
    5. the head file's head is not ahead (ShorterLedger) and of the same history (ForkedLedger)

    Heads that others know are checked with `check_known_head`, before the first signature.
    The same `head_file` object goes to the sequencer.
    """
    if not inspect(engine).has_table(schema.ledgers.name):
        raise MissingLedger("The database holds no ledger; create one with init.")
    with writer(engine).begin() as connection:
        _require_own(connection, ledger, network, signer)
        lease = leases.acquire(
            connection, ledger=ledger, holder=holder, now_us=now_us, is_dead=is_dead
        )
        _require_whole(connection, ledger, signer)
        if head_file is not None:
            head_file.bind(signer.origin)
            _require_newest(connection, ledger, signer, head_file)
    return lease


def check_known_head(store: LedgerStore, *, size: int, root: bytes) -> None:
    """Compare this ledger with a head of it that somebody else holds.

    Raises ShorterLedger if theirs is longer, ForkedLedger if theirs is of another history.
    """
    _compare(store.ledger, store.head().size, store.root, size=size, root=root)


def _require_own(connection: Connection, ledger: str, network: str, signer: Signer) -> None:
    table = schema.ledgers
    query = select(table.c.network, table.c.origin, table.c.vkey).where(table.c.ledger == ledger)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise MissingLedger(f"There is no ledger {ledger} in this database; create it with init.")
    ours = (network, signer.origin)
    for name, stored, own in zip(("network", "origin"), row, ours, strict=False):
        if stored != own:
            raise ForeignLedger(
                f"Ledger {ledger} has {name} {stored}, and this process {own}. "
                "Point it to its own database, or give it the ledger's own key."
            )
    signer.learn(KeyHistory.parse(row.vkey))


def _require_whole(connection: Connection, ledger: str, signer: Signer) -> None:
    head = read_head(connection, ledger)
    table = schema.entries
    newest = connection.execute(
        select(func.max(table.c["index"])).where(table.c.ledger == ledger)
    ).scalar_one()
    count = 0 if newest is None else newest + 1
    if count != head.size:
        raise LedgerFault(
            f"Ledger {ledger} has {count} entries and its head says {head.size}. "
            "The database is damaged; restore it from a backup."
        )
    try:
        stated = signer.verify(head.note)
        found = _tiles(connection, ledger).root(head.size)
    except BadStatement as error:
        raise LedgerFault(
            f"The head of ledger {ledger} does not verify: {error.message} "
            "The database is damaged; restore it from a backup."
        ) from error
    if stated != (head.size, head.root) or found != head.root:
        raise LedgerFault(
            f"The tiles of ledger {ledger} do not lead to its signed root. "
            "The database is damaged; restore it from a backup."
        )


def _require_newest(
    connection: Connection, ledger: str, signer: Signer, head_file: HeadFile
) -> None:
    kept = head_file.read()
    if kept is None:
        return
    if kept.origin != signer.origin:
        raise ForeignLedger(
            f"The head file {head_file.path} belongs to {kept.origin}, not to {signer.origin}; "
            "point this process to its own file."
        )
    head = read_head(connection, ledger)
    tiles = _tiles(connection, ledger)
    _compare(ledger, head.size, tiles.root, size=kept.size, root=kept.root)


def _compare(
    ledger: str, ours: int, root_at: Callable[[int], bytes], *, size: int, root: bytes
) -> None:
    sizes = {"ours": str(ours), "known": str(size)}
    if size > ours:
        raise ShorterLedger(
            f"Ledger {ledger} has {ours} entries and has signed {size}: it was restored from an "
            "older copy. Recover the missing entries before it serves again.",
            metadata=sizes,
        )
    if root_at(size) != root:
        raise ForkedLedger(
            f"Ledger {ledger} has another history than the head of size {size} it once signed. "
            "It must not be served; find the database that leads to that head.",
            metadata=sizes,
        )


def _tiles(connection: Connection, ledger: str) -> TileReader:
    return TileReader(lambda level, index: read_tile(connection, ledger, level, index))
