"""The clearing process: the only module which opens files, sockets, threads and the clock.

Protocol, section 6: a start verifies the ledger before anything is signed. Which heads of this
log the brands hold, it learns from their first pulses, and decides nothing for a brand before.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from sqlalchemy import Engine

from clearing import folder as folders
from clearing import recover as recovery
from clearing import tables
from clearing.build import LEDGER, Surroundings, build
from clearing.folder import MIGRATIONS, Folder
from clearing.recover import Recovered
from clearing.roster import Roster
from clearing.store import ClearingStore
from comity.clock import system_clock
from comity.ledger import guard, lease, migrate
from comity.ledger.engine import opened, writer
from comity.ledger.runner import Threads
from comity.ledger.steps import kill_at_from_environment
from comity.rpc import tls
from comity.rpc.channel import Channel, connect
from comity.rpc.logging import configure_logging, get_logger
from comity.rpc.metrics import Metrics, serve_metrics
from comity.rpc.request_id import request_ids
from comity.rpc.server import Listener, ListenerSettings
from comity.rpc.tls import ClientTls
from comity.serve.process import serve

READERS = 4

Ready = Callable[[Mapping[str, int]], None]
"""Is told the ports by listener name."""


async def run(path: Path, *, ready: Ready = lambda _: None) -> None:
    """Serve the clearing folder at `path` until stopped.

    `ready` is told the ports by listener name. Raises a LedgerFault instead of serving a ledger
    that must not be served.
    """
    folder = folders.read(path)
    configure_logging(stream=sys.stderr, clock=system_clock, level=folder.settings.log_level)
    with opened(folder.url) as engine:
        await _serve(folder, engine, ready)


async def _serve(folder: Folder, engine: Engine, ready: Ready) -> None:
    clock = system_clock
    log = get_logger(origin=folder.signer.origin)
    migrate.create_or_upgrade(engine, tables.metadata, MIGRATIONS)
    head_file = folder.head_file
    held = guard.open_ledger(
        engine,
        ledger=LEDGER,
        network=folder.settings.network,
        signer=folder.signer,
        holder=lease.this_process(secrets.token_hex(4)),
        now_us=clock(),
        head_file=head_file,
    )
    metrics = Metrics()
    page = None
    if folder.settings.metrics_port:
        page = serve_metrics(metrics, port=folder.settings.metrics_port)
    write, readers = Threads("writer"), Threads("reader", READERS)
    new_request_id = request_ids(secrets.token_bytes)
    channels = Channels(folder, ClearingStore(engine, LEDGER))
    clearing = build(
        folder.config,
        folder.settings.rules,
        Surroundings(
            engine=engine,
            lease=held,
            signer=folder.signer,
            authority=folder.authority,
            secret=folder.secret,
            clock=clock,
            random=secrets.token_bytes,
            write=write,
            read=readers,
            peers=channels.to,
            log=log,
            metrics=metrics,
            rates=folder.settings.rates,
            head_file=head_file,
            fault=kill_at_from_environment(),
        ),
    )
    listeners = [
        Listener(
            ListenerSettings(
                name="peer",
                address=folder.settings.peer_address,
                tls=folder.server_tls(peers_only=True),
            ),
            clearing.peer,
            new_request_id=new_request_id,
        ),
        Listener(
            ListenerSettings(
                name="public",
                address=folder.settings.public_address,
                tls=folder.server_tls(peers_only=False),
            ),
            clearing.public,
            new_request_id=new_request_id,
        ),
    ]
    try:
        await serve(
            listeners=listeners,
            loops=clearing.loops,
            queue=clearing.queue,
            log=log,
            ready=ready,
            stopping=clearing.feed.close,
        )
    finally:
        await channels.close()
        write.close()
        readers.close()
        if page is not None:
            page.close()


async def recover(path: Path) -> Recovered:
    """Refill a lost tail of the log of the clearing folder at `path`; see `clearing.recover`."""
    folder = folders.read(path)
    with opened(folder.url) as engine:
        migrate.create_or_upgrade(engine, tables.metadata, MIGRATIONS)
        held = guard.open_ledger(
            engine,
            ledger=LEDGER,
            network=folder.settings.network,
            signer=folder.signer,
            holder=lease.this_process(secrets.token_hex(4)),
            now_us=system_clock(),
        )
        channels = Channels(folder, ClearingStore(engine, LEDGER))
        try:
            return await recovery.recover(
                engine=engine,
                lease=held,
                signer=folder.signer,
                network=folder.settings.network,
                peers=channels.to,
                clock=system_clock,
                random=secrets.token_bytes,
                head_file=folder.head_file,
            )
        finally:
            await channels.close()
            with writer(engine).begin() as connection:
                lease.release(connection, held)


class Channels:
    """Channels to the brands' peer listeners, opened when first asked for."""

    def __init__(self, folder: Folder, store: ClearingStore) -> None:
        self._folder = folder
        self._store = store
        self._new_request_id = request_ids(secrets.token_bytes)
        self._open: dict[tuple[str, str], Channel] = {}

    def to(self, participant: str) -> Channel:
        """A channel to one brand, at the address it was last admitted with."""
        network = self._folder.settings.network
        member = Roster(network, self._store.participants()).member(participant)
        at = (participant, member.peer_address)
        if at not in self._open:
            self._open[at] = connect(
                member.peer_address,
                tls=ClientTls(
                    roots_pem=self._folder.authority.pem,
                    server_name=tls.brand(network, participant).server_name,
                    key_pem=self._folder.tls_key,
                    certificate_pem=self._folder.tls_certificate,
                ),
                new_request_id=self._new_request_id,
            )
        return self._open[at]

    async def close(self) -> None:
        """Close every channel."""
        for channel in self._open.values():
            await channel.close()
