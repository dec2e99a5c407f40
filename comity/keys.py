"""Ed25519 keys of logs, devices and tills (RFC 8032), and the files that keep them.

TLS keys live elsewhere: they are of another kind and never sign statements. A public key that
would accept forged signatures, or that could be written in two ways, is refused when read.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from comity.errors import Conflict, Malformed, NotFound

Random = Callable[[int], bytes]
"""A source of so many unpredictable bytes."""

KEY_SIZE = 32
SIGNATURE_SIZE = 64

_P = 2**255 - 19
_SIGN_BIT = 1 << 255

SMALL_ORDER_Y = (
    0,
    1,
    _P - 1,
    0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7,
    0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
)
"""The y coordinates of the eight points of order 1, 2, 4 and 8 (each x sign is refused)."""


class PublicKey:
    """An Ed25519 public key. Equal and hashable by its 32 bytes."""

    __slots__ = ("_key", "raw")

    raw: bytes

    def __init__(self, raw: bytes) -> None:
        """Raises `Malformed` unless `raw` is the one encoding of a point of large order.

        RFC 8032 §5.1.3 step 1 refuses y ≥ p. Points of small order are refused because under
        them one signature fits many messages; a part of small order beside a large one is let
        pass, since it helps nobody without the secret. Whether the point lies on the curve is not
        looked at: under a key that does not, nothing verifies.
        """
        raw = bytes(raw)
        if len(raw) != KEY_SIZE:
            raise Malformed(f"An Ed25519 public key has 32 bytes, this one has {len(raw)}.")
        y = int.from_bytes(raw, "little") & ~_SIGN_BIT
        if y >= _P:
            raise Malformed("The public key is not canonically encoded; send the key itself.")
        if y in SMALL_ORDER_Y:
            raise Malformed("The public key has small order and proves nothing; make a new key.")
        self.raw = raw
        self._key = Ed25519PublicKey.from_public_bytes(raw)

    @staticmethod
    def from_bytes(raw: bytes) -> PublicKey:
        """The key that `raw` encodes, as `PublicKey(raw)`; recently used keys are kept."""
        return _public_key(bytes(raw))

    @property
    def key_id(self) -> str:
        """A short name of the key: the first 8 bytes of its SHA-256 in hex."""
        return hashlib.sha256(self.raw).digest()[:8].hex()

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Whether `signature` is this key's over `message` (RFC 8032 §5.1.7)."""
        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            return False
        return True

    def __eq__(self, other: object) -> bool:
        return self.raw == other.raw if isinstance(other, PublicKey) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.raw)

    def __repr__(self) -> str:
        return f"PublicKey({self.key_id})"


@lru_cache(maxsize=8192)
def _public_key(raw: bytes) -> PublicKey:
    return PublicKey(raw)


class SigningKey:
    """An Ed25519 private key. Its text form never shows the secret."""

    __slots__ = ("_key", "_seed", "public")

    public: PublicKey

    def __init__(self, seed: bytes) -> None:
        """The key of a 32-byte seed (RFC 8032 §5.1.5)."""
        if len(seed) != KEY_SIZE:
            raise Malformed(f"An Ed25519 seed has 32 bytes, this one has {len(seed)}.")
        self._seed = bytes(seed)
        self._key = Ed25519PrivateKey.from_private_bytes(self._seed)
        self.public = PublicKey(self._key.public_key().public_bytes_raw())

    @staticmethod
    def generate(random: Random) -> SigningKey:
        """A new key from 32 bytes of `random`."""
        return SigningKey(random(KEY_SIZE))

    @property
    def key_id(self) -> str:
        return self.public.key_id

    def seed(self) -> bytes:
        """The secret itself, for storing it."""
        return self._seed

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature over `message`; deterministic (RFC 8032 §5.1.6)."""
        return self._key.sign(message)

    def __eq__(self, other: object) -> bool:
        return self.public == other.public if isinstance(other, SigningKey) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.public)

    def __repr__(self) -> str:
        return f"SigningKey({self.key_id})"

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("A signing key is not pickled; use keys.save.")


# --- key files -------------------------------------------------------------------------------

FILE_FORMAT = "comity-key/v1"
MAX_FILE_BYTES = 4096

_SALT_BYTES = 16
_NONCE_BYTES = 12
_KDF: Mapping[str, int] = {"iterations": 3, "lanes": 4, "memory_kib": 64 * 1024}
"""The second recommended option of RFC 9106 §4."""
_KDF_LIMITS: Mapping[str, int] = {"iterations": 64, "lanes": 64, "memory_kib": 1024 * 1024}


def save(
    path: str | os.PathLike[str],
    key: SigningKey,
    passphrase: str | None = None,
    *,
    replace: bool = False,
    random: Random = secrets.token_bytes,
) -> None:
    """Write `key` to `path`, readable by its owner only: whole and durable, or not at all.

    With a passphrase the seed is sealed with ChaCha20-Poly1305 under an Argon2id key. An
    existing file raises `Conflict` unless `replace`.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(encode(key, passphrase, random=random))
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.replace(temporary, target)
        else:
            os.link(temporary, target)
    except FileExistsError:
        raise Conflict(f"{target} exists; move it away before a new key is written.") from None
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(target.parent)


def load(path: str | os.PathLike[str], passphrase: str | None = None) -> SigningKey:
    """The key in the file at `path`.

    Raises `NotFound` for no file, and `Malformed` for a file that cannot be read, that others
    than its owner can read, that is no key file, or that the passphrase does not open.
    """
    return decode(_read_file(path), passphrase)


