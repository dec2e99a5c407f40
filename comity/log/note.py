"""Signed notes of C2SP signed-note: a text and the signatures over it.

Stricter than the specification in one way: base64 and key texts have exactly one accepted form,
so that no note has a twin. Other signature types plug in through `Verifier` and `Signer`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from comity.errors import BadStatement, Malformed
from comity.keys import PublicKey, Random, SigningKey

MAX_NOTE_BYTES = 1_000_000
MAX_SIGNATURES = 100
ED25519 = 0x01
"""The signature type of Ed25519 over the note text."""

_DASH = "— "  # U+2014 EM DASH, U+0020 SPACE
_PRIVATE = "PRIVATE+KEY+"
_KEY_ID_BYTES = 4
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line; `key_id` is the big-endian number in the signature's first 4 bytes."""

    name: str
    key_id: int
    signature: bytes

    def line(self) -> str:
        """The line as it stands in a note, with its newline."""
        encoded = self.key_id.to_bytes(_KEY_ID_BYTES, "big") + self.signature
        return f"{_DASH}{self.name} {to_base64(encoded)}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """An opened note: its text, the signatures that hold, and those of unknown keys."""

    text: str
    signatures: tuple[Signature, ...]
    unverified: tuple[Signature, ...]


class Verifier(Protocol):
    """A key that checks signatures over note texts."""

    @property
    def name(self) -> str: ...

    @property
    def key_id(self) -> int: ...

    def verify(self, text: bytes, signature: bytes) -> bool: ...


class Signer(Protocol):
    """A key that signs note texts."""

    @property
    def name(self) -> str: ...

    @property
    def key_id(self) -> int: ...

    def sign(self, text: bytes) -> bytes: ...


def key_id_of(name: str, signature_type: int, public: bytes) -> int:
    """SHA-256(name ‖ newline ‖ type ‖ public key), the first 4 bytes as a number."""
    sequence = name.encode() + b"\n" + bytes([signature_type]) + public
    return int.from_bytes(hashlib.sha256(sequence).digest()[:_KEY_ID_BYTES], "big")


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A named Ed25519 public key; as text a vkey, `name+key id+base64(type ‖ key)`."""

    name: str
    public: PublicKey
    key_id: int

    @staticmethod
    def of(name: str, public: PublicKey) -> VerifierKey:
        _require_name(name)
        return VerifierKey(name, public, key_id_of(name, ED25519, public.raw))

    @staticmethod
    def parse(text: str) -> VerifierKey:
        """The key that a vkey names; `Malformed` for anything else."""
        name, raw = _parse_key(text, text)
        key = VerifierKey.of(name, PublicKey.from_bytes(raw))
        if str(key) != text:
            raise Malformed("The id in the verifier key is not that of its name and key.")
        return key

    def verify(self, text: bytes, signature: bytes) -> bool:
        """Whether `signature` is this key's over the note text."""
        return self.public.verify(text, signature)

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id:08x}+{to_base64(bytes([ED25519]) + self.public.raw)}"


@dataclass(frozen=True, slots=True)
class SignerKey:
    """A named Ed25519 private key. Its repr shows no secret; `format` does."""

    key: SigningKey
    verifier: VerifierKey

    @staticmethod
    def of(name: str, key: SigningKey) -> SignerKey:
        return SignerKey(key, VerifierKey.of(name, key.public))

    @staticmethod
    def generate(name: str, random: Random) -> SignerKey:
        return SignerKey.of(name, SigningKey.generate(random))

    @staticmethod
    def parse(text: str) -> SignerKey:
        """The key in `PRIVATE+KEY+name+key id+base64(type ‖ seed)`; `Malformed` otherwise."""
        if not text.startswith(_PRIVATE):
            raise Malformed("A signer key starts with PRIVATE+KEY+.")
        name, seed = _parse_key(text, text[len(_PRIVATE) :])
        key = SignerKey.of(name, SigningKey(seed))
        if key.format() != text:
            raise Malformed("The id in the signer key is not that of its name and key.")
        return key

    @property
    def name(self) -> str:
        return self.verifier.name

    @property
    def key_id(self) -> int:
        return self.verifier.key_id

    def sign(self, text: bytes) -> bytes:
        """The signature over a note text."""
        return self.key.sign(text)

    def format(self) -> str:
        """The secret text form that `parse` reads."""
        secret = to_base64(bytes([ED25519]) + self.key.seed())
        return f"{_PRIVATE}{self.name}+{self.key_id:08x}+{secret}"


