"""The files of a wallet: JSON which only its owner may read, written whole or not at all."""

from __future__ import annotations

import base64
import binascii
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from comity.errors import Malformed, NotFound

FOLDER_MODE = 0o700
FILE_MODE = 0o600


def make_folder(folder: Path) -> None:
    """The folder, with what lies above it; only its owner may enter."""
    folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)


def check_private(folder: Path) -> None:
    """Raise Malformed if others may look into the folder."""
    if folder.stat().st_mode & 0o077:
        raise Malformed(f"Others can read {folder}; run: chmod 700 {folder}")


def write(path: Path, data: bytes) -> None:
    """Write a file so that after a crash it holds all of `data` or what it held before."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync(path.parent)


def sync(folder: Path) -> None:
    """Make names written into or removed from the folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    write(path, json.dumps(content, indent=2, ensure_ascii=False).encode() + b"\n")


def read_json(path: Path, *, form: str) -> dict[str, Any]:
    """The content of a file whose `format` is `form`. Raises NotFound, or Malformed."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise NotFound(f"There is no file {path}.") from None
    try:
        content = json.loads(data)
    except ValueError:
        content = None
    if not isinstance(content, dict) or content.get("format") != form:
        raise Malformed(f"{path} is not a file of the form {form}; restore it from a copy.")
    return content


def remove(path: Path) -> None:
    """Remove a file for good, if it is there."""
    path.unlink(missing_ok=True)
    sync(path.parent)


def names(folder: Path) -> Iterator[str]:
    """The names, without suffix, of the visible entries of a folder; none if it is not there."""
    if folder.is_dir():
        yield from sorted(path.stem for path in folder.iterdir() if not path.name.startswith("."))


def to_text(data: bytes) -> str:
    """Bytes as JSON holds them: base64."""
    return base64.b64encode(data).decode()


def to_bytes(text: str) -> bytes:
    """The bytes in a text of `to_text`. Raises Malformed."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise Malformed("A wallet file is damaged; restore it from a copy.") from None
