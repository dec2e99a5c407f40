"""Ed25519 verification against Project Wycheproof."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from comity.errors import Malformed
from comity.keys import PublicKey

REFUSED_KEYS: dict[int, str] = {}
"""Cases that Wycheproof calls valid and that we refuse for their public key, by case number.
There is none: every key of its valid cases is canonical and of large order."""


def test_signatures_get_the_published_verdicts(vectors: Path) -> None:
    groups = json.loads((vectors / "wycheproof" / "ed25519_test.json").read_text())["testGroups"]
    verdicts = Counter[str]()
    for group in groups:
        raw = bytes.fromhex(group["publicKey"]["pk"])
        for case in group["tests"]:
            try:
                holds = PublicKey.from_bytes(raw).verify(
                    bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"])
                )
            except Malformed:
                holds = False
            wanted = case["result"] == "valid" and case["tcId"] not in REFUSED_KEYS
            assert holds is wanted, f"case {case['tcId']}: {case['comment']}"
            verdicts[case["result"]] += 1
    assert verdicts == {"valid": 88, "invalid": 63}
