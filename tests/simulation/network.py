"""A network that loses, delays, repeats and reorders, by one seed.

Messages are bytes between production endpoints; only the sockets are simulated. A repeated
request is really handled twice, a lost answer leaves its effect behind.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from comity.errors import ComityError, Unavailable
from comity.rpc.caller import Credentials
from comity.rpc.endpoint import Endpoint
from tests.simulation.loop import Process


@dataclass(frozen=True, slots=True)
class Weather:
    """How bad the network is: probabilities, and delays in seconds."""

    lost: float = 0.0
    repeated: float = 0.0
    delay_s: float = 0.001
    slow: float = 0.0
    slow_s: float = 2.0


CALM = Weather()
STORM = Weather(lost=0.08, repeated=0.08, delay_s=0.02, slow=0.05, slow_s=3.0)

Destination = Callable[[], "tuple[Process, Endpoint] | None"]
"""Who answers at an address just now; None while nobody does."""


class Network:
    """All messages of the world; `weather` may change at any time."""

    def __init__(self, seed: int, weather: Weather = CALM) -> None:
        self.random = random.Random(f"network {seed}")
        self.weather = weather
        self.counts = {"lost": 0, "repeated": 0, "slow": 0, "delivered": 0}

    def delay(self) -> float:
        """How long one message takes; independent delays reorder."""
        weather = self.weather
        if self.random.random() < weather.slow:
            self.counts["slow"] += 1
            return self.random.uniform(0, weather.slow_s)
        return self.random.uniform(0, 2 * weather.delay_s)

    def happens(self, what: str, probability: float) -> bool:
        """Decide one misfortune, and count it."""
        if self.random.random() >= probability:
            return False
        self.counts[what] += 1
        return True


class SimulatedChannel:
    """What the production stubs call through: `comity.rpc.channel.Channel` over a `Network`."""

    def __init__(
        self,
        network: Network,
        destination: Destination,
        credentials: Credentials | Callable[[], Credentials],
        *,
        default_timeout_s: float = 10.0,
    ) -> None:
        self._network = network
        self._destination = destination
        self._credentials = credentials
        self._default_timeout_s = default_timeout_s

    def unary_unary(
        self,
        path: str,
        request_serializer: Callable[[Any], bytes],
        response_deserializer: Callable[[bytes], Any],
        _registered_method: bool | None = False,
    ) -> Any:
        async def call(
            request: Any,
            *,
            timeout: float | None = None,
            metadata: Sequence[tuple[str, str | bytes]] | None = None,
        ) -> Any:
            limit = self._default_timeout_s if timeout is None else timeout
            try:
                async with asyncio.timeout(limit):
                    return response_deserializer(
                        await self._carry(path, request_serializer(request), limit)
                    )
            except TimeoutError:
                raise Unavailable("The call's deadline passed; repeat it.") from None

        return call

    async def close(self) -> None:
        """Nothing is open."""

    async def _carry(self, path: str, request: bytes, limit: float) -> bytes:
        network = self._network
        await asyncio.sleep(network.delay())
        if network.happens("lost", network.weather.lost):
            await asyncio.sleep(limit)
        if network.happens("repeated", network.weather.repeated):
            again = self._handle(path, request, limit, after=network.delay())
            again.add_done_callback(_look)
        answer = await asyncio.shield(self._handle(path, request, limit))
        await asyncio.sleep(network.delay())
        if network.happens("lost", network.weather.lost):
            await asyncio.sleep(limit)
        network.counts["delivered"] += 1
        return answer

    def _handle(
        self, path: str, request: bytes, limit: float, *, after: float = 0.0
    ) -> asyncio.Future[bytes]:
        """Let the destination's process answer; its death is a broken connection to the caller."""
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        answer.add_done_callback(_look)
        found = self._destination()
        if found is None:
            answer.set_exception(Unavailable("Nobody listens there; repeat later."))
            return answer
        process, endpoint = found
        credentials = self._credentials
        who = credentials if isinstance(credentials, Credentials) else credentials()

        async def handle() -> bytes:
            if after:
                await asyncio.sleep(after)
            return await endpoint.handle(path, request, who, deadline=limit)

        def done(task: asyncio.Task[bytes]) -> None:
            if answer.done():
                return
            if task.cancelled():
                answer.set_exception(Unavailable("The connection broke; repeat the request."))
            elif (error := task.exception()) is not None:
                if not isinstance(error, ComityError):
                    error = Unavailable("The connection broke; repeat the request.")
                answer.set_exception(error)
            else:
                answer.set_result(task.result())

        process.spawn(handle()).add_done_callback(done)
        return answer


def _look(answer: asyncio.Future[bytes]) -> None:
    """Look at an outcome nobody waits for, so that it is not reported as lost."""
    if not answer.cancelled():
        answer.exception()
