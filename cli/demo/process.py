"""One server of a network as a real process: started, awaited, stopped, killed, started again.

What it writes goes to a log file, and a server that ends before it serves is told with the last
lines of that file.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from grpc_health.v1 import health_pb2

from comity.client.connection import Server, closing, connect
from comity.errors import ComityError, Unavailable

START_TIMEOUT_S: Final = 120.0
STOP_TIMEOUT_S: Final = 20.0
POLL_S: Final = 0.1
LAST_LINES: Final = 15

HEALTH: Final = "/grpc.health.v1.Health/Check"


class ServerProcess:
    """A server's process. `arguments` are those of the `comity` command; `server` is the public
    listener on which its health is asked."""

    def __init__(
        self, name: str, arguments: Sequence[str], *, server: Server, log_file: Path
    ) -> None:
        self.name = name
        self.server = server
        self.log_file = log_file
        self._arguments = tuple(arguments)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The id of the running process."""
        assert self._process is not None, f"{self.name} was never started"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process has been started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """How the process ended; None while it runs, a negative signal's number if killed."""
        return None if self._process is None else self._process.poll()

    def start(self, environment: Mapping[str, str] | None = None) -> None:
        """Start the process, with `environment` on top of this one's; `until_serving` waits."""
        assert not self.running, f"{self.name} runs already"
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "cli.main", *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
                # Ctrl-C is for whoever runs the network, who then stops its servers in order.
                start_new_session=True,
            )

    async def until_serving(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Return once health answers SERVING. Raises Unavailable with what the log says last."""
        until = time.monotonic() + timeout_s
        while not await self._serving():
            if not self.running:
                raise Unavailable(f"{self.name} has ended.\n{self.last_lines()}")
            if time.monotonic() > until:
                raise Unavailable(
                    f"{self.name} does not serve after {timeout_s:.0f} seconds.\n"
                    f"{self.last_lines()}"
                )
            await asyncio.sleep(POLL_S)

    async def _serving(self) -> bool:
        # A channel which found nobody waits before it tries again, so first see if anybody is in.
        host, _, port = self.server.address.rpartition(":")
        try:
            _, writer = await asyncio.open_connection(host, int(port))
        except OSError:
            return False
        writer.close()
        async with closing(connect(self.server, timeout_s=2.0)) as channel:
            check = channel.unary_unary(
                HEALTH,
                request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
                response_deserializer=health_pb2.HealthCheckResponse.FromString,
            )
            try:
                answer = await check(health_pb2.HealthCheckRequest())
            except ComityError:
                return False
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    async def until_ended(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """The exit code, once the process has ended by itself; TimeoutError if it does not."""
        assert self._process is not None, f"{self.name} was never started"
        until = time.monotonic() + timeout_s
        while (code := self._process.poll()) is None:
            if time.monotonic() > until:
                raise TimeoutError(f"{self.name} has not ended within {timeout_s:.0f} seconds")
            await asyncio.sleep(POLL_S / 5)
        return code

    async def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """End in order (SIGTERM); one that does not is killed. Returns the exit code."""
        if self.running:
            self._signal(signal.SIGTERM)
        try:
            return await self.until_ended(timeout_s)
        except TimeoutError:
            return await self.kill()

    async def kill(self) -> int:
        """End at once (SIGKILL), as a power cut would."""
        if self.running:
            self._signal(signal.SIGKILL)
        return await self.until_ended()

    def last_lines(self) -> str:
        """The end of the log file."""
        if not self.log_file.exists():
            return ""
        return "\n".join(self.log_file.read_text("utf-8", "replace").splitlines()[-LAST_LINES:])

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
