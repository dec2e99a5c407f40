"""The stored form of the tree: every size answered from tiles, old ones too."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.errors import BadStatement, Malformed
from comity.log import merkle, tiles
from comity.log.merkle import Frontier, leaf_hash
from comity.log.tiles import TileKey, TileReader, TileTree

COUNT = 66_000
LEAVES = [leaf_hash(b"entry %d" % number) for number in range(COUNT)]


class Shelf:
    """Stored tiles, counting reads."""

    def __init__(self) -> None:
        self.kept: dict[TileKey, bytes] = {}
        self.reads = 0

    def read(self, level: int, index: int) -> bytes:
        self.reads += 1
        return self.kept.get((level, index), b"")


def built(shelf: Shelf, leaves: list[bytes], batches: list[int]) -> TileTree:
    tree = TileTree(0, shelf.read)
    at = 0
    for batch in [*batches, len(leaves)]:
        shelf.kept.update(tree.append(leaves[at : at + batch]))
        at += batch
    return tree


@pytest.fixture(scope="module")
def large() -> tuple[Shelf, TileTree]:
    shelf = Shelf()
    return shelf, built(shelf, LEAVES, [1, 254, 1, 1, 1024, 70_000])


def frontier(size: int) -> Frontier:
    found = Frontier()
    found.extend(LEAVES[:size])
    return found


def test_tile_paths_follow_the_specification() -> None:
    assert tiles.tile_path(0, 1234067) == "tile/0/x001/x234/067"
    assert tiles.tile_path(1, 0, 17) == "tile/1/000.p/17"
    assert tiles.tile_path(0, 999) == "tile/0/999"
    assert tiles.tile_path(0, 1000) == "tile/0/x001/000"


@given(st.integers(0, 63), st.integers(0, 2**63 - 1), st.integers(1, 256))
def test_a_tile_path_reads_back(level: int, index: int, width: int) -> None:
    assert tiles.parse_tile_path(tiles.tile_path(level, index, width)) == (level, index, width)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile/0/1",
        "tile/00/001",
        "tile/64/001",
        "tile/0/x000/001",
        "tile/0/001.p/0",
        "tile/0/001.p/256",
        "tile/0/001.p/01",
        "tile/0/001.p/300",
        "tile/0/x001/x234/067/",
        "tile/0/../001",
        "tile/0/\u0661\u0661\u0661",
        "tile/0/001\n",
        "tile/0/" + "x001/" * 30 + "001",
    ],
)
def test_other_paths_are_refused(path: str) -> None:
    with pytest.raises(Malformed):
        tiles.parse_tile_path(path)


@given(st.lists(st.integers(0, 600), max_size=8))
def test_root_and_tiles_do_not_depend_on_the_batches(batches: list[int]) -> None:
    count = sum(batches)
    apart, whole = Shelf(), Shelf()
    tree = built(apart, LEAVES[:count], batches)
    built(whole, LEAVES[:count], [count])
    assert apart.kept == whole.kept
    assert tree.root() == frontier(count).root()
    assert tree.frontier() == frontier(count)
    for (level, index), tile in apart.kept.items():
        assert len(tile) == 32 * tiles.tile_width(level, index, count)


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 65_535, 65_536, 65_537, COUNT])
def test_a_tree_opened_again_goes_on_where_it_stopped(size: int) -> None:
    shelf = Shelf()
    built(shelf, LEAVES[:size], [size])
    shelf.reads = 0
    tree = TileTree(size, shelf.read)
    assert shelf.reads < 12
    assert tree.root() == frontier(size).root()
    more = [leaf_hash(b"more %d" % number) for number in range(300)]
    shelf.kept.update(tree.append(more))
    grown = frontier(size)
    grown.extend(more)
    assert tree.root() == grown.root()
    assert TileTree(size + 300, shelf.read).root() == grown.root()


def test_every_size_is_proven_from_the_newest_tiles(large: tuple[Shelf, TileTree]) -> None:
    shelf, tree = large
    draw = random.Random(7)
    sizes = [1, 2, 255, 256, 257, 511, 65_535, 65_536, 65_537, COUNT]
    sizes += [draw.randint(1, COUNT) for _ in range(20)]
    for size in sizes:
        root = frontier(size).root()
        index, old = draw.randrange(size), draw.randint(1, size)
        for log in (TileReader(shelf.read), tree):
            shelf.reads = 0
            assert log.root(size) == root
            merkle.verify_inclusion(
                leaf=LEAVES[index],
                index=index,
                size=size,
                proof=log.inclusion(index, size),
                root=root,
            )
            merkle.verify_consistency(
                old_size=old,
                new_size=size,
                old_root=log.root(old),
                new_root=root,
                proof=log.consistency(old, size),
            )
            assert shelf.reads <= 16


def test_a_batch_at_the_edge_is_proven_without_reading_storage() -> None:
    shelf = Shelf()
    tree = built(shelf, LEAVES[:1000], [1000])
    shelf.reads = 0
    tree.append(LEAVES[1000:1500])
    root = tree.root()
    for index in range(1000, 1500):
        proof = tree.inclusion(index)
        merkle.verify_inclusion(leaf=LEAVES[index], index=index, size=1500, proof=proof, root=root)
    assert shelf.reads <= 4


def test_a_size_not_reached_is_refused(large: tuple[Shelf, TileTree]) -> None:
    _, tree = large
    for ask in (
        lambda: tree.root(COUNT + 1),
        lambda: tree.inclusion(0, COUNT + 1),
        lambda: tree.inclusion(COUNT),
        lambda: tree.consistency(1, COUNT + 1),
        lambda: tree.consistency(COUNT + 1),
        lambda: tree.read(1, COUNT // 2),
    ):
        with pytest.raises(BadStatement):
            ask()


def test_a_missing_or_cut_tile_is_named() -> None:
    shelf = Shelf()
    built(shelf, LEAVES[:700], [700])
    shelf.kept[0, 1] = shelf.kept[0, 1][:100]
    with pytest.raises(BadStatement, match="tile/0/001"):
        TileReader(shelf.read).inclusion(300, 700)
    del shelf.kept[0, 2]
    with pytest.raises(BadStatement, match="tile/0/002"):
        TileTree(700, shelf.read)


def test_a_tile_that_grew_is_read_again() -> None:
    shelf = Shelf()
    tree = built(shelf, LEAVES[:10], [10])
    reader = TileReader(shelf.read)
    assert reader.root(10) == tree.root()
    shelf.kept.update(tree.append(LEAVES[10:20]))
    assert reader.root(20) == tree.root()


def test_the_memory_of_a_reader_is_bounded(
    large: tuple[Shelf, TileTree], monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf, tree = large
    monkeypatch.setattr(TileReader, "_NODES", 8)
    monkeypatch.setattr(TileReader, "_TILES", 2)
    reader = TileReader(shelf.read)
    for index in range(0, COUNT, 999):
        assert reader.inclusion(index, COUNT) == tree.inclusion(index)
