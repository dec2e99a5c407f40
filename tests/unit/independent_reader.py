"""A reader of logs that shares nothing with the rest: standard library and `cryptography` only.

It follows the published formats (RFC 6962, C2SP signed-note and tlog-checkpoint, protobuf's wire
format) and answers how many entries lead to the signed root and what their legs sum to.
"""

from __future__ import annotations

import base64
import hashlib
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def fields(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """A protobuf message as (number, varint, bytes)."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            value |= (data[at] & 127) << shift
            at, shift = at + 1, shift + 7
            if not data[at - 1] & 128:
                return value

    while at < len(data):
        number, wire = divmod(varint(), 8)
        value = varint()
        if wire == 2:
            yield number, 0, data[at : at + value]
            at += value
        else:
            assert wire == 0, "only varints and bytes occur"
            yield number, value, b""


def legs(entry: bytes) -> Iterator[tuple[str, int, int]]:
    """Unit, class and points of each leg."""
    where = {10: 3, 11: 2, 12: 1, 13: 2, 14: 1, 20: 12, 21: 5, 22: 5, 23: 5, 30: 8, 31: 7}
    for kind, _, body in fields(entry):
        for number, _, leg in fields(body) if kind in where else ():
            if number == where[kind]:
                found = {name: (value, data) for name, value, data in fields(leg)}
                points = found.get(4, (0, b""))[0]
                yield found[3][1].decode(), found[1][0], points >> 1 ^ -(points & 1)


def root(leaves: list[bytes]) -> bytes:
    """The Merkle tree hash of RFC 6962, section 2.1, as it is defined there."""
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    half = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + root(leaves[:half]) + root(leaves[half:])).digest()


def read_log(database: Path) -> tuple[int, dict[tuple[str, int], int]]:
    """The size and the totals by unit and class of a log; AssertionError if it is not true."""
    with sqlite3.connect(database) as connection:
        note, vkey = connection.execute("SELECT note, vkey FROM ledgers").fetchone()
        rows = connection.execute('SELECT body FROM entries ORDER BY "index"').fetchall()
    connection.close()
    name, _, key = vkey.split("+", 2)
    text, _, signatures = bytes(note).decode().rpartition("\n\n")
    origin, size, head = f"{text}\n".split("\n")[:3]
    signature = base64.b64decode(signatures.split(" ")[2])
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key)[1:])
    public.verify(signature[4:], f"{text}\n".encode())
    assert origin == name, "the log signs under its own name"
    leaves = [bytes(body) for (body,) in rows]
    assert len(leaves) == int(size), "the head counts the entries"
    assert root(leaves) == base64.b64decode(head), "the entries lead to the signed root"
    totals: Counter[tuple[str, int]] = Counter()
    for entry in leaves:
        sums: Counter[str] = Counter()
        for unit, account_class, points in legs(entry):
            sums[unit] += points
            totals[unit, account_class] += points
        assert not any(sums.values()), "the legs sum to zero"
    return len(leaves), {at: points for at, points in totals.items() if points}
