"""Signed notes and checkpoints against the examples of C2SP and the tests of golang/mod."""

from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from comity.errors import BadStatement, Malformed
from comity.log import checkpoint, note, tiles
from comity.log.note import SignerKey, VerifierKey

REASONS = {
    "malformed": "signature line|blank line|control characters|UTF-8|more than 100",
    "unverified": "no signature of a known key",
    "error:ambiguous key": "Two keys",
    "error:invalid signature": "does not fit",
}
"""Each published result, and what our refusal says."""


@pytest.fixture
def golang(vectors: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        (vectors / "signed-note" / "golang-mod-note.json").read_text()
    )
    return found


@pytest.fixture
def examples(vectors: Path) -> dict[str, dict[str, Any]]:
    text = (vectors / "signed-note" / "c2sp-spec-examples.json").read_text()
    return {case["name"]: case for case in json.loads(text)["cases"]}


def test_valid_keys_are_read_and_written_back(golang: dict[str, Any]) -> None:
    for text in golang["vkeys_valid"]:
        assert str(VerifierKey.parse(text)) == text


def test_invalid_keys_are_refused(golang: dict[str, Any]) -> None:
    for text in golang["vkeys_invalid"]:
        with pytest.raises(Malformed):
            VerifierKey.parse(text)


@pytest.mark.parametrize("kind", ["verifier", "signer"])
def test_every_mangled_key_is_refused(golang: dict[str, Any], kind: str) -> None:
    text = golang["vkeys_valid"][0] if kind == "verifier" else golang["sign"]["skey"]
    parse = VerifierKey.parse if kind == "verifier" else SignerKey.parse
    parse(text)
    parts = {text[a:b] for a in range(len(text)) for b in range(a, len(text) + 1)} - {text}
    changed = {text[:a] + chr(ord(text[a]) + 1) + text[a + 1 :] for a in range(len(text))}
    for mangled in parts | changed:
        with pytest.raises(Malformed):
            parse(mangled)


def test_a_note_is_signed_to_the_byte(golang: dict[str, Any]) -> None:
    case = golang["sign"]
    assert note.sign(case["text"], SignerKey.parse(case["skey"])) == case["want"]


def test_what_no_note_can_hold_is_not_signed(golang: dict[str, Any]) -> None:
    signer = SignerKey.parse(golang["sign"]["skey"])
    for case in golang["sign_errors"]:
        existing = [note.Signature(name, 1, b"1") for name in [case.get("sig_name")] if name]
        with pytest.raises(Malformed):
            note.sign(case.get("text", "text\n"), signer, existing)


def test_notes_are_opened_with_the_published_results(golang: dict[str, Any]) -> None:
    assert len(golang["open"]) == 16
    for case in golang["open"]:
        data = b64decode(case["note_b64"])
        verifiers = [VerifierKey.parse(text) for text in case["verifiers"]]
        if case["want"] == "ok":
            opened = note.open_note(data, verifiers)
            assert data.decode().startswith(opened.text + "\n")
            assert [found.name for found in opened.signatures] == case["verified"]
            assert [found.name for found in opened.unverified] == case["unverified"]
        else:
            with pytest.raises(Malformed, match=REASONS[case["want"]]):
                note.open_note(data, verifiers)


def test_the_example_note_verifies(examples: dict[str, dict[str, Any]]) -> None:
    case = examples["signed-note example"]
    verifier = VerifierKey.parse(case["vkey"])
    opened = note.open_note(case["note"], [verifier])
    assert opened.text == "This is an example message.\n"
    assert opened.unverified == ()


@pytest.mark.parametrize("name", ["checkpoint example", "cosigned checkpoint example"])
def test_the_example_checkpoints_are_read(examples: dict[str, dict[str, Any]], name: str) -> None:
    data = examples[name]["note"].encode()
    found = checkpoint.read_checkpoint(data)
    assert (found.origin, found.size) == ("example.com/behind-the-sofa", 20852163)
    assert checkpoint.format(found) == data.decode().split("\n\n")[0] + "\n"
    text, signatures = note.split(data)
    assert text + "\n" + "".join(signature.line() for signature in signatures) == data.decode()


def test_two_keys_of_one_name_may_sign(examples: dict[str, dict[str, Any]]) -> None:
    request = examples["add-checkpoint request example"]["request"]
    _, _, signed = request.partition("\n\n")
    _, signatures = note.split(signed)
    assert [found.name for found in signatures] == ["example.com/behind-the-sofa"] * 2
    assert signatures[0].key_id != signatures[1].key_id


def test_a_note_of_an_unknown_key_is_refused(examples: dict[str, dict[str, Any]]) -> None:
    verifier = VerifierKey.parse(examples["signed-note example"]["vkey"])
    with pytest.raises(BadStatement):
        checkpoint.open_checkpoint(
            examples["checkpoint example"]["note"].encode(),
            origin="example.com/behind-the-sofa",
            verifier=verifier,
        )


def test_partial_tiles_have_the_published_widths(examples: dict[str, dict[str, Any]]) -> None:
    arithmetic = examples["partial tile arithmetic"]
    for case in arithmetic["cases"]:
        size = case["size"]
        for level in range(3):
            full = (size >> 8 * level) // 256
            if (wanted := case.get(f"level{level}_full")) is not None:
                assert full == wanted
                assert wanted == 0 or tiles.tile_width(level, wanted - 1, size) == 256
            if (wanted := case.get(f"level{level}_partial")) is not None:
                assert tiles.tile_width(level, full, size) == wanted
    for case in arithmetic["paths"]:
        assert tiles.tile_path(0, case["index"]) == f"tile/0/{case['path']}"
