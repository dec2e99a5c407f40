"""Flips one bit in a stored entry of a node that is stopped: `python -m cli.demo.spoil NODE 7`.

For whoever wants to see that `comity verify log` notices, and names the entry.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path


def spoil(node: Path, index: int) -> None:
    """Flip the lowest bit in the middle of the entry. Raises IndexError if there is none."""
    with closing(sqlite3.connect(node / "node.db")) as database, database:
        found = database.execute('SELECT body FROM entries WHERE "index" = ?', (index,)).fetchone()
        if found is None:
            raise IndexError(f"{node} has no entry {index}")
        body = bytearray(found[0])
        body[len(body) // 2] ^= 1
        database.execute('UPDATE entries SET body = ? WHERE "index" = ?', (bytes(body), index))


def main(arguments: Sequence[str]) -> int:
    """Spoil as told."""
    if len(arguments) != 2 or not arguments[1].isdecimal():
        print("usage: python -m cli.demo.spoil NODE INDEX", file=sys.stderr)
        return 2
    spoil(Path(arguments[0]), int(arguments[1]))
    print(f"One bit of entry {arguments[1]} is flipped. Now: comity verify log {arguments[0]}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
