"""An organisation's database against its own signed log: every entry, tile, head and balance.

Nothing in a database vouches for itself: entries count because they lead to the signed root,
tiles because they are the hashes of the entries, balances because replaying the log gives them.
So whatever was altered is found, and the table, or the very entry, is named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event, func, inspect, select, text
from sqlalchemy.exc import DBAPIError

from comity.errors import BadStatement, ComityError, LedgerFault, Malformed, MissingLedger, NotFound
from comity.ledger import schema
from comity.ledger.engine import open_engine
from comity.ledger.guard import HeadFile
from comity.ledger.replay import Check, Findings
from comity.log.checkpoint import Checkpoint, open_checkpoint, read_checkpoint
from comity.log.history import KeyHistory
from comity.log.tiles import TILE_WIDTH, TileKey, TileTree, tile_width
from comity.verify.log import PAGE, LogPass
from comity.verify.report import Report, merged
from comity.verify.tables import check_tables

Progress = Callable[[int, int], None]
"""Told how many entries of how many are done."""


def database(
    where: str | Path,
    *,
    ledger: str | None = None,
    vkey: str | None = None,
    head_file: Path | None = None,
    final: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Verify one ledger in a SQLite file or at a PostgreSQL URL, reading one snapshot.

    `ledger` names it where the database holds several. `vkey` are the keys the log is known by
    elsewhere (`comity.log.history`); without them the database's own word is taken. `head_file`
    is the guard file beside the database. `final`: nothing is under way, so every hold must have
    ended. Raises NotFound for no file, MissingLedger for no ledger.
    """
    engine = open_read_only(where)
    try:
        with engine.connect() as connection:
            return snapshot(
                connection,
                ledger=ledger,
                vkey=vkey,
                head_file=head_file,
                final=final,
                progress=progress,
            )
    finally:
        engine.dispose()


def snapshot(
    connection: Connection,
    *,
    ledger: str | None = None,
    vkey: str | None = None,
    head_file: Path | None = None,
    final: bool = False,
    progress: Progress | None = None,
) -> Report:
    """As `database`, over a connection that reads one snapshot."""
    found = _DatabasePass(connection, _row_of(connection, ledger), vkey)
    return found.report(head_file=head_file, final=final, progress=progress)


def open_read_only(where: str | Path) -> Engine:
    """An engine for reading one snapshot; a SQLite file is opened so that nothing can write."""
    place = str(where)
    if place.startswith("postgresql"):
        return open_engine(place)
    path = Path(place.removeprefix("sqlite:///"))
    if not path.is_file():
        raise NotFound(f"There is no database file {path}; name the one the service writes.")
    url = f"sqlite:///file:{quote(str(path.absolute()))}?mode=ro&uri=true"
    engine = create_engine(url, connect_args={"isolation_level": None})
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    return engine


def _row_of(connection: Connection, ledger: str | None) -> Any:
    table = schema.ledgers
    try:
        if not inspect(connection).has_table(table.name):
            raise MissingLedger("The database holds no ledger; name the one the service writes.")
        rows = connection.execute(select(table).order_by(table.c.ledger)).all()
    except DBAPIError as error:
        raise LedgerFault(f"The table ledgers cannot be read: {error.orig}") from error
    if ledger is not None:
        rows = [row for row in rows if row.ledger == ledger]
    if len(rows) != 1:
        names = ", ".join(row.ledger for row in rows) or "none"
        raise MissingLedger(f"Name the one ledger to verify; the database holds: {names}.")
    return rows[0]