def sign(text: str, signer: Signer, existing: Sequence[Signature] = ()) -> str:
    """The note of `text`: the `existing` signatures, then the signer's, which replaces its own.

    Raises `Malformed` for a text no note can hold, or an existing signature of a bad name.
    """
    _require_text(text)
    if not text.endswith("\n"):
        raise Malformed("The text of a note ends with a newline.")
    _require_name(signer.name)
    kept = [
        found for found in existing if (found.name, found.key_id) != (signer.name, signer.key_id)
    ]
    for found in kept:
        _require_name(found.name)
    added = Signature(signer.name, signer.key_id, signer.sign(text.encode()))
    if len(kept) >= MAX_SIGNATURES:
        raise Malformed(f"A note has at most {MAX_SIGNATURES} signatures.")
    return text + "\n" + "".join(found.line() for found in (*kept, added))


def open_note(note: str | bytes, verifiers: Iterable[Verifier]) -> Note:
    """Check a note and split it into text and signatures.

    Every signature by a key in `verifiers` must hold and there must be one; signatures of other
    keys are handed back unverified. A repeated signature counts once. Raises `BadStatement`,
    and for two verifiers with one name and id, if a signature needs them, `Malformed`.
    """
    text, found = split(note)
    known: dict[tuple[str, int], list[Verifier]] = {}
    for verifier in verifiers:
        known.setdefault((verifier.name, verifier.key_id), []).append(verifier)
    message = text.encode()
    verified: dict[tuple[str, int], Signature] = {}
    unverified: dict[Signature, None] = {}
    for signature in found:
        key = (signature.name, signature.key_id)
        candidates = known.get(key)
        if candidates is None:
            unverified[signature] = None
        elif len(candidates) > 1:
            raise Malformed(f"Two keys named {signature.name} have the id {signature.key_id:08x}.")
        elif key not in verified:
            if not candidates[0].verify(message, signature.signature):
                raise BadStatement(f"The signature of {signature.name} does not fit the note.")
            verified[key] = signature
    if not verified:
        raise BadStatement("The note bears no signature of a known key.")
    return Note(text, tuple(verified.values()), tuple(unverified))


def split(note: str | bytes) -> tuple[str, tuple[Signature, ...]]:
    """A note's text and signature lines, nothing verified; `BadStatement` if it is no note."""
    if len(note) > MAX_NOTE_BYTES:
        raise BadStatement(f"The note is longer than {MAX_NOTE_BYTES} bytes.")
    if isinstance(note, bytes):
        try:
            note = note.decode()
        except UnicodeDecodeError:
            raise BadStatement("The note is not UTF-8.") from None
    _require_text(note)
    head, separator, tail = note.rpartition("\n\n")
    if not separator or not tail.endswith("\n"):
        raise BadStatement("The note lacks a blank line followed by signature lines.")
    lines = tail[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise BadStatement(f"The note bears more than {MAX_SIGNATURES} signatures.")
    return head + "\n", tuple(_parse_line(line) for line in lines)


def _parse_line(line: str) -> Signature:
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    data = from_base64(encoded)
    if not line.startswith(_DASH) or not _is_name(name) or data is None:
        raise BadStatement("A signature line is not a dash, a name and a base64 signature.")
    if len(data) <= _KEY_ID_BYTES:
        raise BadStatement("A signature line holds no signature.")
    key_id = int.from_bytes(data[:_KEY_ID_BYTES], "big")
    return Signature(name, key_id, data[_KEY_ID_BYTES:])


def _parse_key(whole: str, text: str) -> tuple[str, bytes]:
    """The name and the 32 bytes in `name+id+base64`; the caller compares the id."""
    parts = text.split("+", 2)
    if len(whole) > 1024 or len(parts) != 3 or not _is_name(parts[0]):
        raise Malformed("A key is written name+id+base64.")
    data = from_base64(parts[2])
    if data is None or len(data) != 1 + 32 or data[0] != ED25519:
        raise Malformed("The key is not an Ed25519 key of 32 bytes in base64.")
    return parts[0], data[1:]


def _is_name(name: str) -> bool:
    return (
        bool(name)
        and "+" not in name
        and not any(map(str.isspace, name))
        and _CONTROL.search(name) is None
        and _is_utf8(name)
    )


def _require_name(name: str) -> None:
    if not _is_name(name):
        raise Malformed("A key name is not empty and has no spaces and no plus sign.")


def _require_text(text: str) -> None:
    if _CONTROL.search(text) is not None or not _is_utf8(text):
        raise BadStatement("A note is UTF-8 without control characters other than newline.")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def to_base64(data: bytes) -> str:
    """`data` in standard base64 with padding (RFC 4648 §4)."""
    return binascii.b2a_base64(data, newline=False).decode()


def from_base64(text: str) -> bytes | None:
    """The bytes that exactly `text` encodes (RFC 4648 §4, canonical as in §3.5), or None."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if to_base64(data) == text else None
