"""The plainest RPC there is: a unary echo over mutual TLS, its server a process of its own.

`python -m bench.echo FOLDER` serves; it prints its port, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
import grpc.aio

from comity.clock import system_clock
from comity.rpc.authority import create_ca, create_request, issue_certificate
from comity.rpc.tls import key_pem, new_tls_key, operator, save_private

PATH = "/bench.Echo/Echo"
PAYLOAD = bytes(200)
HOST = "127.0.0.1"


class Echo:
    """The server's process and a channel to it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: grpc.aio.Channel | None = None
        self._call: Any = None

    async def __aenter__(self) -> Echo:
        self._folder.mkdir(parents=True)
        _write_keys(self._folder)
        port = await asyncio.to_thread(self._start)
        root, key, certificate = _keys(self._folder)
        self._channel = grpc.aio.secure_channel(
            f"{HOST}:{port}",
            grpc.ssl_channel_credentials(root, key, certificate),
            options=[("grpc.ssl_target_name_override", "localhost")],
        )
        self._call = self._channel.unary_unary(PATH)
        await self.call()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._channel is not None:
            await self._channel.close()
        if self._process is not None:
            self._process.communicate()

    def _start(self) -> int:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.echo", str(self._folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    async def call(self) -> None:
        """One echo."""
        assert await self._call(PAYLOAD) == PAYLOAD

    async def run(self, seconds: float, *, in_flight: int) -> float:
        """Echoes per second, with so many always under way."""
        until = time.perf_counter() + seconds
        done = 0

        async def one_after_another() -> None:
            nonlocal done
            while time.perf_counter() < until:
                await self.call()
                done += 1

        began = time.perf_counter()
        await asyncio.gather(*(one_after_another() for _ in range(in_flight)))
        return done / (time.perf_counter() - began)


async def _serve(folder: Path) -> None:
    async def echo(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        return request

    server = grpc.aio.server()
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(echo)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("bench.Echo", {"Echo": handler}),)
    )
    root, key, certificate = _keys(folder)
    credentials = grpc.ssl_server_credentials(
        [(key, certificate)], root_certificates=root, require_client_auth=True
    )
    port = server.add_secure_port(f"{HOST}:0", credentials)
    await server.start()
    print(port, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(None)


def _write_keys(folder: Path) -> None:
    authority = create_ca("bench.example", clock=system_clock)
    key, who = new_tls_key(), operator("bench.example", "echo")
    request = create_request(who, key, log_key=None)
    certificate = issue_certificate(
        authority, request, expect=who, log_key=None, clock=system_clock
    )
    save_private(folder / "key.pem", key_pem(key))
    (folder / "certificate.pem").write_bytes(certificate)
    (folder / "root.pem").write_bytes(authority.pem)


def _keys(folder: Path) -> tuple[bytes, bytes, bytes]:
    root, key, certificate = (
        (folder / name).read_bytes() for name in ("root.pem", "key.pem", "certificate.pem")
    )
    return root, key, certificate


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
