"""Hash tiles of C2SP tlog-tiles: how the hashes of a log are stored and published.

A tile of level L holds up to 256 hashes of perfect subtrees of 256**L leaves, side by side; the
tile (L, N) starts with subtree 256*N. A tile once full never changes, and a partial tile is a
prefix of its later self, so any size of the log, past or present, is answered from the newest
tiles. Only hashes of level 8*L are stored; the seven levels between are computed and remembered.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import count, repeat

from comity.errors import BadStatement, Malformed
from comity.log import merkle
from comity.log.merkle import HASH_SIZE, MAX_SIZE, node_hash

TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
TILE_BYTES = TILE_WIDTH * HASH_SIZE
MAX_TILE_LEVEL = 7
"""The level of the highest tile of a log of fewer than 2^63 leaves."""

TileKey = tuple[int, int]
"""(level, index) of a tile."""

ReadTile = Callable[[int, int], bytes]
"""`read_tile(level, index)`: the newest bytes of a tile, full or partial; `b""` where none is."""

_PATH = re.compile(r"tile/(0|[1-9]\d?)/((?:x\d{3}/)*\d{3})(?:\.p/([1-9]\d{0,2}))?", re.ASCII)


def tile_path(level: int, index: int, width: int = TILE_WIDTH) -> str:
    """Where a tile is published: `tile/<L>/<N>[.p/<W>]`, N in groups of three digits."""
    if not (0 <= level <= 63 and 0 <= index <= MAX_SIZE and 1 <= width <= TILE_WIDTH):
        raise ValueError(f"There is no tile of level {level}, index {index}, width {width}.")
    text = str(index)
    text = text.zfill(-(-len(text) // 3) * 3)
    groups = [text[at : at + 3] for at in range(0, len(text), 3)]
    number = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
    return f"tile/{level}/{number}" + ("" if width == TILE_WIDTH else f".p/{width}")


def parse_tile_path(path: str) -> tuple[int, int, int]:
    """The (level, index, width) that `path` names; `Malformed` unless it is exactly such a path."""
    found = _PATH.fullmatch(path[:64])
    if found is not None:
        level, width = int(found[1]), int(found[3] or TILE_WIDTH)
        index = int(found[2].replace("x", "").replace("/", ""))
        possible = level <= 63 and index <= MAX_SIZE and width <= TILE_WIDTH
        if possible and tile_path(level, index, width) == path:
            return level, index, width
    raise Malformed(
        "The path names no tile; use tile/<level>/<index> or tile/<level>/<index>.p/<width>."
    )


def tile_width(level: int, index: int, size: int) -> int:
    """How many hashes the tile (level, index) has in a log of `size`: 0 to 256."""
    stored = size >> (TILE_HEIGHT * level)
    return min(max(stored - index * TILE_WIDTH, 0), TILE_WIDTH)


class TileReader:
    """Subtree hashes, roots and proofs of any size, read from tiles.

    Remembers what it read and computed, which never changes; both memories are bounded. A tile
    that is missing or too short raises `BadStatement`. Not for use by two threads at once.
    """

    __slots__ = ("_nodes", "_older_nodes", "_older_tiles", "_read_tile", "_tiles")

    _NODES = 1 << 15
    _TILES = 256

    def __init__(self, read_tile: ReadTile) -> None:
        self._read_tile = read_tile
        self._tiles: dict[TileKey, bytes] = {}
        self._older_tiles: dict[TileKey, bytes] = {}
        self._nodes: dict[tuple[int, int], bytes] = {}
        self._older_nodes: dict[tuple[int, int], bytes] = {}

    def read(self, level: int, index: int) -> bytes:
        """The hash of the perfect subtree (level, index)."""
        if level % TILE_HEIGHT == 0:
            return self._stored(level // TILE_HEIGHT, index)
        key = (level, index)
        found = self._nodes.get(key)
        if found is None:
            found = self._older_nodes.get(key)
            if found is None:
                found = node_hash(
                    self.read(level - 1, 2 * index), self.read(level - 1, 2 * index + 1)
                )
            self.remember_node(key, found)
        return found

    def root(self, size: int) -> bytes:
        """The root of the log when it had `size` leaves."""
        return merkle.root_of(size, self.read)

    def inclusion(self, index: int, size: int) -> tuple[bytes, ...]:
        """The audit path of leaf `index` in the log of `size`."""
        return merkle.inclusion_path(index, size, self.read)

    def consistency(self, old_size: int, new_size: int) -> tuple[bytes, ...]:
        """The proof that the log of `old_size` is a prefix of the log of `new_size`."""
        return merkle.consistency_path(old_size, new_size, self.read)

    def frontier(self, size: int) -> merkle.Frontier:
        """The right edge of the log when it had `size` leaves."""
        return merkle.Frontier(
            size, [self.read(level, index) for level, index in merkle.perfect_subtrees(size)]
        )

    def _stored(self, level: int, index: int) -> bytes:
        key = (level, index // TILE_WIDTH)
        start = index % TILE_WIDTH * HASH_SIZE
        tile = self._tiles.get(key) or self._older_tiles.get(key, b"")
        if len(tile) < start + HASH_SIZE:
            tile = self._read_tile(*key)
            if len(tile) < start + HASH_SIZE or len(tile) % HASH_SIZE:
                raise BadStatement(
                    f"Tile {tile_path(*key)} holds {len(tile)} bytes; hash {index % TILE_WIDTH} "
                    "is not in it. Restore the tile, or ask for a smaller size."
                )
        if key not in self._tiles or len(self._tiles[key]) < len(tile):
            self.remember_tile(key, tile)
        return tile[start : start + HASH_SIZE]

    def remember_tile(self, key: TileKey, tile: bytes) -> None:
        """Keep a tile at hand; the tiles used longest ago make room."""
        if key not in self._tiles and len(self._tiles) >= self._TILES:
            self._tiles, self._older_tiles = {}, self._tiles
        self._tiles[key] = tile

    def remember_node(self, key: tuple[int, int], found: bytes) -> None:
        """Keep the hash of a perfect subtree at hand."""
        if len(self._nodes) >= self._NODES:
            self._nodes, self._older_nodes = {}, self._nodes
        self._nodes[key] = found

    def remember_nodes(self, level: int, first: int, found: Sequence[bytes]) -> None:
        """Keep the hashes of neighbours in one level at hand, or the last of them."""
        over = max(len(found) - self._NODES, 0)
        if len(self._nodes) + len(found) - over > self._NODES:
            self._nodes, self._older_nodes = {}, self._nodes
        self._nodes.update(zip(zip(repeat(level), count(first + over)), found[over:], strict=False))


class TileTree:
    """A growing log in tiles: the writer's view, with the right edge kept in memory.

    `append` changes this object at once. When the commit that stores the tiles fails, throw the
    object away and make a new one from what is stored. `append`, `frontier` and the root now
    never read storage; proofs and older roots may, for as long as the object lives.
    """

    __slots__ = ("_edge", "_lone", "_reader", "_size", "_stored_tile")

    def __init__(self, size: int, read_tile: ReadTile) -> None:
        """The log of `size` as stored; reads the tiles of its right edge once."""
        self._stored_tile = read_tile
        self._size = size
        self._edge: dict[TileKey, bytes] = {}
        for level in range(MAX_TILE_LEVEL + 1):
            index = (size >> (TILE_HEIGHT * level)) // TILE_WIDTH
            width = tile_width(level, index, size) * HASH_SIZE
            if width:
                tile = read_tile(level, index)
                if len(tile) < width:
                    raise BadStatement(
                        f"Tile {tile_path(level, index)} is shorter than a log of {size} needs. "
                        "Restore the tile."
                    )
                self._edge[level, index] = tile[:width]
        self._reader = TileReader(self._read_tile)
        self._lone = {
            level: self._reader.read(level, index) for level, index in merkle.perfect_subtrees(size)
        }
        """By level, the hash whose right sibling is still to come."""

    @property
    def size(self) -> int:
        return self._size

    def append(self, leaves: Iterable[bytes]) -> dict[TileKey, bytes]:
        """Add leaf hashes; return each tile that changed, whole, as it must now be stored.

        Costs about one hash for each leaf.
        """
        found, first, level = list(leaves), self._size, 0
        self._size += len(found)
        changed: dict[TileKey, bytes] = {}
        while found:
            if level % TILE_HEIGHT == 0:
                self._fill(level // TILE_HEIGHT, first, found, changed)
            else:
                self._reader.remember_nodes(level, first, found)
            if first & 1:
                found.insert(0, self._lone.pop(level))
            if len(found) & 1:
                self._lone[level] = found.pop()
            pairs = iter(found)
            found = [node_hash(left, right) for left, right in zip(pairs, pairs, strict=True)]
            level, first = level + 1, first >> 1
        return changed

    def _fill(
        self, level: int, first: int, found: Sequence[bytes], changed: dict[TileKey, bytes]
    ) -> None:
        """Put hashes into the tiles of their level, from the place `first` on."""
        done = 0
        while done < len(found):
            index, width = divmod(first + done, TILE_WIDTH)
            key, more = (level, index), found[done : done + TILE_WIDTH - width]
            tile = changed[key] = self._edge.pop(key, b"") + b"".join(more)
            if len(tile) < TILE_BYTES:
                self._edge[key] = tile
            else:
                self._reader.remember_tile(key, tile)
            done += len(more)

    def root(self, size: int | None = None) -> bytes:
        """The root now, or when the log had `size` leaves."""
        if size is None or size == self._size:
            return self.frontier().root()
        return self._reader.root(self._within(size))

    def frontier(self) -> merkle.Frontier:
        """The right edge of the log now."""
        return merkle.Frontier(self._size, [self._lone[at] for at in sorted(self._lone)[::-1]])

    def read(self, level: int, index: int) -> bytes:
        """The hash of the perfect subtree (level, index)."""
        self._within((index + 1) << level)
        return self._reader.read(level, index)

    def inclusion(self, index: int, size: int | None = None) -> tuple[bytes, ...]:
        """The audit path of leaf `index` in the log now, or when it had `size` leaves."""
        return self._reader.inclusion(index, self._size if size is None else self._within(size))

    def consistency(self, old_size: int, size: int | None = None) -> tuple[bytes, ...]:
        """The proof that the log of `old_size` is a prefix of the log now, or of `size`."""
        new_size = self._size if size is None else self._within(size)
        return self._reader.consistency(old_size, new_size)

    def _within(self, size: int) -> int:
        if not 0 <= size <= self._size:
            raise BadStatement(f"This log has {self._size} leaves, not yet {size}.")
        return size

    def _read_tile(self, level: int, index: int) -> bytes:
        tile = self._edge.get((level, index))
        return self._stored_tile(level, index) if tile is None else tile
