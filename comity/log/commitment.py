"""Salted SHA-256 commitments: a log entry binds its writer to a value without showing it.

The salt hides the value from those who could guess it, so each commitment has its own. To open
one is to hand over salt and value. The label says what kind of value it is, so a commitment made
for one purpose cannot be opened as another.
"""

from __future__ import annotations

import hashlib
import hmac
from functools import lru_cache

from comity.errors import BadStatement

COMMITMENT_SIZE = 32
MIN_SALT_BYTES = 16
MAX_SALT_BYTES = 32

_DOMAIN = b"comity-commitment/v1\n"
_SALT_DOMAIN = b"comity-salt/v1\n"


def commit(label: str, salt: bytes, value: bytes) -> bytes:
    """SHA-256(domain ‖ len(label) ‖ label ‖ len(salt) ‖ salt ‖ value), lengths as 8 bytes.

    Everything before the value is length-prefixed, so two different inputs never hash the same
    bytes. Raises `BadStatement` for a salt outside 16 to 32 bytes or an empty label.
    """
    return hashlib.sha256(_head(label, len(salt)) + salt + value).digest()


@lru_cache(maxsize=256)
def _head(label: str, salt_size: int) -> bytes:
    """What is hashed before the salt itself."""
    if not MIN_SALT_BYTES <= salt_size <= MAX_SALT_BYTES:
        raise BadStatement(
            f"The salt of a commitment has {MIN_SALT_BYTES} to {MAX_SALT_BYTES} bytes, "
            f"this one has {salt_size}."
        )
    if not label:
        raise BadStatement("A commitment has a label.")
    try:
        encoded = label.encode()
    except UnicodeEncodeError:
        raise BadStatement("The label of a commitment is text that UTF-8 can hold.") from None
    return _DOMAIN + _prefixed(encoded) + salt_size.to_bytes(8, "big")


def opens(commitment: bytes, *, label: str, salt: bytes, value: bytes) -> bool:
    """Whether `salt` and `value` open `commitment`, compared in constant time."""
    try:
        expected = commit(label, salt, value)
    except BadStatement:
        return False
    return hmac.compare_digest(expected, commitment)


def verify_commitment(commitment: bytes, *, label: str, salt: bytes, value: bytes) -> None:
    """As `opens`, raising `BadStatement` if not."""
    if not opens(commitment, label=label, salt=salt, value=value):
        raise BadStatement(f"The {label} does not open its commitment.")


def derive_salt(secret: bytes, *context: bytes | int) -> bytes:
    """A 32-byte salt from a secret and what it is for: HMAC-SHA256 (RFC 2104).

    The same secret and context give the same salt, so a salt need not be stored. Each part of
    the context counts with its type and length: (b"ab",) and (b"a", b"b") differ.
    """
    if len(secret) < MIN_SALT_BYTES:
        raise ValueError(f"A salt secret has at least {MIN_SALT_BYTES} bytes.")
    message = bytearray(_SALT_DOMAIN)
    for part in context:
        if isinstance(part, int):
            message += b"i" + _prefixed(str(part).encode())
        else:
            message += b"b" + _prefixed(part)
    return hmac.digest(secret, bytes(message), "sha256")


def _prefixed(data: bytes) -> bytes:
    return len(data).to_bytes(8, "big") + data
