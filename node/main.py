"""A node's process: the only module which opens files, sockets, threads and the clock.

Protocol, section 6: a start verifies the ledger, and signs nothing before clearing has said
which head of this log it knows.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from sqlalchemy import Engine

from comity.clock import system_clock
from comity.ledger import guard, lease, migrate
from comity.ledger.engine import opened
from comity.ledger.runner import Threads
from comity.ledger.steps import kill_at_from_environment
from comity.rpc import tls
from comity.rpc.channel import Channel, connect
from comity.rpc.logging import configure_logging, get_logger
from comity.rpc.metrics import Metrics, serve_metrics
from comity.rpc.request_id import request_ids
from comity.rpc.server import Listener, ListenerSettings
from comity.serve.process import serve
from node import folder as folders
from node import rotation, tables
from node.build import Node, Surroundings, build
from node.folder import Folder
from node.init import MIGRATIONS
from node.webhooks.http import HttpPost

Ready = Callable[[Mapping[str, int]], None]
"""Is told the ports by listener name."""


async def run(path: Path, *, ready: Ready = lambda _: None) -> None:
    """Serve the node in the folder at `path` until stopped.

    `ready` is told the ports by listener name. Raises a LedgerFault instead of serving a ledger
    that must not be served.
    """
    folder = folders.read(path)
    configure_logging(stream=sys.stderr, clock=system_clock, level=folder.settings.log_level)
    with opened(folder.url) as engine:
        await _serve(path, folder, engine, ready)


async def _serve(path: Path, folder: Folder, engine: Engine, ready: Ready) -> None:
    settings, clock = folder.settings, system_clock
    log = get_logger(origin=folder.signer.origin)
    migrate.create_or_upgrade(engine, tables.metadata, MIGRATIONS)
    head_file = folder.head_file
    held = guard.open_ledger(
        engine,
        ledger=settings.participant,
        network=settings.network,
        signer=folder.signer,
        holder=lease.this_process(secrets.token_hex(4)),
        now_us=clock(),
        head_file=head_file,
    )
    folder.log_keys.settle(folder.signer.history)
    rotation.renew_request(path, folder.log_keys, folder.signer.history)
    metrics = Metrics()
    page = None
    if settings.metrics_port:
        page = serve_metrics(metrics, port=settings.metrics_port)
    write, readers = Threads("writer"), Threads("reader", settings.read_threads)
    neighbours = Neighbours(folder)
    post = HttpPost(clock)
    node = build(
        folder.brand,
        Surroundings(
            engine=engine,
            lease=held,
            signer=folder.signer,
            secret=folder.secret,
            clock=clock,
            random=secrets.token_bytes,
            write=write,
            read=readers,
            clearing=neighbours.clearing(),
            connect=neighbours.brand,
            log=log,
            metrics=metrics,
            head_file=head_file,
            fault=kill_at_from_environment(),
            post=post,
        ),
        folder.limits,
    )
    try:
        await serve(
            listeners=listeners(folder, node),
            loops=node.loops,
            queue=node.queue,
            log=log,
            ready=ready,
            stopping=node.network.desk.close,
            grace_s=folder.settings.drain_seconds,
        )
    finally:
        await node.close()
        await post.close()
        write.close()
        readers.close()
        if page is not None:
            page.close()


def listeners(folder: Folder, node: Node) -> list[Listener]:
    """The two ports of a node."""
    settings = folder.settings
    new_request_id = request_ids(secrets.token_bytes)
    return [
        Listener(
            ListenerSettings(
                name=name,
                address=address,
                tls=folder.server_tls(peers_only=name == "peer"),
                max_concurrent_calls=settings.max_concurrent_calls,
            ),
            endpoint,
            new_request_id=new_request_id,
        )
        for name, address, endpoint in (
            ("peer", settings.peer_address, node.peer),
            ("public", settings.public_address, node.public),
        )
    ]


class Neighbours:
    """Channels to clearing and to brands, each to exactly the one that is meant."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._new_request_id = request_ids(secrets.token_bytes)

    def clearing(self) -> Channel:
        """A channel to clearing's peer listener."""
        config = self._folder.config
        return self._connect(config.clearing_peer_address, tls.clearing(config.network))

    def brand(self, participant: str, address: str) -> Channel:
        """A channel to a brand's peer listener."""
        return self._connect(address, tls.brand(self._folder.settings.network, participant))

    def _connect(self, address: str, subject: tls.Subject) -> Channel:
        return connect(
            address,
            tls=self._folder.client_tls(subject),
            new_request_id=self._new_request_id,
            default_timeout_s=self._folder.settings.call_seconds,
        )
