"""The log's own key as the ledger uses it: it signs heads of one origin and nothing else."""

from __future__ import annotations

from comity.keys import SigningKey
from comity.log.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from comity.log.note import SignerKey, VerifierKey


class LogSigner:
    """Signs and verifies checkpoints of one log."""

    __slots__ = ("_signer", "_verifier", "origin", "vkey")

    origin: str
    """The log's name, `<network>/<participant>`."""

    vkey: str
    """The public key as a C2SP verifier key."""

    def __init__(self, origin: str, key: SigningKey) -> None:
        self.origin = origin
        self._signer = SignerKey.of(origin, key)
        self._verifier = VerifierKey.of(origin, key.public)
        self.vkey = str(self._verifier)

    def sign(self, size: int, root: bytes) -> bytes:
        """A signed checkpoint of the log."""
        return sign_checkpoint(Checkpoint(self.origin, size, root), self._signer)

    def verify(self, note: bytes) -> tuple[int, bytes]:
        """The size and root a checkpoint of this log states. Raises BadStatement."""
        checkpoint = open_checkpoint(note, origin=self.origin, verifier=self._verifier)
        return checkpoint.size, checkpoint.root
