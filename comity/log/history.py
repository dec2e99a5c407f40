"""Which key signs a log at which size: the keys it had, each up to a size, and the one it has.

A log's key is exchanged at a size (ROTATE in clearing's log): heads up to it count under the old
key, heads above it under the new one alone, and there is exactly one key for each size. A log
that was revoked (REVOKE) has no key above its last size. As text, the whole history is one line
of words, of which a plain verifier key is the simplest:

    SIZE VKEY SIZE VKEY VKEY      two keys that are retired, and the one that signs now
    SIZE VKEY                     a log that ended at SIZE
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest

from comity.errors import Malformed, RetiredKey
from comity.log.note import VerifierKey

MAX_KEYS = 64
"""Keys that one log may have had; each head is looked at with all of them."""

_ALL = 2**63 - 1
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class Retired:
    """A key that signs no head above `last_size`."""

    last_size: int
    verifier: VerifierKey


@dataclass(frozen=True, slots=True)
class KeyHistory:
    """The keys of one log. `current` is None for a log that ended."""

    retired: tuple[Retired, ...]
    current: VerifierKey | None

    @staticmethod
    def of(verifier: VerifierKey) -> KeyHistory:
        """The history of a log that always had this key."""
        return KeyHistory((), verifier)

    @staticmethod
    def parse(text: str) -> KeyHistory:
        """The history which a text names; Malformed for anything else."""
        words = text.split()
        sizes, vkeys = words[0:-1:2], words[1::2]
        last = words[-1] if len(words) % 2 else None
        if not words or not all(map(_SIZE.fullmatch, sizes)) or len(vkeys) != len(sizes):
            raise Malformed("The keys of a log are written SIZE VKEY ... VKEY, or as one VKEY.")
        first = VerifierKey.parse(vkeys[0] if vkeys else last or "")
        history = KeyHistory.of(first)
        following = [*map(VerifierKey.parse, vkeys[1:]), last and VerifierKey.parse(last)]
        for size, verifier in zip(map(int, sizes), following, strict=False):
            history = history.rotated(verifier, size) if verifier else history.ended(size)
        return history

    @property
    def keys(self) -> tuple[VerifierKey, ...]:
        """Every key of the log, the oldest first."""
        last = () if self.current is None else (self.current,)
        return (*(one.verifier for one in self.retired), *last)

    @property
    def name(self) -> str:
        """The log's origin."""
        return self.keys[0].name

    @property
    def last_size(self) -> int:
        """The size up to which the newest retired key signs; 0 without one."""
        return self.retired[-1].last_size if self.retired else 0

    def at(self, size: int) -> VerifierKey:
        """The key that signs the head of `size`. Raises RetiredKey above a log's end."""
        for one in self.retired:
            if size <= one.last_size:
                return one.verifier
        if self.current is None:
            raise RetiredKey(
                f"{self.name} was revoked: its log counts up to {self.last_size} entries, and no "
                f"key signs {size}.",
                metadata={"last_size": str(self.last_size)},
            )
        return self.current

    def require(self, size: int, key_ids: Iterable[int]) -> None:
        """Raises RetiredKey unless one of these keys, all of this log, is the one for `size`."""
        if self.at(size).key_id not in key_ids:
            raise RetiredKey(
                f"The head of {self.name} at {size} is signed by a key of this log that does not "
                "count for this size: the key was exchanged. Ask for it again.",
                metadata={"last_size": str(self.last_size)},
            )

    def changed_above(self, before: KeyHistory) -> int:
        """The largest size up to which both have the same key for every size."""
        for pair in zip_longest(self.retired, before.retired):
            if pair[0] != pair[1]:
                return min(one.last_size for one in pair if one is not None)
        return _ALL

    def extends(self, known: KeyHistory) -> bool:
        """Whether this is `known` with nothing changed but that its key may have been exchanged."""
        count = len(known.retired)
        if self == known or self.retired[:count] != known.retired:
            return self == known
        return len(self.retired) > count and self.retired[count].verifier == known.current

    def completed_by(self, told: KeyHistory) -> KeyHistory:
        """The fuller history which somebody else tells, if the log's newest key is the same one:
        a head under that key covers all that was signed before it."""
        return told if not self.retired and self.current == told.current else self

    def rotated(self, verifier: VerifierKey, last_size: int) -> KeyHistory:
        """The history once `verifier` signs all heads above `last_size`.

        Raises Malformed for a key that the log had before, one of another log, a size below an
        earlier exchange, or a log that ended.
        """
        retired = self._retire(last_size)
        if verifier.name != self.name:
            raise Malformed(f"The new key is of {verifier.name}, not of {self.name}.", field="vkey")
        if any(verifier.key_id == known.key_id for known in self.keys):
            raise Malformed(
                "The log has or had this key; a retired key does not come back. Make a new one.",
                field="vkey",
            )
        if len(self.keys) >= MAX_KEYS:
            raise Malformed(f"A log has at most {MAX_KEYS} keys, one after the other.")
        return KeyHistory(retired, verifier)

    def ended(self, last_size: int) -> KeyHistory:
        """The history of a log of which nothing counts above `last_size`. Raises Malformed."""
        return KeyHistory(self._retire(last_size), None)

    def _retire(self, last_size: int) -> tuple[Retired, ...]:
        if self.current is None:
            raise Malformed(f"{self.name} was revoked; a revoked log does not come back.")
        if last_size < self.last_size:
            raise Malformed(
                f"The key of {self.name} was exchanged at {self.last_size} entries already.",
                field="last_size",
            )
        return (*self.retired, Retired(last_size, self.current))

    def __str__(self) -> str:
        words = [f"{one.last_size} {one.verifier}" for one in self.retired]
        return " ".join(words if self.current is None else [*words, str(self.current)])


def rotation_message(old: str, new: str) -> bytes:
    """What both keys of an exchange sign: old and new verifier key, which name the log."""
    return f"comity-rotation/v1\n{old}\n{new}\n".encode()
