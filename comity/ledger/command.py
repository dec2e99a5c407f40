"""What a service hands to the sequencer, and what it gets back.

A service's durable changes are *commands*, frozen values that say what is asked; its *book*
decides them over rows, without a clock, a socket or a thread.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Protocol
from zlib import crc32 as _crc32

from comity.errors import ComityError
from comity.ledger.rows import Rows
from comity.ledger.steps import Step
from comity.log.history import KeyHistory

Content = bytes | str | int | None | Sequence["Content"]

DIGEST_SIZE = 32
_PIECE_SIZE = 4
_SALTS_BYTES = 1_024
_RANDOM_BYTES = 4_096


class Command(Protocol):
    """One thing to be done, once."""

    step: ClassVar[Step]

    @property
    def caller(self) -> str:
        """The authenticated caller: an id belongs to its caller."""

    @property
    def id(self) -> str:
        """The caller's id, the idempotency key. Empty for work that may be repeated freely,
        which is then neither looked up nor recorded."""

    def content(self) -> Mapping[str, Content]:
        """The meaningful fields by name, in a fixed order: what must not differ under one id.

        Proofs, heads and deadlines are not content; leaf hashes of attached entries are.
        """


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command was answered. A repetition gets the same, under any later head."""

    body: bytes
    at_us: int
    first_index: int | None
    entry_count: int
    repeated: bool

    @property
    def entries(self) -> range:
        """The indices of the log entries this command appended."""
        return range(self.first_index or 0, (self.first_index or 0) + self.entry_count)


Outcome = Answer | ComityError


class Batch:
    """One batch being decided: its time, its rows, and the entries appended so far."""

    __slots__ = ("_appended", "_first", "_pool", "_random", "_used", "keys", "now_us", "rows")

    keys: KeyHistory | None
    """Set by a command after which the log is signed by other keys."""

    def __init__(
        self, *, rows: Rows, now_us: int, size: int, random: Callable[[int], bytes]
    ) -> None:
        self.rows = rows
        self.now_us = now_us
        self._first = size
        self._random = random
        self._pool, self._used = b"", 0
        self._appended: list[Appended] = []
        self.keys = None

    @property
    def size(self) -> int:
        """The log's size so far, which is the index the next entry gets."""
        return self._first + len(self._appended)

    @property
    def appended(self) -> Sequence[Appended]:
        """The entries of this batch so far."""
        return self._appended

    def append(
        self, body: bytes, *, kind: str, opening: bytes | None = None, at_us: int | None = None
    ) -> int:
        """Append one entry, exactly these bytes; returns its index.

        `opening` (salts, amounts) is stored beside the entry and is no part of the leaf. `at_us`
        is the entry's own time where it is another than the batch's: one that is recovered.
        """
        index = self.size
        self._appended.append(
            Appended(
                index=index,
                kind=kind,
                at_us=self.now_us if at_us is None else at_us,
                body=body,
                opening=opening,
            )
        )
        return index

    def random(self, count: int) -> bytes:
        """Random bytes, for salts and ids that the batch makes; never the same ones twice."""
        end = self._used + count
        if end > len(self._pool):
            # One call of the system for many salts.
            size = max(count, min(_RANDOM_BYTES, 2 * len(self._pool) + _SALTS_BYTES))
            self._pool, self._used, end = self._random(size), 0, count
        found = self._pool[self._used : end]
        self._used = end
        return found

    def mark(self) -> tuple[int, int, KeyHistory | None]:
        """A point to roll back to."""
        return self.rows.mark(), len(self._appended), self.keys

    def rollback(self, mark: tuple[int, int, KeyHistory | None]) -> None:
        """Undo every write and every entry since `mark`."""
        rows, appended, self.keys = mark
        self.rows.rollback(rows)
        del self._appended[appended:]


@dataclass(frozen=True, slots=True)
class Appended:
    """An entry of a batch that is not yet committed."""

    index: int
    kind: str
    at_us: int
    body: bytes
    opening: bytes | None


class Book(Protocol):
    """A service's rules: pure decisions over rows."""

    def prefetch(self, rows: Rows, commands: Sequence[Command]) -> None:
        """Load every row that these commands may touch, in a few SELECTs."""

    def execute(self, batch: Batch, command: Command) -> bytes:
        """Carry out one command; returns the answer to record and to give.

        A `Refused` is recorded under the command's id and repeated. Any other `ComityError`
        means nothing was decided, and is not recorded. Either way what this command wrote or
        appended is undone. Anything else is a bug: the batch is rolled back and run again in
        parts, and the culprit alone is quarantined.
        """


def fingerprint(content: Mapping[str, Content]) -> bytes:
    """A digest of the whole content, then four bytes for each field to name one that differs."""
    pieces = _pieces(content)
    marks = [_crc32(piece).to_bytes(_PIECE_SIZE, "big") for piece in pieces]
    return hashlib.sha256(b"".join(pieces)).digest() + b"".join(marks)


def differing_field(recorded: bytes, content: Mapping[str, Content]) -> str:
    """The first field of `content` that the recorded fingerprint did not hold, or nothing."""
    marks = recorded[DIGEST_SIZE:]
    known = {marks[at : at + _PIECE_SIZE] for at in range(0, len(marks), _PIECE_SIZE)}
    for name, piece in zip(content, _pieces(content), strict=True):
        if _crc32(piece).to_bytes(_PIECE_SIZE, "big") not in known:
            return name
    return ""


def _pieces(content: Mapping[str, Content]) -> list[bytes]:
    return [_encode_name(name) + _encode(value) for name, value in content.items()]


def _encode(value: Content) -> bytes:
    """An unambiguous encoding: a letter for the type, the length, the bytes."""
    if isinstance(value, str):
        kind, data = b"s", value.encode()
    elif isinstance(value, int):
        kind, data = b"i", b"%d" % value
    elif isinstance(value, bytes):
        kind, data = b"b", value
    elif value is None:
        kind, data = b"n", b""
    else:
        kind, data = b"l", b"".join([_encode(part) for part in value])
    return b"%b%d:%b" % (kind, len(data), data)


_encode_name = lru_cache(maxsize=4_096)(_encode)