def look_at(path: str | os.PathLike[str]) -> tuple[PublicKey, bool]:
    """The public key which a key file names, and whether a passphrase seals its secret."""
    fields = _fields(_read_file(path))
    return PublicKey.from_bytes(_bytes(fields.get("public"), KEY_SIZE)), "sealed" in fields


def _read_file(path: str | os.PathLike[str]) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise NotFound(f"There is no key file {os.fspath(path)}.") from None
    except OSError as error:
        raise Malformed(
            f"The key file {os.fspath(path)} cannot be read ({error.strerror}); run as its owner."
        ) from None
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise Malformed(f"{os.fspath(path)} is not a plain file; name the key file itself.")
        if mode & 0o077:
            raise Malformed(
                f"Others can read the key file {os.fspath(path)}; run: chmod 600 {os.fspath(path)}"
            )
        return os.read(descriptor, MAX_FILE_BYTES + 1)
    finally:
        os.close(descriptor)


def encode(key: SigningKey, passphrase: str | None = None, *, random: Random) -> bytes:
    """The file form of `key`: JSON, sealed if there is a passphrase."""
    head: dict[str, Any] = {
        "format": FILE_FORMAT,
        "algorithm": "ed25519",
        "public": _base64(key.public.raw),
    }
    if passphrase is None:
        body = {**head, "seed": _base64(key.seed())}
    else:
        salt, nonce = random(_SALT_BYTES), random(_NONCE_BYTES)
        sealing = {"kdf": "argon2id", "salt": _base64(salt), **_KDF, "cipher": "chacha20-poly1305"}
        secret = _derive(passphrase, salt, _KDF)
        sealed = ChaCha20Poly1305(secret).encrypt(nonce, key.seed(), _bound(head, sealing))
        body = {**head, **sealing, "nonce": _base64(nonce), "sealed": _base64(sealed)}
    return json.dumps(body, indent=2).encode() + b"\n"


def decode(data: bytes, passphrase: str | None = None) -> SigningKey:
    """The key that `encode` wrote; `Malformed` otherwise."""
    fields = _fields(data)
    head = {name: fields.pop(name, None) for name in ("format", "algorithm", "public")}
    if head["format"] != FILE_FORMAT or head["algorithm"] != "ed25519":
        raise Malformed(f"This is not a key file of the form {FILE_FORMAT}.")
    if "sealed" not in fields:
        if passphrase is not None:
            raise Malformed("The key file has no passphrase; load it without one.")
        if set(fields) != {"seed"}:
            raise _damaged()
        key = SigningKey(_bytes(fields["seed"], KEY_SIZE))
    elif passphrase is None:
        raise Malformed("The key file has a passphrase; give it.")
    else:
        key = SigningKey(_unseal(head, fields, passphrase))
    if key.public.raw != _bytes(head["public"], KEY_SIZE):
        raise Malformed("The key file names another public key than its secret has.")
    return key


def _unseal(head: Mapping[str, Any], fields: dict[str, Any], passphrase: str) -> bytes:
    nonce = _bytes(fields.pop("nonce", None), _NONCE_BYTES)
    sealed = _bytes(fields.pop("sealed", None), KEY_SIZE + 16)
    if set(fields) != {"kdf", "salt", "cipher", *_KDF}:
        raise _damaged()
    if fields["kdf"] != "argon2id" or fields["cipher"] != "chacha20-poly1305":
        raise Malformed("The key file is sealed in a way this version does not know.")
    cost = {name: fields[name] for name in _KDF}
    for name, value in cost.items():
        if type(value) is not int or not 1 <= value <= _KDF_LIMITS[name]:
            raise Malformed(f"The key file asks for {name} outside 1 to {_KDF_LIMITS[name]}.")
    if cost["memory_kib"] < 8 * cost["lanes"]:
        raise Malformed("The key file asks for less than 8 KiB of memory for each lane.")
    secret = _derive(passphrase, _bytes(fields["salt"], _SALT_BYTES), cost)
    try:
        return ChaCha20Poly1305(secret).decrypt(nonce, sealed, _bound(head, fields))
    except InvalidTag:
        raise Malformed("The passphrase does not open the key file.") from None


def _derive(passphrase: str, salt: bytes, cost: Mapping[str, int]) -> bytes:
    argon2 = Argon2id(
        salt=salt,
        length=32,
        iterations=cost["iterations"],
        lanes=cost["lanes"],
        memory_cost=cost["memory_kib"],
    )
    return argon2.derive(passphrase.encode("utf-8", "surrogateescape"))


def _bound(head: Mapping[str, Any], sealing: Mapping[str, Any]) -> bytes:
    """What the seal also covers: the file's other fields in one order."""
    return json.dumps({**head, **sealing}, sort_keys=True, separators=(",", ":")).encode()


def _fields(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_FILE_BYTES:
        raise Malformed("The file is too large to be a key file.")
    try:
        fields = json.loads(data.decode())
    except (ValueError, RecursionError):
        raise _damaged() from None
    if not isinstance(fields, dict):
        raise _damaged()
    return fields


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: object, size: int) -> bytes:
    try:
        data = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except (binascii.Error, ValueError):
        data = b""
    if len(data) != size:
        raise _damaged()
    return data


def _damaged() -> Malformed:
    return Malformed("The key file is damaged; restore it from a copy.")


def sync_directory(directory: Path) -> None:
    """Make what was renamed in a folder durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
