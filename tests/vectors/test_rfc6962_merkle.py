"""Merkle proofs and hashes against the vectors of transparency-dev/merkle (rfc6962-merkle,
rfc6962-golden)."""

from __future__ import annotations

import json
from base64 import b64decode
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from comity.errors import BadStatement
from comity.log import merkle

SHORT_ROOTS = "sizes are equal (one) and proof is empty"
"""Accepted by the vectors' own verifier although its roots have 12 bytes; a hash has 32 here."""

EMPTY_TREES = "sizes are equal (zero) and proof is empty"
"""Refused by the vectors where others accept 0 to 0; refused here too: nothing can be proven
from the empty tree."""


def cases(folder: Path, kind: str) -> list[dict[str, Any]]:
    found = [
        json.loads(path.read_text())
        for path in sorted((folder / "rfc6962-merkle" / kind).rglob("*.json"))
    ]
    assert len(found) == 98
    return found


def decoded(texts: list[str] | None) -> list[bytes]:
    return [b64decode(text) for text in texts or []]


def verdict(**proof: Any) -> bool:
    try:
        if "index" in proof:
            merkle.verify_inclusion(**proof)
        else:
            merkle.verify_consistency(**proof)
    except BadStatement:
        return False
    return True


def test_inclusion_proofs_get_the_published_verdicts(vectors: Path) -> None:
    accepted = 0
    for case in cases(vectors, "inclusion"):
        found = verdict(
            leaf=b64decode(case["leafHash"]),
            index=case["leafIdx"],
            size=case["treeSize"],
            proof=decoded(case["proof"]),
            root=b64decode(case["root"]),
        )
        assert found is not case["wantErr"], case["desc"]
        accepted += found
    assert accepted > 0


def consistency_verdict(case: dict[str, Any]) -> bool:
    return verdict(
        old_size=case["size1"],
        new_size=case["size2"],
        old_root=b64decode(case["root1"]),
        new_root=b64decode(case["root2"]),
        proof=decoded(case["proof"]),
    )


def test_consistency_proofs_get_the_published_verdicts_but_for_short_roots(vectors: Path) -> None:
    exceptions = 0
    for case in cases(vectors, "consistency"):
        if case["desc"] == SHORT_ROOTS:
            exceptions += 1
            assert case["wantErr"] is False
            assert len(b64decode(case["root1"])) == 12
            assert consistency_verdict(case) is False
            root = b64decode(case["root1"]).ljust(32, b"\x00")
            assert verdict(old_size=1, new_size=1, old_root=root, new_root=root, proof=[])
        else:
            assert consistency_verdict(case) is not case["wantErr"], case["desc"]
    assert exceptions == 1


def test_nothing_is_proven_from_the_empty_tree_even_to_itself(vectors: Path) -> None:
    found = [case for case in cases(vectors, "consistency") if case["desc"] == EMPTY_TREES]
    assert [case["wantErr"] for case in found] == [True]
    with pytest.raises(BadStatement):
        merkle.verify_consistency(
            old_size=0,
            new_size=0,
            old_root=merkle.EMPTY_ROOT,
            new_root=merkle.EMPTY_ROOT,
            proof=[],
        )


def test_hashes_are_the_golden_ones(vectors: Path) -> None:
    golden = json.loads((vectors / "rfc6962-golden" / "hasher-golden.json").read_text())
    assert len(golden["cases"]) == 4
    for case in golden["cases"]:
        match case["op"]:
            case "root":
                found = merkle.EMPTY_ROOT
            case "leaf":
                found = merkle.leaf_hash(bytes.fromhex(case["data_hex"]))
            case "node":
                found = merkle.node_hash(
                    bytes.fromhex(case["left_hex"]), bytes.fromhex(case["right_hex"])
                )
            case other:
                pytest.fail(f"Unknown case {other}")
        assert found.hex() == case["want"], case["desc"]


def test_roots_and_nodes_are_the_golden_ones(vectors: Path) -> None:
    golden = json.loads((vectors / "rfc6962-golden" / "tree-golden.json").read_text())
    frontier = merkle.Frontier()
    roots = [frontier.root().hex()]
    for data in golden["leaf_inputs_hex"]:
        frontier.append(merkle.leaf_hash(bytes.fromhex(data)))
        roots.append(frontier.root().hex())
    assert roots == golden["root_hashes_hex_by_size"]

    nodes = golden["node_hashes_hex_by_level"]
    for level, above in pairwise(nodes):
        pairs = zip(level[::2], level[1::2], strict=True)
        made = [merkle.node_hash(bytes.fromhex(a), bytes.fromhex(b)).hex() for a, b in pairs]
        assert made == above