class _DatabasePass:
    """The checks of one ledger, in the order in which later ones rest on earlier ones."""

    def __init__(self, connection: Connection, row: Any, vkey: str | None) -> None:
        self._connection = connection
        self._row = row
        self._vkey = vkey
        self._found = Findings()
        self._pass = LogPass(row.origin, opened=True)
        self._upper: dict[TileKey, bytes] = {}
        self._unlike: list[int] = []
        self._bad_tiles: list[TileKey] = []
        self._off: list[int] = []

    def report(self, *, head_file: Path | None, final: bool, progress: Progress | None) -> Report:
        # 1. The file itself, where the database can tell.
        self._check_storage()
        # 2. The head: whose it is, and that it is signed.
        head = self._check_head()
        # 3. Every entry, its hash beside the stored one, each signed head on the way.
        self._read_entries(head, progress)
        # 4. Whether the entries lead to the signed root, and if not, who is to blame.
        root = self._check_root(head)
        # 5. What stands above and beside the entries.
        with self._reading("tiles"):
            self._check_upper_tiles()
        self._check_commands()
        self._check_known_heads()
        if head_file is not None:
            self._check_head_file(head_file)
        # 6. The replay, and the service's own tables against it.
        checks = self._pass.checks(final=final)
        tables = check_tables(
            self._connection, self._row.ledger, self._pass.replay, self._reading, self._found
        )
        own = {
            "entries": f"{self._pass.size} rows, without a gap.",
            "database": "The database reads without damage.",
            "ledgers": "The head is signed by the ledger's own key.",
            "tiles": "Every tile holds the hashes of the entries.",
            "checkpoints": "Every checkpoint is signed and of this history.",
            "commands": "No answered command is without its entries.",
            "heads": "Heads of other logs are what their notes say.",
            **tables,
        }
        if head_file is not None:
            own["head file"] = "The head file's head is of this history."
        return Report(
            subject=self._row.origin,
            checks=merged(
                (
                    root,
                    *checks,
                    *(self._found.check(name, good=good) for name, good in own.items()),
                )
            ),
            figures={"entries": self._pass.size},
            replay=self._pass.replay,
            note=bytes(self._row.note),
        )

    @contextmanager
    def _reading(self, table: str) -> Iterator[None]:
        """Blame `table` if the database cannot read it."""
        try:
            yield
        except (DBAPIError, UnicodeDecodeError, BadStatement) as error:
            cause = getattr(error, "orig", None) or error
            self._found.add(table, f"The table {table} cannot be read: {cause}.")

    # --- steps --------------------------------------------------------------------------

    def _check_storage(self) -> None:
        if self._connection.dialect.name != "sqlite":
            return
        with self._reading("database"):
            lines = self._connection.execute(text("PRAGMA integrity_check(5)")).scalars().all()
            if lines != ["ok"]:
                self._found.add("database", "SQLite says: " + "; ".join(lines) + ".")

    def _check_head(self) -> Checkpoint:
        row = self._row
        stated = Checkpoint(row.origin, row.size, row.root)
        try:
            stored, known = KeyHistory.parse(row.vkey), self._known
            if known.completed_by(stored) != stored or stored.name != row.origin:
                self._found.add("ledgers", "The ledger's key is not the one the log is known by.")
            head = open_checkpoint(row.note, origin=row.origin, verifier=known)
        except Malformed as error:
            self._found.add("ledgers", f"The head of {row.origin} is not good: {error.message}")
            return stated
        if head != stated:
            self._found.add(
                "ledgers", f"The row says size {row.size}, its signed note says {head.size}."
            )
        return head

    @property
    def _known(self) -> KeyHistory:
        return KeyHistory.parse(self._vkey or self._row.vkey)

    def _read_entries(self, head: Checkpoint, progress: Progress | None) -> None:
        checkpoints = self._checkpoints(head)
        due = next(checkpoints, None)
        with self._reading("entries"):
            while page := self._page(self._pass.size):
                before = self._pass.size
                leaves, changed = self._pass.add(
                    [body for _, _, _, body, _ in page], [opening for *_, opening in page]
                )
                self._check_columns(page)
                with self._reading("tiles"):
                    self._check_tiles(before, leaves, changed)
                while due is not None and due.size <= self._pass.size:
                    if self._pass.tree.root(due.size) != due.root:
                        self._off.append(due.size)
                    due = next(checkpoints, None)
                if progress is not None:
                    progress(self._pass.size, head.size)
                if len(page) < PAGE:
                    break
        while due is not None:
            self._off.append(due.size)
            due = next(checkpoints, None)

    def _page(self, start: int) -> list[Any]:
        """The next entries without a gap: (index, kind, at_us, body, opening)."""
        table = schema.entries
        columns = [table.c["index"], table.c.kind, table.c.at_us, table.c.body, table.c.opening]
        query = (
            select(*columns)
            .where(table.c.ledger == self._row.ledger, table.c["index"] >= start)
            .order_by(table.c["index"])
            .limit(PAGE)
        )
        rows = self._connection.execute(query).all()
        whole = [row for place, row in enumerate(rows) if row[0] == start + place]
        if len(whole) < len(rows):
            missing = start + len(whole)
            self._found.add("entries", f"Entry {missing} of {self._row.origin} is missing.")
        return whole

    def _check_columns(self, page: list[Any]) -> None:
        """The columns beside the bytes: what the entry is and when it was written."""
        for (index, kind, at_us, *_), said in zip(page, self._pass.page, strict=True):
            if said and said != (kind, at_us):
                self._found.add(
                    "entries", f"Entry {index} of {self._row.origin} has columns of another."
                )

    def _check_tiles(self, start: int, leaves: list[bytes], changed: dict[TileKey, bytes]) -> None:
        """The stored leaf hashes beside those of the entries."""
        first, last = start // TILE_WIDTH, (start + len(leaves) - 1) // TILE_WIDTH
        table = schema.tiles
        query = select(table.c["index"], table.c.hashes).where(
            table.c.ledger == self._row.ledger,
            table.c.level == 0,
            table.c["index"].between(first, last),
        )
        stored = {index: bytes(hashes) for index, hashes in self._connection.execute(query)}
        for (level, index), tile in changed.items():
            if level:
                self._upper[level, index] = tile
            elif stored.get(index, b"") != tile:
                self._bad_tiles.append((0, index))
                self._unlike += _unlike(index, tile, stored.get(index, b""))

    def _checkpoints(self, head: Checkpoint) -> Iterator[Checkpoint]:
        """Every stored checkpoint in order of size, its signature checked."""
        table = schema.checkpoints
        verifier, size, last_us, newest = self._known, -1, 0, b""
        with suppress(Malformed):
            verifier = verifier.completed_by(KeyHistory.parse(self._row.vkey))
        while True:
            query = (
                select(table.c.size, table.c.note, table.c.at_us)
                .where(table.c.ledger == self._row.ledger, table.c.size > size)
                .order_by(table.c.size)
                .limit(PAGE)
            )
            rows: list[Any] = []
            with self._reading("checkpoints"):
                rows = list(self._connection.execute(query).all())
            for size, note, at_us in rows:
                newest = bytes(note)
                try:
                    found = open_checkpoint(newest, origin=self._row.origin, verifier=verifier)
                except BadStatement as error:
                    self._blame_checkpoint(size, error.message)
                    continue
                if found.size != size or at_us < last_us:
                    self._blame_checkpoint(size, "It stands under another size or time.")
                last_us = at_us
                yield found
            if not rows:
                break
        if head.size and newest != self._row.note:
            self._blame_checkpoint(head.size, "It is not the ledger's newest.")

    def _blame_checkpoint(self, size: int, text: str) -> None:
        self._found.add("checkpoints", f"In checkpoints, the one of size {size}: {text}")

    def _check_root(self, head: Checkpoint) -> Check:
        """Compare with the signed head; where that fails, find out which side was altered."""
        size, origin = self._pass.size, self._row.origin
        if size != head.size:
            return Check(
                "root",
                passed=False,
                detail=f"{origin} has {size} entries and its signed head says {head.size}: "
                + ("the last ones were cut off." if size < head.size else "some were added."),
            )
        if self._pass.tree.root() == head.root:
            for key in self._bad_tiles:
                self._found.add("tiles", f"In tiles, {key} does not hold its entries' hashes.")
            for at in self._off:
                self._blame_checkpoint(at, "It is signed, and of another history.")
            return Check("root", passed=True, detail=f"{size} entries lead to the signed root.")
        if self._unlike and self._stored_root(size) == head.root:
            names = ", ".join(str(index) for index in self._unlike[:10])
            detail = f"Entry {names} of {origin} is not what was signed."
            return Check("root", passed=False, detail=detail)
        for key in self._bad_tiles:
            self._found.add("tiles", f"In tiles, {key} does not hold its entries' hashes.")
        names = ", ".join(str(index) for index in self._unlike[:10]) or "none by its tile"
        return Check(
            "root",
            passed=False,
            detail=f"The entries of {origin} do not lead to the signed root of size {size}; "
            f"entries that differ: {names}.",
        )

    def _stored_root(self, size: int) -> bytes:
        """The root that the stored leaf hashes lead to."""
        tree = TileTree(0, lambda level, index: b"")
        table = schema.tiles
        query = select(table.c.hashes).where(table.c.ledger == self._row.ledger, table.c.level == 0)
        for hashes in self._connection.execute(query.order_by(table.c["index"])).scalars():
            tree.append(hashes[at : at + 32] for at in range(0, len(hashes), 32))
        return tree.root() if tree.size == size else b""

    def _check_upper_tiles(self) -> None:
        table = schema.tiles
        size = self._pass.size
        query = select(table.c.level, table.c["index"], table.c.hashes).where(
            table.c.ledger == self._row.ledger, table.c.level > 0
        )
        wanted = dict(self._upper)
        for level, index, hashes in self._connection.execute(query):
            if wanted.pop((level, index), b"") != bytes(hashes) and not self._unlike:
                self._found.add("tiles", f"In tiles, {(level, index)} is not what follows below.")
        for key in wanted:
            self._found.add("tiles", f"In tiles, {key} is missing.")
        lowest = self._connection.execute(
            select(func.count()).where(table.c.ledger == self._row.ledger, table.c.level == 0)
        ).scalar_one()
        expected = -(-size // TILE_WIDTH)
        if lowest != expected and tile_width(0, 0, size):
            self._found.add("tiles", f"There are {lowest} lowest tiles, not {expected}.")

    def _check_commands(self) -> None:
        """Entries belong to one command each, and none that was answered is gone."""
        table = schema.commands
        query = (
            select(table.c.first_index, table.c.entry_count, table.c.caller, table.c.id)
            .where(table.c.ledger == self._row.ledger, table.c.entry_count > 0)
            .order_by(table.c.first_index)
        )
        end = 0
        with self._reading("commands"):
            for first, count, caller, name in self._connection.execute(query):
                if first is None or first < end:
                    self._found.add("commands", f"{caller} {name} shares entries with another.")
                end = max(end, (first or 0) + count)
            if end > self._pass.size:
                self._found.add(
                    "commands",
                    f"A command was answered with entry {end - 1}, and there are "
                    f"{self._pass.size}: the last entries were cut off.",
                )

    def _check_known_heads(self) -> None:
        for table in (schema.heads, schema.loose_heads):
            query = select(table.c.origin, table.c.size, table.c.root, table.c.note).where(
                table.c.ledger == self._row.ledger
            )
            with self._reading("heads"):
                for origin, size, root, note in self._connection.execute(query):
                    stated = Checkpoint(origin, size, bytes(root))
                    if read_checkpoint(bytes(note)) != stated:
                        self._found.add("heads", f"In {table.name}, {origin} is not its note's.")

    def _check_head_file(self, path: Path) -> None:
        try:
            kept = HeadFile(path).read()
        except ComityError as error:
            self._found.add("head file", error.message)
            return
        if kept is None or (kept.origin == self._row.origin and kept.size == 0):
            return
        if kept.origin != self._row.origin:
            self._found.add("head file", f"It belongs to {kept.origin}.")
        elif kept.size > self._pass.size:
            self._found.add(
                "head file",
                f"It holds a head of {kept.size} entries and there are {self._pass.size}: "
                "the last entries were cut off, or the database is an older copy.",
            )
        elif self._root_at(kept.size) != kept.root:
            self._found.add("head file", f"Its head of size {kept.size} is of another history.")

    def _root_at(self, size: int) -> bytes:
        """The root at an earlier size, from the tiles as they are stored."""
        table = schema.tiles

        def read(level: int, index: int) -> bytes:
            query = select(table.c.hashes).where(
                table.c.ledger == self._row.ledger,
                table.c.level == level,
                table.c["index"] == index,
            )
            return bytes(self._connection.execute(query).scalar_one_or_none() or b"")

        try:
            return TileTree(self._pass.size, read).root(size)
        except BadStatement:
            return b""


def _unlike(index: int, tile: bytes, stored: bytes) -> list[int]:
    """The entries of a tile whose hashes differ from the stored ones."""
    return [
        index * TILE_WIDTH + at // 32
        for at in range(0, len(tile), 32)
        if tile[at : at + 32] != stored[at : at + 32]
    ]
