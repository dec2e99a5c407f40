"""Proof files against the tests of transparency-dev/formats (tlog-proof)."""

from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from comity.errors import BadStatement
from comity.log import proof
from comity.log.proof import TlogProof


@pytest.fixture
def published(vectors: Path) -> dict[str, Any]:
    path = vectors / "tlog-proof" / "transparency-dev-formats.json"
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_good_proofs_are_written_to_the_byte_and_read_back(published: dict[str, Any]) -> None:
    assert len(published["marshal"]) == 3
    for case in published["marshal"]:
        value = TlogProof(
            index=case["index"],
            hashes=tuple(b64decode(text) for text in case["hashes_b64"]),
            checkpoint=case["checkpoint"].encode(),
            extra=b64decode(case["extra_b64"]) if "extra_b64" in case else None,
        )
        assert proof.format(value) == case["want"].encode(), case["name"]
        assert proof.parse(case["want"].encode()) == value, case["name"]


def test_bad_proofs_are_refused(published: dict[str, Any]) -> None:
    assert len(published["unmarshal_errors"]) == 8
    for case in published["unmarshal_errors"]:
        with pytest.raises(BadStatement):
            proof.parse(case["proof"].encode())
