"""Creating a node: `init` makes its folder, `join` puts in what the operator answered.

The folder holds everything a node is: `settings.toml`, `programme.yaml`, the keys `log.key`,
`secret.key`, `tls.key`, `manager.key`, the request for admission `request.json`, the database
`node.db` unless it is elsewhere, the head file `head`; and once admitted `tls.crt`, `network.json`.
Only `init` creates a ledger. It never overwrites anything.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from google.protobuf import json_format

from comity import keys
from comity.clock import Clock
from comity.errors import ComityError, Conflict, Malformed
from comity.keys import PublicKey, SigningKey
from comity.ledger import guard, lease
from comity.ledger.engine import open_engine
from comity.ledger.guard import HeadFile
from comity.ledger.migrate import create_or_upgrade
from comity.ledger.sequencer import Sequencer
from comity.ledger.signer import LogSigner
from comity.log.note import VerifierKey
from comity.rpc.authority import create_request
from comity.rpc.tls import (
    brand,
    identity_from_certificate,
    key_pem,
    new_tls_key,
    save_private,
    spki_sha256,
    verify_binding,
)
from comity.rpc.tls import load_private as load_secret
from comity.rpc.tls import read_key as read_tls_key
from comity.rpc.tokens import new_secret
from comity.v1 import operator_pb2
from node import operation_tables, redemption_tables, staff, tables
from node.book import NodeBook, Rules
from node.commands import INTERNAL, AddStaffKey
from node.log_keys import LogKeys
from node.programme import read_programme
from node.sandbox import check_sandbox
from node.settings import FILE, NodeSettings, load_settings

MIGRATIONS: Final = Path(__file__).parent / "migrations"

PROGRAMME: Final = """\
# How this brand's points are earned and spent. Change it as you like; a changed programme needs
# a new version, and takes effect when the node starts again.
version: "1"
name: NAME
zone: UTC
currency: EUR

units:
  points:
    kind: hard
    # `days`, `months`, `calendar_years`; leave it out for points that never expire.
    expiry: {months: 24}
    # Refunded points that are spent: `within_balance` forgives them, `debt` lets the member owe
    # them.
    clawback: within_balance
    # How long points live that come back, from a reversed redemption, after they have expired.
    expired_lot_grace_days: 30

# One point for every 100 minor units (cents) of a purchase, rounded down.
earn:
  purchase: {on: purchase, rate: {points: 1, per_minor: 100}}

# Points are pending, not spendable, until a purchase can no longer be returned.
return_window_days: 0
# How old a purchase may be when it is recorded.
backdate_days: 30

redemptions_per_day: 100
redeemed_points_per_day: 1000000
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """What `init` made: where, and by which keys others will know the node."""

    folder: Path
    origin: str
    vkey: str
    manager_key: Path | None


