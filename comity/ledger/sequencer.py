"""The ledger's one writer: takes all commands that wait, and commits them as one batch.

    1. read the time once: the clock's, but never before the last batch's
    2. look up every (caller, id); what was answered before gets the same answer
    3. prefetch every row the batch touches
    4. execute each command in order; a refusal is a result, not an exception
    5. append the entries' leaves, sign one checkpoint for all of them
    6. write rows, entries, tiles and recorded answers in bulk
    7. check the fence of the lease
    8. commit
    9. publish the head, then answer everyone

A checkpoint leaves the process only after step 8. Nothing else writes to a ledger's tables.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, Engine, delete, exc
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from comity.clock import Clock
from comity.errors import (
    ComityError,
    LeaseHeld,
    LedgerFault,
    Refused,
    RetiredKey,
    Unavailable,
)
from comity.ledger import lease as leases
from comity.ledger import schema
from comity.ledger.bulk import Bulk, Row, bulk, shape
from comity.ledger.command import (
    Answer,
    Batch,
    Book,
    Command,
    Content,
    Outcome,
    fingerprint,
)
from comity.ledger.engine import writer
from comity.ledger.guard import HeadFile, Signer
from comity.ledger.lease import Lease
from comity.ledger.records import Record, from_row, repeat, to_row
from comity.ledger.rows import Rows
from comity.ledger.steps import Fault, Step, no_fault
from comity.ledger.store import Head, LedgerStore, StoredEntry, read_head, read_keys, read_tile
from comity.log.history import KeyHistory
from comity.log.merkle import leaf_hash
from comity.log.tiles import TileKey, TileTree

__all__ = ["Answer", "Batch", "Book", "Command", "Content", "Outcome", "Sequencer", "Signer"]

BATCH_LIMIT = 1_024

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Work:
    """One batch on its way to its commit."""

    batch: Batch
    head: Head
    outcomes: list[Outcome] = field(default_factory=list)
    steps: dict[Step, None] = field(default_factory=dict)
    records: list[Row] = field(default_factory=list)
    tiles: dict[TileKey, bytes] = field(default_factory=dict)
    grown: TileTree | None = None

    @property
    def changed(self) -> bool:
        """Whether there is anything to commit."""
        batch = self.batch
        return bool(self.records or batch.appended or batch.rows.changed or batch.keys)


class _Unforeseen(Exception):
    """A bug met while deciding or writing a batch; the cause is the error itself."""


class Sequencer:
    """Decides and commits batches for one ledger, synchronously, on whatever thread calls it.

    `comity.ledger.queue.CommandQueue` stands in front of it in a service.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        lease: Lease,
        book: Book,
        signer: Signer,
        clock: Clock,
        random: Callable[[int], bytes],
        store: LedgerStore | None = None,
        head_file: HeadFile | None = None,
        fault: Fault = no_fault,
    ) -> None:
        """`lease` comes from `comity.ledger.guard.open_ledger`, which verified the ledger."""
        self.ledger = lease.ledger
        self.store = store or LedgerStore(engine, lease.ledger)
        self._engine = writer(engine)
        self._lease = lease
        self._book = book
        self._signer = signer
        self._clock = clock
        self._random = random
        self._head_file = head_file
        self._fault = fault
        self._tree: TileTree | None = None
        self._head: Head | None = None
        self._stopped: LedgerFault | None = None
        driver = engine.dialect.loaded_dbapi
        self._failures = (driver.Error, DBAPIError, PoolTimeout)
        """The database cannot do it now."""
        self._bugs = tuple(
            error
            for of in (driver, exc)
            for error in (of.IntegrityError, of.DataError, of.ProgrammingError)
        )
        """The database will never do it: a command broke the schema."""

    def run_batch(self, commands: Sequence[Command]) -> list[Outcome]:
        """Decide and commit these commands in one transaction; outcomes in the same order.

        Every error a caller can act on is an outcome. What the fault hook raises goes through.
        """
        if self._stopped is not None:
            return [self._stopped] * len(commands)
        try:
            return self._commit(commands)
        except _Unforeseen as error:
            return self._isolate(commands, error)
        except LedgerFault as error:
            self._stopped = error
            return [error] * len(commands)
        except self._failures:
            _log.exception("ledger %s: the database refused a batch", self.ledger)
            self._tree = None
            unavailable = Unavailable(
                "The ledger's database cannot write now; nothing was decided. Repeat the request."
            )
            return [unavailable] * len(commands)

    def renew(self) -> None:
        """Extend the lease and bring the head file up to date; for idle times.

        Raises LeaseHeld, and stops deciding, if another process has taken over; Unavailable if
        the database cannot write now.
        """
        if self._stopped is not None:
            raise self._stopped
        try:
            with self._engine.begin() as connection:
                leases.renew(connection, self._lease, now_us=self._clock())
        except LeaseHeld as error:
            self._stopped = error
            raise
        except self._failures as error:
            _log.exception("ledger %s: the lease was not renewed", self.ledger)
            raise Unavailable("The ledger's database cannot write now.") from error
        self._keep_head(now=True)

    def close(self) -> None:
        """Bring the head file up to date and give the lease back; decide nothing any more."""
        if self._stopped is not None:
            return
        self._keep_head(now=True)
        self._stopped = LedgerFault(f"Ledger {self.ledger} was closed by this process.")
        with self._engine.begin() as connection:
            leases.release(connection, self._lease)

    # --- one batch --------------------------------------------------------------------

    def _commit(self, commands: Sequence[Command]) -> list[Outcome]:
        with self._engine.begin() as connection:
            try:
                work = self._decide(connection, commands)
                if not work.changed:
                    return work.outcomes
                self._write(connection, work)
            except self._bugs as error:
                raise _Unforeseen from error
            except (LedgerFault, *self._failures):
                raise
            except Exception as error:
                raise _Unforeseen from error
            for step in work.steps:
                self._fault(step, "before")
        for step in work.steps:
            self._fault(step, "after")
        self._publish(work)
        return work.outcomes

    def _decide(self, connection: Connection, commands: Sequence[Command]) -> _Work:
        head = self._load(connection)
        now_us = max(self._clock(), head.at_us)
        rows = Rows(connection, self.ledger, now_us=now_us)
        batch = Batch(rows=rows, now_us=now_us, size=head.size, random=self._random)
        work = _Work(batch=batch, head=head)
        known = self._recorded(connection, commands)
        new = [c for c in commands if not c.id or (c.caller, c.id) not in known]
        if new:
            self._book.prefetch(rows, new)
        for command in commands:
            record = known.get((command.caller, command.id)) if command.id else None
            if record is not None:
                work.outcomes.append(repeat(record, command))
                continue
            outcome = self._execute(work, command)
            work.outcomes.append(outcome)
            if isinstance(outcome, Answer | Refused) and command.id:
                digest = fingerprint(command.content())
                known[command.caller, command.id] = Record(command.step, digest, outcome)
                work.records.append(to_row(command, digest, outcome, now_us))
                work.steps[command.step] = None
            elif isinstance(outcome, Answer):
                work.steps[command.step] = None
        return work

    def _execute(self, work: _Work, command: Command) -> Outcome:
        batch = work.batch
        mark = batch.mark()
        first = batch.size
        try:
            body = self._book.execute(batch, command)
        except ComityError as error:
            batch.rollback(mark)
            error.__traceback__ = None
            return error
        count = batch.size - first
        return Answer(
            body=body,
            at_us=batch.now_us,
            first_index=first if count else None,
            entry_count=count,
            repeated=False,
        )

    def _write(self, connection: Connection, work: _Work) -> None:
        now_us = work.batch.now_us
        if work.batch.keys is not None:
            self._exchange_keys(connection, work.batch.keys)
        into = bulk(connection, self.ledger)
        with into.together():
            work.batch.rows.flush()
            work.head = self._append(into, work)
            if work.records:
                into.insert(shape(schema.commands), work.records)
        found = into.update_one(
            shape(schema.ledgers),
            {
                "size": work.head.size,
                "root": work.head.root,
                "note": work.head.note,
                "vkey": str(self._signer.history),
                "last_at_us": now_us,
                "lease_until_us": now_us + leases.LEASE_US,
            },
            where={"lease_fence": self._lease.fence},
        )
        if found != 1:
            raise leases.taken_over(self._lease)

    def _append(self, into: Bulk, work: _Work) -> Head:
        now_us, appended = work.batch.now_us, work.batch.appended
        before = work.head
        if not appended:
            note = self._signed_again(into, work)
            return Head(size=before.size, root=before.root, note=note, at_us=now_us)
        tree = self._tree
        assert tree is not None
        assert tree.size == before.size
        self._tree = None  # until the commit, the tree is ahead of the database
        work.tiles = tree.append([leaf_hash(entry.body) for entry in appended])
        root = tree.root()
        head = Head(
            size=tree.size, root=root, note=self._signer.sign(tree.size, root), at_us=now_us
        )
        into.insert(
            shape(schema.entries),
            [
                {
                    "index": entry.index,
                    "kind": entry.kind,
                    "at_us": entry.at_us,
                    "body": entry.body,
                    "opening": entry.opening,
                }
                for entry in appended
            ],
        )
        self._write_tiles(into, work.tiles, before.size)
        into.insert(
            shape(schema.checkpoints), [{"size": head.size, "note": head.note, "at_us": now_us}]
        )
        work.grown = tree
        return head

    def _exchange_keys(self, connection: Connection, keys: KeyHistory) -> None:
        """Sign by these keys. Heads above the exchange, under the old key, count no more."""
        above = keys.changed_above(self._signer.history)
        self._signer.learn(keys)
        table = schema.checkpoints
        connection.execute(delete(table).where(table.c.ledger == self.ledger, table.c.size > above))

    def _signed_again(self, into: Bulk, work: _Work) -> bytes:
        """The head's note in a batch without entries: a new one if its key was exchanged."""
        head = work.head
        if work.batch.keys is None or head.size == 0 or self._counts(head):
            return head.note
        note = self._signer.sign(head.size, head.root)
        row = {"size": head.size, "note": note, "at_us": work.batch.now_us}
        into.insert(shape(schema.checkpoints), [row])
        return note

    def _counts(self, head: Head) -> bool:
        try:
            self._signer.verify(head.note)
        except RetiredKey:
            return False
        return True

    def _write_tiles(self, into: Bulk, tiles: dict[TileKey, bytes], before: int) -> None:
        of = shape(schema.tiles)
        old: list[Row] = []
        new: list[Row] = []
        for (level, index), hashes in tiles.items():
            row = {"level": level, "index": index, "hashes": hashes}
            (old if before >> (8 * level) > index * 256 else new).append(row)
        if old:
            into.update(of, ("hashes",), old)
        if new:
            into.insert(of, new)

    def _publish(self, work: _Work) -> None:
        self._head = work.head
        if work.grown is not None:
            self._tree = work.grown
        entries = {
            one.index: StoredEntry(one.index, one.kind, one.at_us, one.body, one.opening)
            for one in work.batch.appended
        }
        self.store.publish(work.head, tiles=work.tiles, entries=entries)
        self._keep_head()

    # --- what is known ----------------------------------------------------------------

    def _load(self, connection: Connection) -> Head:
        """The head to build on; read from the database at first and after a failure."""
        if self._tree is None or self._head is None:
            self._head = read_head(connection, self.ledger)
            self._signer.learn(read_keys(connection, self.ledger))
            self._tree = TileTree(
                self._head.size,
                lambda level, index: read_tile(connection, self.ledger, level, index),
            )
        return self._head

    def _recorded(
        self, connection: Connection, commands: Sequence[Command]
    ) -> dict[tuple[str, str], Record]:
        keys = list({(c.caller, c.id): None for c in commands if c.id})
        if not keys:
            return {}
        rows = bulk(connection, self.ledger).select(shape(schema.commands), ("caller", "id"), keys)
        return {(row["caller"], row["id"]): from_row(row) for row in rows}

    def _keep_head(self, *, now: bool = False) -> None:
        if self._head_file is not None and self._head is not None:
            self._head_file.keep(self._head, now=now)

    # --- bugs -------------------------------------------------------------------------

    def _isolate(self, commands: Sequence[Command], error: _Unforeseen) -> list[Outcome]:
        """Run a batch that met a bug again, in halves, until the culprit stands alone."""
        if len(commands) > 1:
            half = len(commands) // 2
            return self.run_batch(commands[:half]) + self.run_batch(commands[half:])
        (command,) = commands
        _log.error(
            "ledger %s: %s failed unforeseen", self.ledger, command.step, exc_info=error.__cause__
        )
        try:
            self._quarantine(command, error)
        except LedgerFault as fault:
            self._stopped = fault
            return [fault]
        except self._failures:
            _log.exception("ledger %s: a quarantined command was not recorded", self.ledger)
        return [ComityError("Something unforeseen happened; nothing was decided.")]

    def _quarantine(self, command: Command, error: _Unforeseen) -> None:
        try:
            digest = fingerprint(command.content())
        except Exception:  # noqa: BLE001 - the content may be what the bug is about
            digest = b""
        at = (command.caller, command.id, digest)
        now_us = self._clock()
        with self._engine.begin() as connection:
            leases.renew(connection, self._lease, now_us=now_us)
            rows = Rows(connection, self.ledger)
            rows.load(schema.quarantine, [at])
            if rows.get(schema.quarantine, at) is None:
                row: Row = dict(zip(("caller", "id", "digest"), at, strict=True))
                reason = type(error.__cause__).__name__
                row |= {"step": command.step, "reason": reason, "at_us": now_us}
                rows.put(schema.quarantine, row)
                rows.flush()
