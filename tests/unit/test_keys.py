"""Ed25519 keys: which are refused, and how they are kept in files."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from comity import keys
from comity.errors import Conflict, Malformed, NotFound
from comity.keys import PublicKey, SigningKey

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
KEY = SigningKey(bytes(range(32)))
Point = tuple[int, int]


def add(one: Point, other: Point) -> Point:
    """The addition of edwards25519, RFC 8032 §5.1.4, in affine coordinates."""
    (x1, y1), (x2, y2) = one, other
    cross = D * x1 * x2 * y1 * y2 % P
    x = (x1 * y2 + x2 * y1) * pow(1 + cross, -1, P) % P
    y = (y1 * y2 + x1 * x2) * pow(1 - cross, -1, P) % P
    return x, y


def small_order_points() -> list[Point]:
    """All multiples of a point of order 8, which RFC 8032's equation gives from its y."""
    y = keys.SMALL_ORDER_Y[-1]
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * pow(2, (P - 1) // 4, P) % P
    assert x * x % P == square
    points = [(0, 1)]
    for _ in range(7):
        points.append(add(points[-1], (x, y)))
    assert add(points[-1], (x, y)) == (0, 1)
    return points


def encoded(y: int, sign: int) -> bytes:
    return (y | sign << 255).to_bytes(32, "little")


def test_each_of_the_eight_points_of_small_order_is_refused() -> None:
    points = small_order_points()
    assert len(set(points)) == 8
    assert {y for _, y in points} == set(keys.SMALL_ORDER_Y)
    for x, y in points:
        with pytest.raises(Malformed, match="small order"):
            PublicKey.from_bytes(encoded(y, x & 1))


@pytest.mark.parametrize("sign", [0, 1])
def test_every_encoding_that_is_not_canonical_is_refused(sign: int) -> None:
    for y in range(P, 2**255):
        with pytest.raises(Malformed, match="canonically"):
            PublicKey.from_bytes(encoded(y, sign))
    # x is zero here, and a sign of zero is no encoding (RFC 8032 §5.1.3 step 4).
    for y in (1, P - 1):
        with pytest.raises(Malformed):
            PublicKey.from_bytes(encoded(y, sign))


def test_a_key_of_small_order_would_let_one_signature_fit_every_message() -> None:
    identity, forged = encoded(1, 0), encoded(1, 0) + bytes(32)
    for message in (b"one", b"two"):
        Ed25519PublicKey.from_public_bytes(identity).verify(forged, message)


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_key_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(Malformed):
        PublicKey.from_bytes(bytes(size))
    with pytest.raises(Malformed):
        SigningKey(bytes(size))


@given(st.binary(min_size=32, max_size=32))
def test_any_32_bytes_are_a_key_or_malformed(raw: bytes) -> None:
    try:
        key = PublicKey.from_bytes(raw)
    except Malformed:
        return
    assert key.raw == raw
    assert key.verify(b"message", KEY.sign(b"message")) is (raw == KEY.public.raw)


@given(st.binary(max_size=100))
def test_a_signature_holds_for_its_message_alone(message: bytes) -> None:
    signature = KEY.sign(message)
    assert KEY.public.verify(message, signature)
    assert not KEY.public.verify(message + b"\x00", signature)
    assert not SigningKey(bytes(32)).public.verify(message, signature)


@given(st.binary(max_size=80))
def test_any_other_bytes_are_no_signature(signature: bytes) -> None:
    assert not KEY.public.verify(b"message", signature)


def test_a_key_is_made_of_the_given_randomness() -> None:
    asked = []

    def random(size: int) -> bytes:
        asked.append(size)
        return bytes(size)

    assert SigningKey.generate(random) == SigningKey(bytes(32))
    assert asked == [32]


def test_keys_are_values() -> None:
    twin = PublicKey(KEY.public.raw)
    assert twin == KEY.public
    assert {twin, KEY.public} == {twin}
    assert twin != SigningKey(bytes(32)).public
    assert KEY.key_id == hashlib.sha256(KEY.public.raw).hexdigest()[:16]


def test_a_secret_is_neither_shown_nor_pickled() -> None:
    assert KEY.seed().hex() not in repr(KEY) + str(KEY)
    with pytest.raises(TypeError):
        pickle.dumps(KEY)


@pytest.mark.parametrize("passphrase", [None, "correct horse", ""])
def test_a_saved_key_loads(tmp_path: Path, passphrase: str | None) -> None:
    path = tmp_path / "log.key"
    keys.save(path, KEY, passphrase)
    assert keys.load(path, passphrase) == KEY
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["log.key"]
    assert (keys.encode(KEY, random=bytes) in path.read_bytes()) is (passphrase is None)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610, 0o644])
