"""A whole network on this machine: clearing and brands, each its own process and database.

Used by the demonstration, by benchmarks and by tests. Folders are made by the same functions as
`comity clearing init`, `comity node init` and `comity node join`, brands are admitted by the
operator over mutual TLS, and every server is a process of the `comity` command.

    async with Network(folder, brands=[Brand(id="grocery", name="Grocery")]) as network:
        await network.operator.list_participants()
        await network.kill("grocery")
        await network.start("grocery")
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Literal

from google.protobuf import json_format

import clearing.folder
import node.init
from cli.access import MANAGER_KEY, operator_channel
from cli.demo.patience import patiently
from cli.demo.process import ServerProcess
from comity import keys
from comity.client.connection import Server, connect
from comity.client.merchant import MerchantClient
from comity.client.office import OfficeClient
from comity.client.operator import OperatorClient
from comity.client.programme import ProgrammeClient
from comity.client.session import key_name
from comity.clock import Clock, system_clock
from comity.keys import SigningKey
from comity.rpc.channel import Channel
from comity.v1.common_pb2 import Money
from comity.v1.operator_pb2 import AdmitParticipantRequest

HOST: Final = "127.0.0.1"
CLEARING: Final = "clearing"

DatabaseUrl = Callable[[str], str]
"""The database URL for an organisation (a brand's id or `clearing`); empty for SQLite in its
folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Brand:
    """A brand to be founded. An empty programme is the one `node init` writes; no caps mean a
    net debit cap of zero."""

    id: str
    name: str = ""
    programme: str = ""
    caps: Sequence[Money] = ()


class Network:
    """A network of processes. Entering it creates what its folder does not hold, and starts all."""

    def __init__(
        self,
        folder: Path,
        *,
        brands: Iterable[Brand],
        name: str = "network.example",
        database: Literal["sqlite"] | DatabaseUrl = "sqlite",
        clock: Clock = system_clock,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.name = name
        self.brands = {brand.id: brand for brand in brands}
        self._database = database
        self._clock = clock
        self._environment = dict(environment or {})
        self._processes: dict[str, ServerProcess] = {}
        self._open = AsyncExitStack()
        self._operator: OperatorClient | None = None
        self._managers: dict[str, MerchantClient] = {}

    # Its life.

    async def __aenter__(self) -> Network:
        try:
            await self._found()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Close connections and end every process in order, brands before clearing."""
        await self._open.aclose()
        self._operator, self._managers = None, {}
        brands = [one for name, one in self._processes.items() if name != CLEARING and one.running]
        await asyncio.gather(*(one.stop() for one in brands))
        if CLEARING in self._processes and self._processes[CLEARING].running:
            await self._processes[CLEARING].stop()

    async def start(self, name: str, environment: Mapping[str, str] | None = None) -> None:
        """Start an organisation's process again and wait until it serves."""
        self._processes[name].start({**self._environment, **(environment or {})})
        await self._processes[name].until_serving()

    async def kill(self, name: str) -> None:
        """End an organisation's process at once, as a power cut would."""
        await self._processes[name].kill()

    def obituary(self) -> str:
        """What the processes which have ended wrote last; empty while all run."""
        ended = [one for one in self._processes.values() if not one.running]
        return "\n".join(f"{one.name} has ended.\n{one.last_lines()}" for one in ended)

    def process(self, name: str) -> ServerProcess:
        """The process of a brand, or of `clearing`."""
        return self._processes[name]

    # Who and where.

    @property
    def in_postgresql(self) -> bool:
        """Whether the databases are on a server, and not in the folders."""
        return self._database != "sqlite"

    def home(self, name: str) -> Path:
        """The folder of a brand, or of `clearing`."""
        return self.folder / name

    def origin(self, name: str) -> str:
        """The origin of an organisation's log."""
        return f"{self.name}/{name}"

    def server(self, name: str) -> Server:
        """The public listener of a brand, or of `clearing`."""
        return self._processes[name].server

    @property
    def ca_file(self) -> Path:
        """The certificate that everybody in the network trusts."""
        return self.home(CLEARING) / "ca.crt"

    # Clients, in the roles which the folders hold keys for.

    @property
    def operator(self) -> OperatorClient:
        """The operator's staff at clearing."""
        if self._operator is None:
            self._operator = OperatorClient(self.closed_at_end(operator_channel(self._clearing)))
        return self._operator

    def manager(self, brand: str) -> MerchantClient:
        """A brand's first manager."""
        if brand not in self._managers:
            key = keys.load(self.home(brand) / MANAGER_KEY)
            self._managers[brand] = self.merchant(brand, key)
        return self._managers[brand]

    def office(self, brand: str, key: SigningKey | None = None) -> OfficeClient:
        """What a brand's manager, the first unless a key says another, operates with."""
        key = key or keys.load(self.home(brand) / MANAGER_KEY)
        return OfficeClient(self.closed_at_end(connect(self.server(brand), key=key)))

    def programme(self, brand: str) -> ProgrammeClient:
        """A brand's programme at work, for its first manager."""
        key = keys.load(self.home(brand) / MANAGER_KEY)
        return ProgrammeClient(self.closed_at_end(connect(self.server(brand), key=key)))

    async def till(self, brand: str, name: str = "till") -> MerchantClient:
        """A new till of a brand, with a key of its own."""
        key = SigningKey.generate(secrets.token_bytes)
        await self.add_staff(brand, role="till", name=name, key=key)
        return self.merchant(brand, key)

    async def add_staff(self, brand: str, *, role: str, name: str, key: SigningKey) -> None:
        """Register a key for a till, a manager or an auditor at a brand."""
        add = partial(
            self.manager(brand).add_staff_key,
            id=f"staff-{key_name(key)}",
            role=role,
            name=name,
            public_key=key.public.raw,
        )
        await patiently(add)

    def merchant(self, brand: str, key: SigningKey) -> MerchantClient:
        """Staff of a brand, by their key."""
        return MerchantClient(self.closed_at_end(connect(self.server(brand), key=key)))

    def closed_at_end(self, channel: Channel) -> Channel:
        """The channel, which is closed with the network."""
        self._open.push_async_callback(channel.close)
        return channel

    # Founding.

    @property
    def _clearing(self) -> Path:
        return self.home(CLEARING)

    async def _found(self) -> None:
        """1. create clearing, and start it
        2. create the nodes; once clearing serves, the operator admits each, which joins
        3. start the nodes
        """
        ports = free_ports(2 * (1 + len(self.brands)))
        addresses = [f"{HOST}:{port}" for port in ports]
        # 1. Clearing.
        await asyncio.to_thread(
            clearing.folder.create,
            self._clearing,
            network=self.name,
            peer_address=addresses[0],
            public_address=addresses[1],
            database_url=self._url(CLEARING),
            clock=self._clock,
            random=secrets.token_bytes,
        )
        self._add(CLEARING, ("clearing", "run", "--clearing", str(self._clearing)), addresses[1])
        self.process(CLEARING).start()
        # 2. Nodes.
        pairs = list(zip(addresses[2::2], addresses[3::2], strict=True))
        for brand, (peer, public) in zip(self.brands.values(), pairs, strict=True):
            await asyncio.to_thread(self._create, brand, peer_address=peer, public_address=public)
            self._add(brand.id, ("node", "run", "--node", str(self.home(brand.id))), public)
        await self.process(CLEARING).until_serving()
        for brand in self.brands.values():
            await self._admit(brand)
        # 3. All at once, as machines after a power cut.
        await asyncio.gather(*(self.start(brand) for brand in self.brands))

    def _create(self, brand: Brand, *, peer_address: str, public_address: str) -> None:
        node.init.init(
            self.home(brand.id),
            network=self.name,
            participant=brand.id,
            display_name=brand.name,
            peer_address=peer_address,
            public_address=public_address,
            database_url=self._url(brand.id),
            programme=brand.programme.encode(),
            clock=self._clock,
            random=secrets.token_bytes,
        )

    async def _admit(self, brand: Brand) -> None:
        home = self.home(brand.id)
        request = json_format.Parse(
            (home / "request.json").read_text("utf-8"), AdmitParticipantRequest()
        )
        request.caps.extend(brand.caps)
        admit = partial(self.operator.admit_participant, request)
        node.init.join(home, await patiently(admit))

    def _add(self, name: str, arguments: Sequence[str], public_address: str) -> None:
        server = Server(
            address=public_address, roots_pem=self.ca_file.read_bytes(), origin=self.origin(name)
        )
        self._processes[name] = ServerProcess(
            name, arguments, server=server, log_file=self.home(name) / "server.log"
        )

    def _url(self, name: str) -> str:
        return "" if self._database == "sqlite" else self._database(name)


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on just now, all different."""
    with ExitStack() as held:
        found = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in found:
            one.bind((HOST, 0))
        return [int(one.getsockname()[1]) for one in found]