def init(
    folder: Path,
    *,
    network: str,
    participant: str,
    display_name: str = "",
    peer_address: str = "127.0.0.1:7701",
    public_address: str = "127.0.0.1:7702",
    database_url: str = "",
    programme: bytes = b"",
    manager: PublicKey | None = None,
    passphrase: str | None = None,
    clock: Clock,
    random: Callable[[int], bytes],
) -> Created:
    """Create a node in `folder`: keys, settings, an empty ledger, the request for admission.

    `manager` is the first manager's key; without it one is made, as `manager.key`. A passphrase
    seals `log.key`. Raises
    Conflict if there is a node already, Malformed for a wrong name, address or programme.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / FILE).exists() or (folder / "log.key").exists():
        raise Conflict(f"{folder} holds a node already; choose another folder.")
    with _all_or_nothing(folder):
        return _create(
            folder,
            network=network,
            participant=participant,
            display_name=display_name,
            peer_address=peer_address,
            public_address=public_address,
            database_url=database_url,
            programme=programme,
            manager=manager,
            passphrase=passphrase,
            clock=clock,
            random=random,
        )


def _create(
    folder: Path,
    *,
    network: str,
    participant: str,
    display_name: str,
    peer_address: str,
    public_address: str,
    database_url: str,
    programme: bytes,
    manager: PublicKey | None,
    passphrase: str | None = None,
    clock: Clock,
    random: Callable[[int], bytes],
) -> Created:
    text = _settings_text(
        network=network,
        participant=participant,
        display_name=display_name,
        peer_address=peer_address,
        public_address=public_address,
        database_url=database_url,
    )
    named = PROGRAMME.replace("NAME", json.dumps(display_name or participant))
    content = programme or named.encode()
    read = read_programme(content)
    check_sandbox(read.programme, network)
    subject = brand(network, participant)
    (folder / FILE).write_text(text)
    settings = load_settings(folder)
    (folder / "programme.yaml").write_bytes(content)
    log_key = SigningKey.generate(random)
    LogKeys(folder, passphrase).save(log_key, random=random)
    save_private(folder / "secret.key", new_secret(random).value)
    tls_key = new_tls_key()
    save_private(folder / "tls.key", key_pem(tls_key))
    signer = LogSigner(settings.origin, log_key)
    request = create_request(subject, tls_key, log_key=log_key)
    admission = operator_pb2.AdmitParticipantRequest(
        id=f"admit-{participant}-{log_key.key_id}",
        certificate_request=request.pem,
        vkey=signer.vkey,
        binding=request.binding,
        display_name=display_name or participant,
        peer_address=peer_address,
        public_address=public_address,
    )
    (folder / "request.json").write_text(json_format.MessageToJson(admission))
    manager_file = None
    if manager is None:
        manager_key = SigningKey.generate(random)
        manager_file = folder / "manager.key"
        keys.save(manager_file, manager_key, random=random)
        manager = manager_key.public
    rules = Rules(network=network, participant=participant, programme=read.programme)
    _create_ledger(folder, settings, signer, rules, manager, clock=clock, random=random)
    return Created(folder=folder, origin=signer.origin, vkey=signer.vkey, manager_key=manager_file)


def join(
    folder: Path,
    answer: operator_pb2.AdmitParticipantResponse,
    *,
    passphrase: str | None = None,
) -> None:
    """Put the operator's answer into the folder: the certificate, and how to reach clearing.

    Raises Malformed unless it is for this node: its name, its key, and its own log's binding.
    """
    settings = load_settings(folder)
    identity = identity_from_certificate(answer.certificate)
    subject = brand(settings.network, settings.participant)
    key = read_tls_key(load_secret(folder / "tls.key")).public_key()
    if identity.subject != subject or identity.spki_sha256 != spki_sha256(key):
        raise Malformed(
            f"The certificate is for {identity.subject.uri} or for another key, not for the "
            f"request of {subject.uri}; ask the operator to answer request.json of this folder."
        )
    if answer.network.network != settings.network:
        raise Malformed(
            f"The answer belongs to the network {answer.network.network}, and this node to "
            f"{settings.network}."
        )
    log_key = VerifierKey.parse(LogKeys(folder, passphrase).signer(settings.origin).vkey)
    verify_binding(
        subject,
        spki_sha256=identity.spki_sha256,
        binding=identity.binding,
        log_key=log_key.public,
    )
    (folder / "tls.crt").write_bytes(answer.certificate)
    (folder / "network.json").write_text(json_format.MessageToJson(answer.network))


@contextmanager
def _all_or_nothing(folder: Path) -> Iterator[None]:
    """Leave the folder as it was if the block fails, so that `init` can simply be repeated."""
    before = {*folder.iterdir()}
    try:
        yield
    except BaseException:
        for made in {*folder.iterdir()} - before:
            made.unlink()
        raise


def _create_ledger(
    folder: Path,
    settings: NodeSettings,
    signer: LogSigner,
    rules: Rules,
    manager: PublicKey,
    *,
    clock: Clock,
    random: Callable[[int], bytes],
) -> None:
    assert redemption_tables.REDEMPTION_TABLES, "part of the schema"
    assert operation_tables.OPERATION_TABLES, "part of the schema"
    engine = open_engine(settings.url(folder))
    head_file = HeadFile(folder / "head")
    try:
        create_or_upgrade(engine, tables.metadata, MIGRATIONS)
        guard.init_ledger(
            engine,
            ledger=settings.participant,
            network=settings.network,
            signer=signer,
            now_us=clock(),
            head_file=head_file,
        )
        held = guard.open_ledger(
            engine,
            ledger=settings.participant,
            network=settings.network,
            signer=signer,
            holder=lease.this_process("init"),
            now_us=clock(),
            head_file=head_file,
        )
        sequencer = Sequencer(
            engine=engine,
            lease=held,
            book=NodeBook(rules, staff.HANDLERS),
            signer=signer,
            clock=clock,
            random=random,
            head_file=head_file,
        )
        command = AddStaffKey(
            caller=INTERNAL, id="init", role="manager", name="owner", public_key=manager.raw
        )
        (outcome,) = sequencer.run_batch([command])
        sequencer.close()
        if isinstance(outcome, ComityError):
            raise outcome
    finally:
        engine.dispose()


def _settings_text(**values: str) -> str:
    """The settings file: strings only, and only those that say something."""
    lines = [f"{name} = {json.dumps(value)}" for name, value in values.items() if value]
    return "# Every setting: node/settings.py. COMITY_NODE_<NAME> wins over this file.\n" + (
        "\n".join(lines) + "\n"
    )
