"""The log's own key as the ledger uses it: it signs heads of one origin and nothing else.

A log's key may be exchanged at a size (`comity.log.history`); the signer then takes the key that
signs heads of each size from where the process keeps its keys.
"""

from __future__ import annotations

from collections.abc import Callable

from comity.errors import ForeignLedger, LedgerFault
from comity.keys import PublicKey, SigningKey
from comity.log.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from comity.log.history import KeyHistory
from comity.log.note import SignerKey, VerifierKey

FindKey = Callable[[PublicKey], SigningKey | None]
"""The private key of a public one, from wherever the process keeps its keys."""


class LogSigner:
    """Signs and verifies checkpoints of one log."""

    __slots__ = ("_find", "_keys", "history", "origin")

    origin: str
    """The log's name, `<network>/<participant>`."""

    history: KeyHistory
    """The log's keys, as far as the ledger has them: of `key` alone until told more."""

    def __init__(self, origin: str, key: SigningKey, *, find: FindKey = lambda _: None) -> None:
        """`find` is asked for a key that signs other sizes than `key` does."""
        self.origin = origin
        self.history = KeyHistory.of(VerifierKey.of(origin, key.public))
        self._keys = {key.public: key}
        self._find = find

    @property
    def vkey(self) -> str:
        """The newest public key as a C2SP verifier key."""
        return str(self.history.keys[-1])

    def learn(self, history: KeyHistory) -> None:
        """Sign by these keys from now on.

        Raises ForeignLedger if they are of another log, or the newest of them is not here.
        """
        newest = history.keys[-1]
        if newest.name != self.origin or self._key(newest.public) is None:
            raise ForeignLedger(
                f"The key of the log {newest.name} is {newest.key_id:08x} in the ledger, and this "
                f"process signs for {self.origin} with {self.history.keys[-1].key_id:08x}. Point "
                "it to its own database, or give it the ledger's own key."
            )
        self.history = history

    def sign(self, size: int, root: bytes) -> bytes:
        """A signed checkpoint of the log. Raises LedgerFault if the key for this size is lost."""
        verifier = self.history.at(size)
        key = self._key(verifier.public)
        if key is None:
            raise LedgerFault(
                f"The head of {self.origin} at {size} entries is to be signed by the key "
                f"{verifier.key_id:08x}, which this process does not have; put its file back."
            )
        signer = SignerKey(key, verifier)
        return sign_checkpoint(Checkpoint(self.origin, size, root), signer)

    def can_sign(self, size: int) -> bool:
        """Whether the key for heads of this size is here."""
        return self._key(self.history.at(size).public) is not None

    def verify(self, note: bytes) -> tuple[int, bytes]:
        """The size and root a checkpoint of this log states. Raises BadStatement."""
        checkpoint = open_checkpoint(note, origin=self.origin, verifier=self.history)
        return checkpoint.size, checkpoint.root

    def _key(self, public: PublicKey) -> SigningKey | None:
        key = self._keys.get(public) or self._find(public)
        if key is not None:
            self._keys[public] = key
        return key
