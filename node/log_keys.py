"""The log keys in a node's folder: the one that signs, the next one, and those that are retired.

    log.key          signs the log
    log.next.key     made by `comity node rotate-key`; signs once clearing's log says so
    log.<id>.key     a retired key; needed until the log has passed the size it signs up to

Which of them signs which size stands in the ledger, never in a file's name, so a process that
dies between two renames loses nothing: whatever the names, every key is found by what it is.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from comity import keys
from comity.errors import Malformed, NotFound
from comity.keys import PublicKey, Random, SigningKey
from comity.ledger.signer import LogSigner
from comity.log.history import KeyHistory

CURRENT: Final = "log.key"
NEXT: Final = "log.next.key"
PASSPHRASE: Final = "COMITY_LOG_PASSPHRASE"
"""Seals new log keys, and opens sealed ones, in the environment of whatever needs them."""


def passphrase_from(environment: Mapping[str, str] = os.environ) -> str | None:
    """The passphrase of the log's keys; None for keys without one."""
    return environment.get(PASSPHRASE) or None


class LogKeys:
    """The log's key files in one folder."""

    def __init__(self, folder: Path, passphrase: str | None = None) -> None:
        self._folder = folder
        self._passphrase = passphrase

    def signer(self, origin: str) -> LogSigner:
        """Signs by the folder's keys; at first by `log.key`, or by the next one if that is lost."""
        lost = not (self._folder / CURRENT).exists() and (self._folder / NEXT).exists()
        return LogSigner(origin, self._load(NEXT if lost else CURRENT), find=self.find)

    def find(self, public: PublicKey) -> SigningKey | None:
        """The private key of a public one, if its file is here."""
        # Twice, for a file that is renamed while the first look goes past it.
        for path in (*self._files(), *self._files()):
            with suppress(NotFound):
                if keys.look_at(path)[0] == public:
                    return self._load(path.name)
        return None

    def holds(self, public: PublicKey) -> bool:
        """Whether the file of a key is here, sealed or not."""
        return any(keys.look_at(path)[0] == public for path in self._files())

    def save(self, key: SigningKey, *, random: Random, name: str = CURRENT) -> None:
        """Write a new key, sealed if there is a passphrase. Raises Conflict over a file."""
        keys.save(self._folder / name, key, self._passphrase, random=random)

    def following(self, random: Random) -> SigningKey:
        """The next key; made when first asked for."""
        if not (self._folder / NEXT).exists():
            self.save(SigningKey.generate(random), random=random, name=NEXT)
        return self._load(NEXT)

    def settle(self, history: KeyHistory) -> None:
        """Once the next key is the log's: name it so, and keep the one before it as retired."""
        following, current = self._folder / NEXT, self._folder / CURRENT
        if not following.exists() or keys.look_at(following)[0] != history.keys[-1].public:
            return
        # Whoever else does the same at this moment leads to the same names.
        with suppress(FileExistsError, FileNotFoundError, NotFound):
            os.link(current, self._folder / f"log.{keys.look_at(current)[0].key_id}.key")
        with suppress(FileNotFoundError):
            os.replace(following, current)
        keys.sync_directory(self._folder)

    def _files(self) -> Iterator[Path]:
        yield from sorted(self._folder.glob("log*.key"))

    def _load(self, name: str) -> SigningKey:
        path = self._folder / name
        sealed = path.exists() and keys.look_at(path)[1]
        if sealed and self._passphrase is None:
            raise Malformed(f"{path} has a passphrase; give it in {PASSPHRASE}.")
        return keys.load(path, self._passphrase if sealed else None)
