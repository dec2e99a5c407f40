"""The exchange of this brand's log key: what is made here, and what the operator answers.

    1. `prepare` makes the next key and a request that both keys have signed
    2. the operator writes ROTATE into clearing's log
    3. the feed brings it: from its size on the node signs by the next key (`node.mirror`)

Nothing waits: until step 3 the old key signs as ever. A node that lost its old key cannot start,
and so cannot hear of it; `answer` puts the operator's answer in while it is stopped.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from google.protobuf import json_format

from comity.clock import Clock
from comity.errors import Conflict, Malformed
from comity.keys import Random
from comity.ledger import exchange, lease, statements
from comity.ledger.engine import opened
from comity.ledger.store import LedgerStore
from comity.log.checkpoint import CheckpointCache
from comity.log.history import KeyHistory, rotation_message
from comity.log.note import SignerKey, VerifierKey
from comity.rpc.authority import create_request
from comity.rpc.tls import brand, load_private, read_key
from comity.v1.operator_pb2 import (
    AdmitParticipantRequest,
    NetworkConfig,
    RotateParticipantKeyRequest,
    RotateParticipantKeyResponse,
)
from node.log_keys import LogKeys
from node.settings import load_settings

REQUEST: Final = "rotation.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A request for the operator, in `file`. `size` is the log's, when it was made."""

    file: Path
    participant: str
    vkey: str
    size: int
    old_key_signed: bool


def prepare(
    folder: Path, *, passphrase: str | None, random: Random, distrust: bool = False
) -> Prepared:
    """Make the next log key, and the request for the operator; again, the same ones.

    With `distrust`, for a stolen key, or without the old key's file, the request names the log's
    size as the last that counts under the old key. Raises Conflict while an earlier exchange has
    not come about.
    """
    settings = load_settings(folder)
    files = LogKeys(folder, passphrase)
    with opened(settings.url(folder)) as engine:
        history = exchange.keys_of(engine, settings.participant)
        size = LedgerStore(engine, settings.participant).head().size
    files.settle(history)
    assert history.current is not None, "only clearing ends a log"
    if history.retired and size <= history.last_size:
        raise Conflict(
            f"The key was exchanged at {history.last_size} entries and the log has {size}; the "
            "next exchange waits until it has passed that size."
        )
    # The old key first: where it is sealed, the next one shall be too.
    old = files.find(history.current.public)
    key = files.following(random)
    vkey = str(VerifierKey.of(settings.origin, key.public))
    message = rotation_message(str(history.current), vkey)
    request = RotateParticipantKeyRequest(
        id=f"rotate-{settings.participant}-{key.key_id}",
        participant=settings.participant,
        vkey=vkey,
        new_signature=key.sign(message),
    )
    if old is None or distrust:
        request.last_size = size
    else:
        request.old_signature = SignerKey(old, history.current).sign(message)
    _write(folder / REQUEST, json_format.MessageToJson(request))
    return Prepared(
        file=folder / REQUEST,
        participant=settings.participant,
        vkey=vkey,
        size=size,
        old_key_signed=bool(request.old_signature),
    )


def renew_request(folder: Path, files: LogKeys, history: KeyHistory) -> None:
    """Have the request for admission, by which certificates are renewed, signed by the log's key
    as it is now."""
    path = folder / "request.json"
    current = history.keys[-1]
    if not path.is_file():
        return
    request = json_format.Parse(path.read_text("utf-8"), AdmitParticipantRequest())
    key = files.find(current.public)
    if request.vkey == str(current) or key is None:
        return
    network, _, participant = current.name.partition("/")
    tls_key = read_key(load_private(folder / "tls.key"))
    asked = create_request(brand(network, participant), tls_key, log_key=key)
    request.id = f"admit-{participant}-{key.key_id}"
    request.vkey = str(current)
    request.certificate_request, request.binding = asked.pem, asked.binding
    _write(path, json_format.MessageToJson(request))


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}")
    partial.write_text(text, "utf-8")
    os.replace(partial, path)


def answer(
    folder: Path, told: RotateParticipantKeyResponse, *, passphrase: str | None, clock: Clock
) -> int:
    """Put the operator's answer into a stopped node; returns the last size of the old key.

    Raises BadStatement if clearing's log does not hold it, Malformed if it is not about this
    node's next key, LeaseHeld while the node serves.
    """
    settings = load_settings(folder)
    config = json_format.Parse((folder / "network.json").read_text("utf-8"), NetworkConfig())
    clearing = VerifierKey.parse(config.clearing_vkey)
    proven = statements.verify(
        told.rotate, origin=clearing.name, verifier=clearing, cache=CheckpointCache(1)
    )
    body = proven.entry.rotate
    new = VerifierKey.parse(body.vkey) if body.vkey else None
    if proven.entry.WhichOneof("body") != "rotate" or new is None or new.name != settings.origin:
        raise Malformed(f"The answer exchanges no key of {settings.origin}.")
    files = LogKeys(folder, passphrase)
    if not files.holds(new.public):
        raise Malformed(
            f"The answer is for the key {new.key_id:08x}, and {folder} has no such key; it "
            "belongs to another copy of this folder."
        )
    with opened(settings.url(folder)) as engine:
        history = exchange.exchange(
            engine,
            ledger=settings.participant,
            new=new,
            last_size=body.last_size,
            signer=files.signer(settings.origin),
            holder=lease.this_process("rotate-key"),
            now_us=clock(),
        )
    files.settle(history)
    return body.last_size