def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "log.key"
    keys.save(path, KEY)
    path.chmod(mode)
    with pytest.raises(Malformed, match=f"chmod 600 {path}"):
        keys.load(path)


def test_a_key_is_not_overwritten_unless_asked(tmp_path: Path) -> None:
    path = tmp_path / "log.key"
    keys.save(path, KEY)
    other = SigningKey(bytes(32))
    with pytest.raises(Conflict):
        keys.save(path, other)
    assert keys.load(path) == KEY
    keys.save(path, other, replace=True)
    assert keys.load(path) == other
    assert os.listdir(tmp_path) == ["log.key"]


def test_what_is_no_key_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        keys.load(tmp_path / "absent.key")
    with pytest.raises(Malformed, match="plain file"):
        keys.load(tmp_path)
    with pytest.raises(Malformed, match="cannot be read"):
        keys.load(tmp_path / ("x" * 300))
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(Malformed, match="plain file"):
        keys.load(tmp_path / "pipe")


def test_only_the_right_passphrase_opens(tmp_path: Path) -> None:
    path = tmp_path / "log.key"
    keys.save(path, KEY, "right")
    for wrong in ("wrong", "", "right ", None):
        with pytest.raises(Malformed, match="passphrase"):
            keys.load(path, wrong)
    keys.save(path, KEY, replace=True)
    with pytest.raises(Malformed, match="without"):
        keys.load(path, "right")


def test_each_field_of_a_sealed_file_counts() -> None:
    good = json.loads(keys.encode(KEY, "right", random=bytes))
    other = keys.encode(SigningKey(bytes(32)), "right", random=bytes)
    changes: dict[str, list[object]] = {
        "format": ["comity-key/v2", None],
        "algorithm": ["ed448", 7],
        "public": [json.loads(other)["public"], "", 7],
        "kdf": ["scrypt", []],
        "salt": ["AAAA", 7, "AAAAAAAAAAAAAAAAAAAAAQ=="],
        "iterations": [0, 65, "3", True, 3.0, 10**30],
        "lanes": [0, 65, -1],
        "memory_kib": [0, 1, 2**40],
        "cipher": ["none"],
        "nonce": ["", "AAAAAAAAAAAAAAAB"],
        "sealed": [None, "AAAA", json.loads(other)["sealed"]],
        "extra": [1],
    }
    assert set(good) | {"extra"} == set(changes)
    for name, values in changes.items():
        for value in values:
            with pytest.raises(Malformed):
                keys.decode(json.dumps(good | {name: value}).encode(), "right")
        if name in good:
            left = json.dumps({key: value for key, value in good.items() if key != name})
            with pytest.raises(Malformed):
                keys.decode(left.encode(), "right")


@given(
    st.binary(max_size=60) | st.sampled_from([b"[" * 4000, b'{"sealed": 1}', b"{}", b"9" * 4000])
)
def test_hostile_files_raise_nothing_but_malformed(data: bytes) -> None:
    for passphrase in (None, "x"):
        with pytest.raises(Malformed):
            keys.decode(data, passphrase)
    with pytest.raises(Malformed, match="too large"):
        keys.decode(bytes(keys.MAX_FILE_BYTES + 1))


def test_a_plain_file_whose_public_key_is_another_is_refused() -> None:
    fields = json.loads(keys.encode(KEY, random=bytes))
    fields["seed"] = json.loads(keys.encode(SigningKey(bytes(32)), random=bytes))["seed"]
    with pytest.raises(Malformed, match="another public key"):
        keys.decode(json.dumps(fields).encode())
