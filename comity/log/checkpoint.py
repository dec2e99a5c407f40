"""Checkpoints of C2SP tlog-checkpoint: a log's signed size and root."""

from __future__ import annotations

import hashlib
import re
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from comity.errors import BadStatement, UnknownKey
from comity.log import merkle, note
from comity.log.history import KeyHistory
from comity.log.note import Note, Signer, Verifier, from_base64, to_base64

MAX_ORIGIN_LENGTH = 255

Keys = Verifier | KeyHistory
"""One key for every size of a log, or the key for each."""

_LINE = re.compile(r"[^\x00-\x1f]+")
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A log's head: its `root` when it had `size` leaves. Making an impossible one raises
    `BadStatement`.

    Extension lines are kept but carry no meaning here; our logs write none.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _LINE.fullmatch(self.origin) or len(self.origin) > MAX_ORIGIN_LENGTH:
            raise BadStatement("The origin of a checkpoint is one line, not empty and not long.")
        if not 0 <= self.size <= merkle.MAX_SIZE:
            raise BadStatement("The size of a checkpoint is a number from 0 to 2^63-1.")
        if len(self.root) != merkle.HASH_SIZE:
            raise BadStatement("The root of a checkpoint has 32 bytes.")
        if self.size == 0 and self.root != merkle.EMPTY_ROOT:
            raise BadStatement("A checkpoint of size 0 has the root of the empty tree.")
        if not all(_LINE.fullmatch(line) for line in self.extensions):
            raise BadStatement("An extension line of a checkpoint is not empty.")


def format(checkpoint: Checkpoint) -> str:  # noqa: A001 (the pair is parse and format)
    """The note text of a checkpoint (tlog-checkpoint, "Note text")."""
    lines = (checkpoint.origin, str(checkpoint.size), to_base64(checkpoint.root))
    return "".join(f"{line}\n" for line in (*lines, *checkpoint.extensions))


def parse(text: str) -> Checkpoint:
    """The checkpoint of a note text; `BadStatement` unless `format` would write exactly it."""
    lines = text.split("\n")
    if len(lines) < 4 or lines.pop() != "":
        raise BadStatement("A checkpoint has at least three lines, each ended by a newline.")
    origin, size, encoded, *extensions = lines
    root = from_base64(encoded)
    if not _DECIMAL.fullmatch(size) or root is None:
        raise BadStatement("A checkpoint has a decimal size and a root in base64.")
    return Checkpoint(origin, int(size), root, tuple(extensions))


def sign_checkpoint(
    checkpoint: Checkpoint, signer: Signer, existing: Sequence[note.Signature] = ()
) -> bytes:
    """The signed note of `checkpoint`. The signer bears the name of the log's origin."""
    if signer.name != checkpoint.origin:
        raise ValueError(f"{signer.name} does not sign checkpoints of {checkpoint.origin}.")
    return note.sign(format(checkpoint), signer, existing).encode()


def open_checkpoint(note_bytes: bytes, *, origin: str, verifier: Keys) -> Checkpoint:
    """The checkpoint of `origin` that `verifier` finds signed in `note_bytes`.

    Signatures of other keys, such as witnesses', are left alone. Raises `BadStatement`; with a
    history, `UnknownKey` for no key of it and `RetiredKey` for one that is not this size's.
    """
    if isinstance(verifier, KeyHistory):
        return _open_by_size(note_bytes, origin, verifier)
    return _of_origin(note.open_note(note_bytes, (verifier,)), origin)


def read_checkpoint(note_bytes: bytes) -> Checkpoint:
    """The checkpoint in a note **without looking at its signatures**: to learn whose it says it
    is, so that the right key can be found."""
    return parse(note.split(note_bytes)[0])


def verify_extension(old: Checkpoint, new: Checkpoint, proof: Sequence[bytes]) -> None:
    """Check that the log `new` describes begins with the log `old` describes.

    As `merkle.verify_consistency`, and the empty log begins every log, without proof. Raises
    `BadStatement`, also for heads of two origins.
    """
    if old.origin != new.origin:
        raise BadStatement(f"A head of {new.origin} does not follow one of {old.origin}.")
    if old.size == 0:
        if proof or (new.size == 0 and new.root != old.root):
            raise BadStatement("A consistency proof from the empty log is empty.")
        return
    merkle.verify_consistency(
        old_size=old.size,
        new_size=new.size,
        old_root=old.root,
        new_root=new.root,
        proof=proof,
    )


class CheckpointCache:
    """Remembers the notes it has verified, so that a batch's one signature is checked once.

    Looked up by the note's SHA-256, and only good for the origin and the key it was opened with.
    Only good notes are kept, the `capacity` most recently used. Safe for several threads.
    """

    __slots__ = ("_capacity", "_kept", "_lock")

    def __init__(self, capacity: int = 4096) -> None:
        if capacity < 1:
            raise ValueError("A checkpoint cache holds at least one checkpoint.")
        self._capacity = capacity
        self._kept: OrderedDict[bytes, tuple[Keys, Checkpoint]] = OrderedDict()
        self._lock = threading.Lock()

    def open(self, note_bytes: bytes, *, origin: str, verifier: Keys) -> Checkpoint:
        """As `open_checkpoint`. The verifier must be unchanging."""
        name = hashlib.sha256(note_bytes).digest()
        with self._lock:
            kept = self._kept.get(name)
            if kept is not None and kept[1].origin == origin and kept[0] == verifier:
                self._kept.move_to_end(name)
                return kept[1]
        found = open_checkpoint(note_bytes, origin=origin, verifier=verifier)
        self._keep(name, verifier, found)
        return found

    def remember(self, note_bytes: bytes, checkpoint: Checkpoint, *, verifier: Keys) -> None:
        """Keep a note that the caller signed itself, so that hearing of it again costs little."""
        self._keep(hashlib.sha256(note_bytes).digest(), verifier, checkpoint)

    def _keep(self, name: bytes, verifier: Keys, checkpoint: Checkpoint) -> None:
        with self._lock:
            self._kept[name] = (verifier, checkpoint)
            self._kept.move_to_end(name)
            if len(self._kept) > self._capacity:
                self._kept.popitem(last=False)

    def __len__(self) -> int:
        return len(self._kept)


def _open_by_size(note_bytes: bytes, origin: str, history: KeyHistory) -> Checkpoint:
    """Under the one key of the history that signs heads of this size."""
    try:
        opened = note.open_note(note_bytes, history.keys)
    except BadStatement:
        # Only now is it looked at whose signatures they are: most notes are good.
        known = {key.key_id for key in history.keys}
        own = [found.key_id for found in note.split(note_bytes)[1] if found.name == origin]
        if own and known.isdisjoint(own):
            raise UnknownKey(
                f"The head of {origin} is signed by a key that is not known as its."
            ) from None
        raise
    checkpoint = _of_origin(opened, origin)
    history.require(checkpoint.size, {found.key_id for found in opened.signatures})
    return checkpoint


def _of_origin(opened: Note, origin: str) -> Checkpoint:
    checkpoint = parse(opened.text)
    if checkpoint.origin != origin:
        raise BadStatement(f"The checkpoint is of {checkpoint.origin}, not of {origin}.")
    return checkpoint
